"""Triggers and firings as structs: native contract, section 5. Fields that this version does not know are ignored."""

from datetime import datetime
from typing import Any

import msgspec


class Trigger(msgspec.Struct, kw_only=True):
    """What submits jobs by itself: `kind` is webhook or schedule, `state` active or paused. `secret` is told once,
    where the platform made it. Of a webhook: url, verify, filter, map; of a schedule: schedule, overlap, catch_up."""

    id: str
    kind: str
    name: str
    job: dict[str, Any] = {}
    state: str | None = None
    url: str | None = None
    secret: str | None = None
    verify: dict[str, Any] | None = None
    filter: str | None = None
    map: str | None = None
    rate_per_second: int | None = None
    schedule: dict[str, Any] | None = None
    overlap: str | None = None
    catch_up: str | None = None
    jitter_seconds: float | None = None
    next_fire_times: list[datetime] = []
    paused_at: datetime | None = None
    paused_by: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None


class Firing(msgspec.Struct, kw_only=True):
    """One time that a trigger fired, or should have. `outcome` is accepted, duplicate, bad_signature, stale, filtered,
    skipped_overlap, missed or refused."""

    id: str
    outcome: str
    received_at: datetime | None = None
    due_at: datetime | None = None
    job_id: str | None = None
    detail: str | None = None
    headers: dict[str, str] | None = None

    @property
    def at(self) -> datetime | None:
        """When it was received, or due."""
        return self.received_at or self.due_at


class Tested(msgspec.Struct, kw_only=True):
    """What a test firing came to: `payload` is what the job got, after filter and map."""

    outcome: str
    job_id: str | None = None
    payload: Any = None


class TriggerPreview(msgspec.Struct, kw_only=True):
    """What settings that are good would do: when a schedule with them would be due next."""

    next_fire_times: list[datetime] = []
