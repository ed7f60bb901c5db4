"""What the HTTP API says of jobs, functions and nodes, as structs: the native contract's read shapes, sections 3 and 4.

Fields that this version does not know are ignored. Instants are aware datetimes in UTC. Numbers in `payload`,
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
    initial_seconds: int | float | None = None
    factor: int | float | None = None
    max_seconds: int | float | None = None
    jitter: int | float | None = None  # share of the delay


class Concurrency(msgspec.Struct, frozen=True):
    """At most `limit` jobs of this `key` run at once in the environment."""

    key: str
    limit: int


class JobSpec(msgspec.Struct, omit_defaults=True):
    """One job to submit (native contract §3.1). Only `function` is required; the rest has the platform's defaults."""

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
    id: str | None = None
    node: str | None = None
    node_name: str | None = None
    relay: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None
    answer_refused_at: datetime | None = None  # its node answered after it had been given up
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
    delay_seconds: int | float | None = None
    timeout_seconds: int | float | None = None
    expires_in_seconds: int | float | None = None
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
    submitted_by: str | None = None
    trigger_id: str | None = None
    replay_of: str | None = None
    replayed_by: str | None = None
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
    attempt: int | None = None  # which attempt said it
    line: int | None = None  # its number in that attempt, from 0


class AttemptLog(msgspec.Struct):
    """How much an attempt has said. `truncated`: not all of it is kept."""

    attempt: int
    lines: int = 0
    bytes: int = 0
    dropped_lines: int = 0
    truncated: bool = False


class LogPage(msgspec.Struct):
    """Some lines of a job's log. `follow_cursor` leads to what comes later; None once nothing more will."""

    items: list[LogLine] = []
    next_cursor: str | None = None
    follow_cursor: str | None = None
    complete: bool = False
    attempts: list[AttemptLog] = []


class JobEvent(msgspec.Struct):
    """One Server-Sent Event: `type` is job.state, job.progress or job.log; `data` its document."""

    type: str
    data: Any
    id: str | None = None


Record = dict[str, Any]  # a document whose fields are those of the contract


class FunctionPause(msgspec.Struct):
    """Who paused a function, when, and why."""

    note: str = ""
    by: str | None = None
    since: datetime | None = None


class ServingNodes(msgspec.Struct):
    """Nodes that serve a function, and how many jobs they take at once."""

    connected: int = 0
    draining: int = 0
    max_in_flight: int = 0


class LastHour(msgspec.Struct):
    """What a function did in the last hour; times from start to end of an attempt. `failed` is every end but completed
    and canceled."""

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    canceled: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


class FunctionStatus(msgspec.Struct, kw_only=True):
    """A node function as its queues and nodes know it. The answer to pause and resume has only `name` and `paused`."""

    name: str
    paused: FunctionPause | None = None
    nodes: ServingNodes | None = None
    input_schema: Any = None
    output_schema: Any = None
    queued: int = 0
    running: int = 0
    oldest_waiting_at: datetime | None = None
    last_hour: LastHour | None = None


class StateCounts(msgspec.Struct, kw_only=True):
    """How many jobs are in each state; `waiting` is `queued` (scheduled ones too) and `retrying` together."""

    function: str | None = None  # None: all of them
    waiting: int = 0
    queued: int = 0
    retrying: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    dead_letter: int = 0
    canceled: int = 0
    expired: int = 0
    oldest_waiting_at: datetime | None = None


class Queue(msgspec.Struct):
    """Counts since the environment began."""

    states: StateCounts
    functions: list[StateCounts] = []
    oldest_waiting_at: datetime | None = None


class NodeStatus(msgspec.Struct, kw_only=True):
    """A compute node as the platform sees it: `state` is active, draining or lost."""

    id: str
    name: str
    state: str
    tags: list[str] = []
    functions: list[Record] = []
    relay: str | None = None
    credential_id: str | None = None
    connected_at: datetime | None = None
    last_seen_at: datetime | None = None
    disconnected_at: datetime | None = None
    disconnect_reason: str | None = None
    round_trip_ms: float | None = None
    in_flight: int = 0
    max_in_flight: int = 0
    completed: int = 0
    failed: int = 0
    sdk: str | None = None
    version: str | None = None


class NodeCredential(msgspec.Struct, kw_only=True):
    """What nodes join with. `client_secret` is there only in the answer to its creation."""

    id: str
    name: str
    client_id: str
    client_secret: str | None = None
    token_url: str | None = None
    relay_address: str | None = None
    allowed_tags: list[str] | None = None
    functions: list[str] | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    last_used_at: datetime | None = None


class Page(msgspec.Struct, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None = None
