"""What is kept for how long: names, meanings, bounds (docs/retention.md has the same table).

The operator's settings say how long at most, for every environment; an environment can keep its things shorter. The
audit log is evidence: nobody keeps it for less than LEAST_DAYS.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from waypost.audit.decision import LEAST_DAYS

SWEEP = "retention.sweep"  # kind of the platform job; its subject is the environment
SWEEP_SECONDS = 6 * 3_600.0  # between two sweeps of an environment
MAX_COUNT = 10_000  # that a preview counts of one kind


class Source(StrEnum):
    """Where the value in force comes from."""

    OPERATOR = "operator"
    ENVIRONMENT = "environment"


class Kept(msgspec.Struct, frozen=True):
    """One kind of thing: the setting that bounds it, and the fewest days that an environment can set."""

    name: str
    setting: str
    meaning: str
    least: int = 1  # days


PAYLOADS = "payload_days"
JOBS = "job_days"
LOGS = "log_days"
FIRINGS = "firing_days"
DELIVERIES = "delivery_days"
ARTIFACTS = "artifact_days"
AUDIT = "audit_days"

_KINDS = (
    Kept(PAYLOADS, "results_days", "payloads and results, after their job's end"),
    Kept(JOBS, "job_days", "jobs with their attempts, after their end"),
    Kept(LOGS, "log_days", "logs of attempts, after their job's end; never longer than the job"),
    Kept(FIRINGS, "firing_days", "firings of triggers"),
    Kept(DELIVERIES, "delivery_days", "deliveries of subscriptions that are not pending, after their end"),
    Kept(ARTIFACTS, "artifact_days", "artifacts that nothing refers to"),
    Kept(AUDIT, "audit_days", "audit entries", least=LEAST_DAYS),
)
KINDS: Mapping[str, Kept] = MappingProxyType({kind.name: kind for kind in _KINDS})


class Retention(msgspec.Struct, frozen=True):
    """The days in force, and where each comes from; for every name of `KINDS`."""

    days: Mapping[str, int]
    sources: Mapping[str, Source]

    def __getitem__(self, name: str) -> int:
        return self.days[name]


class Going(msgspec.Struct, frozen=True):
    """What a sweep would take of one kind: `count` of them, or more than that; the oldest is of `oldest`."""

    count: int
    more: bool
    oldest: datetime | None


class LastSweep(msgspec.Struct, frozen=True):
    """When an environment was swept and what was taken then, by kind; when it is swept next."""

    swept_at: datetime | None
    next_at: datetime | None
    removed: dict[str, int]


def operator_days(settings: Any) -> dict[str, int]:
    """The operator's days, of the settings of a process."""
    return {kind.name: getattr(settings, kind.setting) for kind in _KINDS}
