"""Whose turn it is to be swept. The row is the lock of whoever takes it; it comes again when its sweep dies."""

from datetime import datetime
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.platform.job import ensure_platform_job
from waypost.ids import new_id
from waypost.retention.model import SWEEP, SWEEP_SECONDS, LastSweep

# One that is new has nothing to sweep yet.
_TAKE = """
with fresh as (
    insert into control.retention_sweep (environment_id, erased_until, next_at)
    select e.id, e.created_at, now() + $2::float8 * interval '1 second' from control.environment e
    where e.status in ('ready', 'suspended') and e.deleted_at is null
        and not exists (select from control.retention_sweep s where s.environment_id = e.id)
    limit 1000 on conflict do nothing
), due as (
    select s.environment_id from control.retention_sweep s
    join control.environment e on e.id = s.environment_id and e.status in ('ready', 'suspended')
    where s.next_at <= now() order by s.next_at limit $1 for update of s skip locked
)
update control.retention_sweep s set next_at = now() + $2::float8 * interval '1 second'
from due where s.environment_id = due.environment_id returning s.environment_id
"""
_PLAN = """
insert into control.retention_sweep (environment_id, erased_until, next_at)
select id, created_at, now() + $2::float8 * interval '1 second' from control.environment where id = $1
on conflict (environment_id) do nothing
"""
_DONE = "update control.retention_sweep set swept_at = now(), removed = $2 where environment_id = $1"
_READ = "select swept_at, next_at, removed from control.retention_sweep where environment_id = $1"


async def queue_due(connection: Connection, most: int, seconds: float) -> int:
    """Queue the sweeps of environments whose turn it is; each is due again after so many seconds."""
    due = [row["environment_id"] for row in await connection.fetch(_TAKE, most, seconds)]
    for environment_id in due:
        await ensure_platform_job(connection, new_id(), SWEEP, environment_id, environment_id)
    return len(due)


async def sweep_soon(connection: Connection, environment_id: UUID) -> None:
    """Queue its sweep now, beside its turns: its days were changed. One that runs sees that at its end."""
    await connection.execute(_PLAN, environment_id, SWEEP_SECONDS)
    await ensure_platform_job(connection, new_id(), SWEEP, environment_id, environment_id)


async def mark_swept(connection: Connection, environment_id: UUID, removed: dict[str, int]) -> None:
    await connection.execute(_DONE, environment_id, msgspec.json.encode(removed).decode())


async def read_sweep(connection: Connection, environment_id: UUID) -> LastSweep | None:
    """None before its first turn was planned."""
    row = await connection.fetchrow(_READ, environment_id)
    if row is None:
        return None
    swept_at: datetime | None = row["swept_at"]
    return LastSweep(swept_at, row["next_at"], msgspec.json.decode(row["removed"], type=dict[str, int]))
