"""What an environment keeps for how long, what the last sweep took, and what the next one would (decision 20)."""

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from gateway.endpoint import Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from storage.postgres.audit.sweep import preview_entries
from storage.postgres.retention.preview import preview
from storage.postgres.retention.turn import read_sweep
from storage.postgres.tenancy.environment import read_environment
from waypost import errors
from waypost.access.model import Permission
from waypost.retention.decision import changed_days, in_force
from waypost.retention.model import AUDIT, MAX_COUNT, Going, LastSweep, Source
from waypost.tenancy.model import Environment


class RetentionView(Struct, frozen=True):
    """Days in force, where each comes from, and the most that this platform allows. `removed` counts what the last
    sweep took, by kind; `next_at` is when the environment is swept next, null before its first turn was planned."""

    retention: dict[str, int]
    sources: dict[str, Source]
    most: dict[str, int]
    swept_at: datetime | None
    removed: dict[str, int]
    next_at: datetime | None


class NewRetention(Struct, forbid_unknown_fields=True):
    """With these days instead of the environment's own; those not named stay."""

    retention: dict[str, int | None] | UnsetType = UNSET


class RetentionPreview(Struct, frozen=True):
    """What would go, by kind: `count` of them (`more`: at least so many) and the oldest one's instant."""

    retention: dict[str, int]
    going: dict[str, Going]


@endpoint(
    "GET",
    E + "/retention",
    summary="How long the environment's things are kept, and what its last sweep took",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=RetentionView,
)
async def read_retention(call: Call) -> Answer:
    environment = await _environment(call)
    async with call.services.reading(environment) as connection:
        last = await read_sweep(connection, environment.id) or LastSweep(None, None, {})
    days, most = call.services.retention_of(environment), call.services.operator_days
    view = RetentionView(dict(days.days), dict(days.sources), dict(most), last.swept_at, last.removed, last.next_at)
    return ok(view)


@endpoint(
    "POST",
    E + "/retention/preview",
    summary="What a sweep would take now, with the days in force or with others; nothing is changed",
    permission=Permission.MANAGE_ENVIRONMENT,
    body=NewRetention,
    answer=RetentionPreview,
    example={"retention": {"payload_days": 3, "log_days": 7}},
)
async def preview_retention(call: Call) -> Answer:
    asked = await call.read(NewRetention)
    environment, most = await _environment(call), call.services.operator_days
    changes = {} if asked.retention is UNSET else asked.retention
    days = in_force(most, changed_days(environment.retention, changes, most)).days
    async with call.services.reading(environment) as connection:
        going = await preview(connection, environment.id, days)
    async with call.services.database.unit() as connection:
        going[AUDIT] = await preview_entries(connection, environment.id, days[AUDIT], MAX_COUNT)
    return ok(RetentionPreview(dict(days), going))


async def _environment(call: Call) -> Environment:
    """Not the cached one: its days may just have been changed."""
    async with call.services.database.unit() as connection:
        found = await read_environment(connection, call.environment.id)
    if found is None:
        raise errors.not_found("environment")
    return found


ENDPOINTS: list[Endpoint] = [read_retention, preview_retention]
