"""The data of subscriptions and deliveries (native contract §5, "Webhook out"): shapes, words, limits."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

MAX_SUBSCRIPTIONS = 100  # an environment
MAX_URL_CHARACTERS = 2_048
MAX_PATTERNS = 32
MAX_DESCRIPTION_CHARACTERS = 1_000
MAX_RESPONSE_BYTES = 16 << 10  # kept of an answer's body
MAX_REPLAY = 10_000
REQUEST_SECONDS = 15.0
FAILING_FOR = timedelta(days=5)
MAX_RETRY_AFTER_SECONDS = 86_400.0
JITTER = 0.1
SECRET_BYTES = 32
DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)
TEST_EVENT = "subscription.test"

# Before each attempt, counted from the one before it (native contract §5).
DELAYS_SECONDS = (0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)

# Every event that can be subscribed to, with what it means.
EVENTS: dict[str, str] = {
    "job.completed": "A job ended with a result.",
    "job.failed": "A job ended with an error that no retry can help.",
    "job.dead_letter": "A job ended because its attempts were used up.",
    "job.canceled": "A job was canceled.",
    "job.expired": "A job was not started in time.",
    "environment.ready": "The environment was provisioned.",
    "environment.suspended": "The environment was suspended.",
    "environment.resumed": "The environment was resumed.",
    "environment.failed": "The environment could not be provisioned.",
    "subscription.disabled": "Another subscription was disabled: its endpoint answered 410, or failed for five days.",
}


class DeliveryState(StrEnum):
    """pending → delivered or failed; asked for again, a delivery is pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DisabledReason(StrEnum):
    """`asked` by a person or key, `gone` answered 410, `failing` for FAILING_FOR."""

    ASKED = "asked"
    GONE = "gone"
    FAILING = "failing"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Events that match `events` go to `url`."""

    id: UUID
    environment_id: UUID
    url: str
    events: tuple[str, ...]
    description: str = ""
    disabled_at: datetime | None = None
    disabled_reason: DisabledReason | None = None
    failing_since: datetime | None = None
    row_version: int = 1
    created_by: str
    created_at: datetime
    updated_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one subscription. `body` is sealed under `delivery_place`; None when it was not read."""

    id: UUID
    subscription_id: UUID
    event_id: UUID
    event: str
    state: DeliveryState
    attempts: int
    status: int | None = None
    error: str | None = None
    finished_at: datetime | None = None
    next_attempt_at: datetime | None = None
    body: bytes | None = None


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `response` is a sealed `Response` under `response_place`; None when nothing was answered."""

    number: int
    started_at: datetime
    finished_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    response: bytes | None = None


class Response(msgspec.Struct, frozen=True):
    """What an endpoint answered: headers in order, the first MAX_RESPONSE_BYTES of the body, whether there was more."""

    headers: list[tuple[str, str]]
    body: bytes
    truncated: bool = False


class Claimed(msgspec.Struct, frozen=True):
    """A delivery that a worker has claimed. `body` and `secrets` are sealed, the newest secret first."""

    environment_id: UUID
    subscription_id: UUID
    delivery_id: UUID
    number: int
    tries: int
    claim: int
    url: str
    event_id: UUID
    body: bytes
    secrets: tuple[bytes, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went. `error` None is success; `response` is a sealed `Response` under `response_place`;
    `retry_after_seconds` is what the endpoint asked for."""

    started_at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None
    response: bytes | None = None
    retry_after_seconds: float | None = None


class Verdict(StrEnum):
    """What follows from an outcome."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"
    GONE = "gone"  # failed, and the subscription is disabled


class EventBody(msgspec.Struct, frozen=True):
    """What is sent (Standard Webhooks 1.0): never a payload, a result or an error's message."""

    type: str
    timestamp: datetime
    data: msgspec.Raw


class ErrorSummary(msgspec.Struct, frozen=True):
    """Of a job's error: what metadata may show (decision 22)."""

    code: str
    retryable: bool


class JobEventData(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of `job.*`: the metadata of the job as the API shows it, in this order."""

    environment_id: UUID
    id: UUID
    function: str
    state: str
    attempt: int
    tags: tuple[str, ...]
    priority: int
    labels: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    submitted_by: str
    trace_id: str | None
    trigger_id: UUID | None
    replay_of: UUID | None
    error: ErrorSummary | None


def delivery_place(event_id: UUID) -> str:
    """Where the body of an event lies, as its associated data."""
    return f"event:{event_id}:body"


def response_place(delivery_id: UUID, number: int) -> str:
    """Where the answer to an attempt lies, as its associated data."""
    return f"delivery:{delivery_id}:response:{number}"


def secret_place(subscription_id: UUID) -> str:
    """Where a subscription's secrets lie, as their associated data."""
    return f"subscription:{subscription_id}:secret"
