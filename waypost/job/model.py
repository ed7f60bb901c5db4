"""The data of a job: specification, policy, states, and what passes between the ledger and its users.

Shapes are those of the native contract §3.1; limits and defaults are constants here and nowhere else.
"""

from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from uuid import UUID

import msgspec

MAX_PAYLOAD_BYTES = 1 << 20
MAX_INLINE_BYTES = 64 << 10  # above it a payload or result lies in the bucket (decision 18)
MAX_SELECTORS = 16
MAX_LABELS = 32
MAX_LABEL_CHARACTERS = 256
MAX_FUNCTION_CHARACTERS = 100
MAX_BULK = 1_000
MAX_DELAY = timedelta(days=366)
MAX_TIMEOUT_SECONDS = 86_400
DEFAULT_TIMEOUT_SECONDS = 300
DEFAULT_PRIORITY = 5
HIGHEST_PRIORITY = 9
MAX_ATTEMPTS = 100
MAX_EXPIRES_SECONDS = 366 * 86_400
MAX_BACKOFF_SECONDS = 7 * 86_400.0
MAX_BACKOFF_FACTOR = 100.0
MAX_CONCURRENCY_LIMIT = 10_000
MAX_CONCURRENCY_KEY_CHARACTERS = 256
MAX_IDEMPOTENCY_KEY_CHARACTERS = 255
CANCEL_GRACE = timedelta(seconds=10)
FUNCTION_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"


class JobState(StrEnum):
    """queued → running → completed; running → retrying → running; the rest are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    CANCELED = "canceled"
    EXPIRED = "expired"


class End(IntEnum):
    """The five ends as the ledger keeps them (`job_end.state`). The numbers are stored: never renumber."""

    COMPLETED = 1
    FAILED = 2
    DEAD_LETTER = 3
    CANCELED = 4
    EXPIRED = 5

    @property
    def state(self) -> JobState:
        return JobState(self.name.lower())


class Outcome(IntEnum):
    """How one attempt ended (`attempt.outcome`, `job_end.outcome`). The numbers are stored: never renumber."""

    COMPLETED = 1
    FAILED = 2
    TIMED_OUT = 3
    LOST = 4
    CANCELED = 5

    @property
    def word(self) -> str:
        return self.name.lower()


class Backoff(StrEnum):
    EXPONENTIAL = "exponential"
    FIXED = "fixed"
    NONE = "none"


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often and how soon a failed attempt is tried again. Times in seconds; `jitter` is a share of the delay."""

    max_attempts: int = 5
    backoff: Backoff = Backoff.EXPONENTIAL
    initial_seconds: float = 5.0
    factor: float = 2.0
    max_seconds: float = 600.0
    jitter: float = 0.2


class Concurrency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `limit` jobs of this `key` run at once in the environment."""

    key: str
    limit: int


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the ledger keeps of a specification beside route and payload, as JSON text; `{}` is all defaults."""

    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    expires_in_seconds: int | None = None
    retry: RetryPolicy = RetryPolicy()
    concurrency: Concurrency | None = None


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A validated specification, selectors canonical. `payload` is JSON text exactly as it was written."""

    function: str
    payload: bytes = b""  # b"" = none was given, which reads as null
    selectors: tuple[str, ...] = ()  # canonical, sorted (waypost.route)
    priority: int = DEFAULT_PRIORITY
    run_at: datetime | None = None
    delay_seconds: float | None = None
    policy: Policy = Policy()
    labels: dict[str, str] = {}

    @property
    def rank(self) -> int:
        """The order in which the ledger is read: 0 first."""
        return HIGHEST_PRIORITY - self.priority


NO_DETAILS = msgspec.Raw(b"null")


class JobError(msgspec.Struct, frozen=True):
    """Why an attempt or a job failed, as its reader sees it."""

    code: str
    message: str
    retryable: bool = False
    details: msgspec.Raw = NO_DETAILS  # not `Raw | None`: msgspec would then decode null only


# --- between the ledger and its users -------------------------------------------------------------------------------


class Submission(msgspec.Struct, frozen=True):
    """One job on its way into the ledger: route resolved, payload sealed.

    `idempotency_key` with `request_hash` (SHA-256 of scope and body) makes a repeat find the first job.
    Exactly one of `payload` (sealed, inline) and `payload_object` (key in the bucket) is set, or neither.
    """

    id: UUID
    environment_id: UUID
    route: int
    rank: int
    submitted_by: str
    policy: str | None = None  # JSON of Policy; None = all defaults
    labels: str | None = None  # JSON object of strings
    payload: bytes | None = None
    payload_object: str | None = None
    run_at: datetime | None = None  # absolute; the ledger compares it with Postgres' clock
    delay_seconds: float | None = None
    expires_in_seconds: int | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    traceparent: str | None = None
    replay_of: UUID | None = None
    trigger_id: UUID | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    idempotency_scope: str = "jobs"


class Request(msgspec.Struct, frozen=True):
    """A bulk request with an Idempotency-Key of its own: one record stands for all of its jobs."""

    environment_id: UUID
    key: str
    hash: bytes  # of the body


class Accepted(msgspec.Struct, frozen=True):
    """What became of a submission: `id` is the first job's when `replayed`; a `conflict` kept nothing: the key was used
    with another body or, when `closed`, the environment is being deleted."""

    id: UUID
    replayed: bool = False
    conflict: bool = False
    closed: bool = False


class Ask(msgspec.Struct, frozen=True):
    """Part of a claim: up to `len(nodes)` jobs of one (route, rank); the i-th is assigned to `nodes[i]`.

    `low` is the low mark: no job with a smaller key is looked at (decision 11).
    """

    route: int
    rank: int
    low: UUID
    nodes: tuple[UUID, ...]


class Claimed(msgspec.Struct, frozen=True):
    """One job that a claim has leased to a session."""

    job_id: UUID
    environment_id: UUID
    route: int
    rank: int
    key: UUID  # position in the queue, for the low mark
    attempt_id: int
    number: int  # 1 for the first try
    node: UUID
    policy: str | None
    payload: bytes | None
    payload_object: str | None
    traceparent: str | None


class Ending(msgspec.Struct, frozen=True):
    """A settlement that ends the job. `result` and `error` are sealed."""

    job_id: UUID
    attempt_id: int
    end: End
    outcome: Outcome
    result: bytes | None = None
    result_object: str | None = None
    error: bytes | None = None


class RefusedAnswer(msgspec.Struct, frozen=True):
    """An answer of an attempt that was not current any more, and whether it was a result."""

    environment_id: UUID
    job_id: UUID
    attempt_id: int
    result: bool
    at: datetime


class Retrying(msgspec.Struct, frozen=True):
    """A settlement after which the job is tried again: at once (`delay_seconds` 0) or later."""

    job_id: UUID
    attempt_id: int
    outcome: Outcome
    delay_seconds: float
    key: UUID  # the new place in the queue, a fresh UUIDv7
    error: bytes | None = None


class Settled(msgspec.Struct, frozen=True):
    """A settlement that was accepted; those that are not in the answer were refused: the attempt was not current."""

    job_id: UUID
    environment_id: UUID
    route: int
    rank: int
    number: int
    concurrency_key: str | None
    canceled: bool = False  # of a retry: somebody wanted the job canceled, so it ended instead
