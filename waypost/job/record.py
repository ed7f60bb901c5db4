"""What is kept of a job and of its attempts, as read back from the ledger.

Bodies (`payload`, `result`, `error`, log lines) are as stored: sealed with the environment's data key. Opening them is
the reader's affair; nothing here holds a key.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from waypost.ids import instant_of
from waypost.job.model import HIGHEST_PRIORITY, JobError, JobState, Outcome

# What an attempt without an error of its own failed of: the sweeper that ends a dead relay's leases seals nothing.
RELAY_LOST = JobError("relay_lost", "The relay that held this attempt stopped answering.", retryable=True)


def implied_error(outcome: Outcome | None, error: bytes | None) -> JobError | None:
    """The error to show where none was stored: a lost attempt of a lost relay; None when there is nothing to say."""
    return RELAY_LOST if error is None and outcome is Outcome.LOST else None


class Place(StrEnum):
    """Which table holds a job: the ledger's state (decision 11)."""

    DUE = "due"  # not yet: scheduled, or backing off
    HOLD = "hold"  # in the line of its concurrency key
    READY = "ready"  # in its queue
    LEASE = "lease"  # running
    END = "end"
    MOVING = "moving"  # between two of them at the instant of the read: look again


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One job, with the state of its current or last attempt.

    `payload`, `result`, `error` are sealed under the places `job:<id>:payload`, `job:<id>:result`,
    `job:<id>:error:<number>` with `number = error_number`; they are None when `bodies` is false.
    A payload that was erased is empty, or its object is gone; an erased result is None.
    """

    id: UUID
    environment_id: UUID
    route: int
    function: str
    selectors: tuple[str, ...]
    rank: int
    submitted_by: str
    policy: str | None  # JSON of Policy; None = all defaults
    labels: dict[str, str]
    run_at: datetime | None
    expires_at: datetime | None
    traceparent: str | None
    replay_of: UUID | None
    replayed_by: UUID | None  # the newest replay
    trigger_id: UUID | None
    state: JobState
    number: int  # of the current or last attempt; 0 before the first
    started_at: datetime | None  # of the current or last attempt
    finished_at: datetime | None  # of the job
    updated_at: datetime
    cancel_requested_at: datetime | None
    node: UUID | None
    attempt_id: int | None
    outcome: Outcome | None  # of the last attempt that is over
    bodies: bool = False
    payload: bytes | None = None
    payload_object: str | None = None
    result: bytes | None = None
    result_object: str | None = None
    error: bytes | None = None
    error_number: int = 0

    @property
    def priority(self) -> int:
        return HIGHEST_PRIORITY - self.rank

    @property
    def created_at(self) -> datetime:
        return instant_of(self.id)

    @property
    def has_payload(self) -> bool:
        """Whether it was submitted with one, which may be erased since; False when bodies were not read."""
        return self.payload is not None or self.payload_object is not None

    @property
    def implied_error(self) -> JobError | None:
        return implied_error(self.outcome, self.error) if self.bodies else None


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt; running when `finished_at` is None. `error` is sealed under `job:<job_id>:error:<number>`."""

    job_id: UUID
    number: int
    attempt_id: int
    node: UUID | None
    node_name: str | None
    relay: str | None  # the process's name
    started_at: datetime
    finished_at: datetime | None
    outcome: Outcome | None
    error: bytes | None = None
    answer_refused_at: datetime | None = None  # its node answered after it had been given up

    @property
    def implied_error(self) -> JobError | None:
        return implied_error(self.outcome, self.error)


class LogPiece(msgspec.Struct, frozen=True):
    """Lines of an attempt's log from `first_line` on: a JSON array of `{at, level, message}` sealed for `log_place`, in
    the row or in the bucket."""

    number: int
    first_line: int
    line_count: int  # of one in the bucket
    lines: bytes | None
    object_key: str | None


def log_place(job_id: UUID, number: int, first_line: int, *, in_bucket: bool = False) -> str:
    """What a piece of a log is sealed for."""
    return f"job:{job_id}:log{'-object' if in_bucket else ''}:{number}:{first_line}"


class AttemptLog(msgspec.Struct, frozen=True):
    """How an attempt's log stands. `closed`: nothing more will come; `dropped_lines` were said and are not kept."""

    number: int
    lines: int
    bytes: int
    dropped_lines: int
    closed: bool


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a list holds: values of one field are alternatives, fields must all hold."""

    states: tuple[JobState, ...] = ()
    functions: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = {}
    trigger_ids: tuple[UUID, ...] = ()
    created_after: datetime | None = None  # at or after
    created_before: datetime | None = None  # before


class QueueCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of one function wait and run, from the incremental counts."""

    function: str
    waiting: int  # queued, scheduled, retrying, or in the line of a concurrency key
    retrying: int  # of those that wait
    running: int
    completed: int  # since the environment began, as the other ends
    failed: int
    dead_letter: int
    canceled: int
    expired: int
    oldest_waiting_at: datetime | None  # of the jobs that could start now


class FunctionOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One function as its queues and its last hour know it. Durations are from start to end, in milliseconds."""

    function: str
    waiting: int
    running: int
    oldest_waiting_at: datetime | None
    submitted_last_hour: int
    completed_last_hour: int
    failed_last_hour: int  # all ends but completed and canceled
    canceled_last_hour: int
    p50_ms: float | None
    p99_ms: float | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job stands, for the reason why it is not running (native contract §3.4)."""

    place: Place
    since: datetime
    number: int  # attempts so far
    due_at: datetime | None = None
    concurrency_key: str | None = None
    paused_note: str | None = None  # set when its function is paused
    paused_by: str | None = None
    paused_at: datetime | None = None


class StateChange(msgspec.Struct, frozen=True):
    """A job reached `state` at `at`; what an event stream resumes from."""

    job_id: UUID
    state: JobState
    number: int
    at: datetime
