"""Where schedules stand: when each is due next, and up to when everything is decided.

A row is its own lock: whoever holds it decides its due times, by Postgres' clock, in the transaction that makes their
jobs (decisions 14, 16). Refuses to know what is due: `waypost.trigger.due` does.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from storage.postgres.database import Connection, Database
from storage.postgres.trigger.trigger import COLUMNS, trigger_of
from waypost.tenancy.model import Status
from waypost.trigger.model import Trigger
from waypost.trigger.schedule import check, fires_at, next_fire_times

MAX_BUSY = 32  # of a trigger's newest jobs are looked at for one that has not ended

_NOW = "select clock_timestamp()"
_PUT = """
insert into control.schedule as s (trigger_id, environment_id, next_at, last_due_at) values ($1, $2, $3, $4)
on conflict (trigger_id) do update
set next_at = excluded.next_at, last_due_at = greatest(s.last_due_at, excluded.last_due_at)
"""
# Nothing but the due rows is read, along schedule_next; a row that another worker decides is passed over.
_TAKE = f"""
select s.last_due_at, e.status, e.limits, o.limits as most, now() as now, t.*
from (
    select trigger_id, environment_id, last_due_at from control.schedule
    where next_at <= now() order by next_at limit $1 for update skip locked
) s
cross join lateral (
    select {COLUMNS} from control.trigger where id = s.trigger_id
) t
cross join lateral (
    select status, limits, organization_id from control.environment where id = s.environment_id
) e
cross join lateral (select limits from control.organization where id = e.organization_id) o
"""  # noqa: S608 - constants only
_MOVE = """
update control.schedule s set next_at = m.next_at, last_due_at = m.last_due_at
from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as m(trigger_id, next_at, last_due_at)
where s.trigger_id = m.trigger_id
"""
_BUSY = """
select a.trigger_id, j.id
from unnest($1::uuid[], $2::uuid[]) as a(environment_id, trigger_id)
cross join lateral (
    select id from control.job where environment_id = a.environment_id and trigger_id = a.trigger_id
    order by id desc limit $3
) j
where not exists (
    select from control.job_end e where e.environment_id = a.environment_id and e.job_id = j.id
)
"""
_WAITING = """
select environment_id, sum(waiting)::bigint as waiting from (
    select environment_id, waiting from control.route_count where environment_id = any ($1::uuid[])
    union all
    select environment_id, waiting from control.route_delta where environment_id = any ($1::uuid[])
) c group by environment_id
"""
_NEXT = "select extract(epoch from min(next_at) - clock_timestamp())::float8 from control.schedule"
_LOOK_AGAIN = """
update control.schedule set next_at = now() where environment_id = $1 and next_at is not null
"""


class Taken(msgspec.Struct, frozen=True):
    """A schedule that is held until the commit. `limits` of its environment and `most` of its organization are what is
    set there (`waypost.limit`)."""

    trigger: Trigger
    decided: datetime
    status: Status
    limits: dict[str, int]
    most: dict[str, int]
    now: datetime


class Move(msgspec.Struct, frozen=True):
    """Where a held schedule stands from now on."""

    trigger_id: UUID
    next_at: datetime | None
    decided: datetime


async def put_schedule(connection: Connection, trigger: Trigger) -> None:
    """Place a schedule that was made, changed, paused or resumed: due next by its settings, from now on. Whatever was
    due before and is not decided yet never is. Paused: not due until it is put again."""
    now = await connection.fetchval(_NOW)
    next_at = None
    if trigger.paused_at is None:
        schedule = check(trigger.settings)
        following = next_fire_times(schedule, now, 1, trigger.created_at)
        next_at = fires_at(schedule, trigger.id, following[0]) if following else None
    await connection.execute(_PUT, trigger.id, trigger.environment_id, next_at, now)


async def take_due(connection: Connection, limit: int) -> list[Taken]:
    """Up to `limit` schedules whose time has come, the longest due first, held until the commit."""
    return [
        Taken(
            trigger_of({name: row[name] for name in _TRIGGER}),
            row["last_due_at"],
            Status(row["status"]),
            msgspec.json.decode(row["limits"], type=dict[str, int]),
            msgspec.json.decode(row["most"], type=dict[str, int]),
            row["now"],
        )
        for row in await connection.fetch(_TAKE, limit)
    ]


async def move_schedules(connection: Connection, moves: Sequence[Move]) -> None:
    """Move held schedules on, in one statement."""
    columns = [[move.trigger_id for move in moves], [move.next_at for move in moves], [move.decided for move in moves]]
    await connection.execute(_MOVE, *columns)


async def busy_jobs(connection: Connection, triggers: Collection[Trigger]) -> dict[UUID, list[UUID]]:
    """By trigger, those of its `MAX_BUSY` newest jobs that have not ended, the newest first."""
    environments, ids = [trigger.environment_id for trigger in triggers], [trigger.id for trigger in triggers]
    found: dict[UUID, list[UUID]] = {}
    for row in await connection.fetch(_BUSY, environments, ids, MAX_BUSY):
        found.setdefault(row["trigger_id"], []).append(row["id"])
    return {trigger: sorted(jobs, reverse=True) for trigger, jobs in found.items()}


async def waiting_jobs(connection: Connection, environments: Collection[UUID]) -> dict[UUID, int]:
    """How many jobs wait in each of the environments; one without any is left out."""
    return {row["environment_id"]: row["waiting"] for row in await connection.fetch(_WAITING, list(environments))}


async def next_due_seconds(database: Database) -> float | None:
    """How long until a schedule is due (negative: it is late); None when none ever is."""
    async with database.hot() as connection:
        seconds: float | None = await connection.fetchval(_NEXT)
    return seconds


async def look_again(connection: Connection, environment_id: UUID) -> None:
    """The environment takes work again: its schedules are looked at now."""
    await connection.execute(_LOOK_AGAIN, environment_id)


_TRIGGER = [name.strip() for name in COLUMNS.split(",")]
