"""What usage is: an event counts something under a meter; sums of events by hour and day are what is shown.

The platform's own meters are derived from what the ledger and its other records say; everything else is a custom meter,
told by events. Quantities are exact decimals, never floats.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

ROLL_UP = "usage.roll_up"  # kind of the platform job, and name of the follower

MAX_EVENTS = 1_000  # in one request
OLDEST = timedelta(days=30)  # an event may lie so far back,
NEWEST = timedelta(hours=1)  # and so far ahead (clocks differ)
KEPT = timedelta(days=32)  # after this a repeat would be too old, so nobody needs to know the first one
CLOSES_AFTER = timedelta(hours=24)  # after the end of an hour; what comes later is an adjustment

HOURS_KEPT = timedelta(days=400)  # sums by hour; those by day stay

OWN_SOURCE = "urn:waypost:"  # events of the platform itself
OWN_KEPT = timedelta(days=8)
OWN_METERS = ("job.", "api.", "webhook.", "artifact.")  # how the names of the platform's meters begin

API_CALLS = "api.calls"
BYTES_HELD = "artifact.bytes_held"
MISSED = "missed"  # subject of a sample that was made up for later


class UsageEvent(msgspec.Struct, frozen=True):
    """One event, checked. `(source, id)` makes a repeat harmless; `at` None is the instant at which it comes in."""

    source: str
    id: str
    meter: str
    quantity: Decimal
    at: datetime | None = None
    subject: str | None = None


class Ingested(msgspec.Struct, frozen=True):
    """What became of a batch: how many events are new, how many were there already."""

    accepted: int
    duplicates: int


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which sums: of an organization, or of one environment; hours from `since` to before `until`; of these meters and
    of these projects (None: all of them, and what is of none).

    `by` are the things that sums are told apart by, of project, environment, day and hour; always by meter, too.
    """

    organization_id: UUID
    environment_id: UUID | None = None
    since: datetime
    until: datetime
    meters: tuple[str, ...] = ()
    projects: frozenset[UUID] | None = None
    by: tuple[str, ...] = ()


class UsageSum(msgspec.Struct, frozen=True):
    """One sum. `adjustment` is the part of `quantity` that came in after its hour had closed; `at` is where the day or
    the hour begins; ids are None where sums are not told apart by them, or of no project
    or environment."""

    meter: str
    quantity: Decimal
    adjustment: Decimal
    at: datetime | None
    project_id: UUID | None
    project: str | None
    environment_id: UUID | None
    environment: str | None
