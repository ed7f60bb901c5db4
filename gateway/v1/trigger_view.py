"""What a trigger and a firing look like (native contract §5)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from waypost.job.specification import policy_text, specification_fields
from waypost.trigger.model import Firing, Kind, Trigger, Verification
from waypost.trigger.operation import next_fire_times, webhook_settings
from waypost.trigger.schedule import CatchUp, Overlap, Timing

_DEFAULTS = {"overlap": Overlap.ALLOW, "catch_up": CatchUp.NONE, "jitter_seconds": 0}


class TriggerView(Struct, frozen=True, kw_only=True):
    """A trigger. Of a webhook: `url`, `verify`, `filter`, `map`, `rate_per_second`; of a schedule: `schedule`,
    `overlap`, `catch_up`, `jitter_seconds`, `next_fire_times`."""

    id: UUID
    kind: Kind
    name: str
    job: dict[str, Any]
    state: str
    url: str | UnsetType = UNSET
    verify: Verification | UnsetType = UNSET
    filter: str | UnsetType | None = UNSET
    map: str | UnsetType | None = UNSET
    rate_per_second: int | UnsetType = UNSET
    schedule: Timing | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    catch_up: CatchUp | UnsetType = UNSET
    jitter_seconds: float | UnsetType = UNSET
    next_fire_times: list[datetime] | UnsetType = UNSET
    paused_at: datetime | None
    paused_by: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    secret: str | UnsetType = UNSET  # once, where it was made here


class FiringView(Struct, frozen=True, kw_only=True):
    """One firing: `received_at` of a webhook, `due_at` of a schedule."""

    id: UUID
    received_at: datetime | UnsetType = UNSET
    due_at: datetime | UnsetType = UNSET
    outcome: str
    job_id: UUID | None
    detail: str | None
    headers: Mapping[str, str] | UnsetType | None = UNSET


def trigger_view(trigger: Trigger, public_url: str, secret: str | None = None) -> TriggerView:
    """`secret`: shown once. `next_fire_times` are worked out now."""
    own: dict[str, Any]
    if trigger.kind is Kind.WEBHOOK:
        own = {"filter": None, "map": None, "url": f"{public_url}/hooks/{trigger.id}", **_webhook(trigger)}
    else:
        own = {**_DEFAULTS, **trigger.settings, "next_fire_times": next_fire_times(trigger)}
    return TriggerView(
        id=trigger.id,
        kind=trigger.kind,
        name=trigger.name,
        job=_job(trigger),
        state="active" if trigger.paused_at is None else "paused",
        paused_at=trigger.paused_at,
        paused_by=trigger.paused_by,
        created_by=trigger.created_by,
        created_at=trigger.created_at,
        updated_at=trigger.updated_at,
        secret=UNSET if secret is None else secret,
        **{name: value for name, value in own.items() if name in TriggerView.__struct_fields__},
    )


def _webhook(trigger: Trigger) -> dict[str, Any]:
    settings = webhook_settings(trigger)
    return {**trigger.settings, "rate_per_second": settings.rate_per_second}


def _job(trigger: Trigger) -> dict[str, Any]:
    spec = trigger.job
    fields = specification_fields(
        function=spec.function,
        selectors=spec.selectors,
        rank=spec.rank,
        policy=policy_text(spec.policy),
        labels=spec.labels,
        run_at=None,
    )
    fields.pop("run_at")
    return fields | {"delay_seconds": spec.delay_seconds}


def firing_view(firing: Firing, kind: Kind) -> FiringView:
    is_webhook = kind is Kind.WEBHOOK
    return FiringView(
        id=firing.id,
        received_at=firing.at if is_webhook else UNSET,
        due_at=UNSET if is_webhook else firing.at,
        outcome=firing.outcome.value,
        job_id=firing.job_id,
        detail=firing.detail,
        headers=firing.headers if is_webhook else UNSET,
    )
