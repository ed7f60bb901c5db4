"""The data of triggers and firings (native contract §5). Settings of schedules are `waypost.trigger.schedule`'s."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from waypost.job.model import JobSpec

MAX_BODY_BYTES = 1 << 20  # of a webhook
TOLERANCE = timedelta(minutes=5)  # between the signed timestamp and now, either way
SECRET_OVERLAP = timedelta(hours=24)
MAX_SECRET_OVERLAP = timedelta(days=30)
MAX_EXPRESSION_CHARACTERS = 4_096
DEFAULT_RATE_PER_SECOND = 1_000
MAX_RATE_PER_SECOND = 100_000


class Kind(StrEnum):
    WEBHOOK = "webhook"
    SCHEDULE = "schedule"


class Outcome(StrEnum):
    """What became of a firing."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    BAD_SIGNATURE = "bad_signature"
    STALE = "stale"  # signed well, but too long ago or ahead
    FILTERED = "filtered"
    SKIPPED_OVERLAP = "skipped_overlap"
    MISSED = "missed"
    REFUSED = "refused"  # genuine, but it could not become a job: `detail` says why


class Scheme(StrEnum):
    """How a webhook shows that it is genuine."""

    STANDARD = "standard"
    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"
    HMAC = "hmac"
    BEARER = "bearer"


class Algorithm(StrEnum):
    SHA256 = "sha256"
    SHA512 = "sha512"
    SHA1 = "sha1"


class Encoding(StrEnum):
    HEX = "hex"
    BASE64 = "base64"


class Verification(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The scheme and what it needs to know. `header`, `algorithm`, `encoding` and `prefix` are of `hmac`; `public_keys`
    (`whpk_…`, ed25519) of `standard`; `delivery_header` or `delivery_expression` say what makes a delivery the same
    where the scheme itself does not (`hmac`, `bearer`)."""

    scheme: Scheme
    header: str | None = None
    algorithm: Algorithm = Algorithm.SHA256
    encoding: Encoding = Encoding.HEX
    prefix: str = ""
    public_keys: tuple[str, ...] = ()
    delivery_header: str | None = None
    delivery_expression: str | None = None


class WebhookSettings(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a webhook trigger is beside its job. `filter` and `map` are JMESPath over the payload."""

    verify: Verification
    filter: str | None = None
    map: str | None = None
    rate_per_second: Annotated[int, Meta(ge=1, le=MAX_RATE_PER_SECOND)] = DEFAULT_RATE_PER_SECOND


class Trigger(Struct, frozen=True):
    """One trigger. `settings` are those of its kind as JSON values: `WebhookSettings`, or what
    `waypost.trigger.schedule.check` takes. `job.payload` is always empty."""

    id: UUID
    environment_id: UUID
    kind: Kind
    name: str
    job: JobSpec
    settings: Mapping[str, Any]
    created_by: str
    created_at: datetime
    updated_at: datetime
    paused_at: datetime | None = None
    paused_by: str | None = None
    row_version: int = 1

    @property
    def actor(self) -> str:
        """How jobs and audit name it as the one who submitted."""
        return f"trigger:{self.id}"


class TriggerSecret(Struct, frozen=True):
    """One secret of a webhook trigger as it is kept: sealed for `secret_place`."""

    ordinal: int
    sealed: bytes
    created_at: datetime
    expires_at: datetime | None = None


class Firing(Struct, frozen=True):
    """One time that a trigger fired. The id of an accepted one is its job's. `at`: received, or due. `headers` None:
    there was no request, or they were not kept."""

    id: UUID
    environment_id: UUID
    trigger_id: UUID
    at: datetime
    outcome: Outcome
    job_id: UUID | None = None
    detail: str | None = None
    headers: Mapping[str, str] | None = None


class FiringFilter(Struct, frozen=True):
    """Which firings a list shows: any of these outcomes (none: all), from `since` on, before `until`, by `at`."""

    outcomes: tuple[Outcome, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


def secret_place(trigger_id: UUID, ordinal: int) -> str:
    """Where a secret lies, as its associated data."""
    return f"trigger:{trigger_id}:secret:{ordinal}"


def job_scope(trigger_id: UUID, kind: Kind) -> str:
    """The scope of idempotency keys of a trigger's jobs: `hook:<id>`, `schedule:<id>`."""
    return f"{'hook' if kind is Kind.WEBHOOK else 'schedule'}:{trigger_id}"
