"""What the HTTP API says, as structs: the read shapes of the native contract, sections 2 to 4.

Fields that this version of the SDK does not know are ignored. Instants are aware datetimes in UTC. Numbers in `payload`,
`result` and `details` are exact (Decimal for everything with a point or exponent).
"""

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

ENDS = frozenset({"completed", "failed", "dead_letter", "canceled", "expired"})


class Retry(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often and how soon a failed attempt is tried again; what is left out is the platform's default."""

    max_attempts: int | None = None
    backoff: str | None = None  # exponential, fixed, none
    initial_seconds: float | None = None
    factor: float | None = None
    max_seconds: float | None = None
    jitter: float | None = None  # share of the delay


class Concurrency(msgspec.Struct, frozen=True):
    """At most `limit` jobs of this `key` run at once in the environment."""

    key: str
    limit: int


class JobSpec(msgspec.Struct, omit_defaults=True):
    """One job to submit (native contract §3.1). Only `function` is required; a field left out is the platform's default."""

    function: str
    payload: Any = None
    tags: list[str] | None = None
    priority: int | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None
    timeout_seconds: float | None = None
    expires_in_seconds: float | None = None
    retry: Retry | dict[str, Any] | None = None
    concurrency: Concurrency | dict[str, Any] | None = None
    labels: dict[str, str] | None = None
    idempotency_key: str | None = None  # in bulk only


class Failure(msgspec.Struct):
    """Why an attempt or a job failed."""

    code: str
    message: str = ""
    retryable: bool = False
    details: Any = None


class Progress(msgspec.Struct):
    fraction: float
    message: str = ""


class WaitingNodes(msgspec.Struct):
    """How many nodes are connected, serve the function, satisfy the selectors, have a free slot."""

    connected: int = 0
    serving: int = 0
    matching: int = 0
    free: int = 0


class Waiting(msgspec.Struct):
    """Why a job does not run (native contract §3.4)."""

    reason: str
    detail: str | None = None
    since: datetime | None = None
    nodes: WaitingNodes | None = None


class Attempt(msgspec.Struct):
    """One try of a job. `outcome` is None while it runs."""

    number: int
    id: str | int | None = None
    node: Any = None
    relay: Any = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None
    error: Failure | None = None


class Job(msgspec.Struct):
    """A job as the platform tells it. `attempts` is filled by `wait`, else None: ask `jobs.attempts(id)`."""

    id: str
    state: str
    function: str = ""
    payload: Any = None
    tags: list[str] = []
    priority: int = 5
    run_at: datetime | None = None
    delay_seconds: float | None = None
    timeout_seconds: float | None = None
    expires_in_seconds: float | None = None
    retry: Retry | None = None
    concurrency: Concurrency | None = None
    labels: dict[str, str] = {}
    attempt: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    error: Failure | None = None
    progress: Progress | None = None
    cancel_requested_at: datetime | None = None
    trace_id: str | None = None
    submitted_by: Any = None
    trigger_id: str | None = None
    replay_of: str | None = None
    replayed_by: Any = None
    waiting: Waiting | None = None
    attempts: list[Attempt] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has reached one of the five ends; ends are final."""
        return self.state in ENDS


class Submitted(msgspec.Struct):
    """What a bulk submission answers for one job."""

    id: str
    state: str


class LogLine(msgspec.Struct):
    """One line that a handler logged."""

    message: str
    level: str = "info"
    at: datetime | None = None
    number: int | None = None


class JobEvent(msgspec.Struct):
    """One Server-Sent Event: `type` is job.state, job.progress or job.log; `data` its document."""

    type: str
    data: Any
    id: str | None = None


class Document(msgspec.Struct, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None = None
