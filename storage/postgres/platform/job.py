"""The life of a platform job as statements. The attempt id is the fence: another attempt settles nothing.

A running attempt whose worker's session has ended, or whose lease is over, is claimed again; it counts as an attempt.
"""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection

_COLUMNS = "id, kind, environment_id, subject, state, number, max_attempts, error"
_INSERT = "insert into control.platform_job (id, kind, environment_id, subject) values ($1, $2, $3, $4)"
# The update changes nothing: it is what lets `returning` show the open one.
_ENSURE = """
insert into control.platform_job as j (id, kind, environment_id, subject) values ($1, $2, $3, $4)
on conflict (kind, subject) where state in ('queued', 'running') do update set kind = j.kind returning j.id
"""
_CLAIM = f"""
update control.platform_job j
set state = 'running', number = number + 1, session = $2, attempt_id = $3, started_at = now(), error = null
where j.id = $1 and j.run_at <= now() and (
    j.state = 'queued'
    or j.state = 'running' and not exists (
        select from control.session s where s.id = j.session and s.ended_at is null and s.lease_until > now()
    )
)
returning {_COLUMNS}
"""  # noqa: S608 - constants only
_COMPLETE = """
update control.platform_job set state = 'completed', finished_at = now(), error = null
where id = $1 and attempt_id = $2 and state = 'running' returning true
"""
_FAIL = """
update control.platform_job set error = $3, state = $4, hinted_at = null,
    run_at = now() + $5::float8 * interval '1 second',
    finished_at = case when $4 in ('failed', 'dead_letter') then now() end
where id = $1 and attempt_id = $2 and state = 'running' returning true
"""
# Those that may run and were not hinted lately; at most $2 of one environment out at a time, counting hints still out.
_SWEEP = """
with wanting as (
    select j.id, coalesce(j.environment_id, j.id) as owner, j.run_at, j.hinted_at
    from control.platform_job j left join control.session s on s.id = j.session
    where j.state in ('queued', 'running') and j.run_at <= now()
        and (j.state = 'queued' or s.id is null or s.ended_at is not null or s.lease_until <= now())
), ranked as (
    select id, hinted_at, row_number() over (partition by owner order by run_at, id) as place from wanting
), chosen as (
    select j.id from control.platform_job j join ranked r on r.id = j.id
    where r.place <= $2 and (r.hinted_at is null or r.hinted_at < now() - $1::float8 * interval '1 second')
    limit 1000 for update of j skip locked
)
update control.platform_job j set hinted_at = now() from chosen where chosen.id = j.id returning j.id
"""
_POSTPONE = """
update control.platform_job set state = 'queued', number = number - 1, hinted_at = null,
    run_at = now() + $3::float8 * interval '1 second'
where id = $1 and attempt_id = $2 and state = 'running' returning true
"""
_OPEN = """
select id from control.platform_job
where kind = $1 and environment_id = $2 and state in ('queued', 'running') order by id desc limit 1
"""
_OPEN_ABOUT = """
select id from control.platform_job where kind = $1 and subject = $2 and state in ('queued', 'running')
"""
_READ = f"select {_COLUMNS} from control.platform_job where id = $1"  # noqa: S608 - constants only


class PlatformJob(msgspec.Struct, frozen=True):
    """One platform job. `number` is that of the current attempt once it is claimed."""

    id: UUID
    kind: str
    environment_id: UUID | None
    subject: UUID
    state: str
    number: int
    max_attempts: int
    error: str | None


async def insert_platform_job(
    connection: Connection, job_id: UUID, kind: str, environment_id: UUID | None, subject: UUID
) -> None:
    """Queue it in the transaction of what it is about; at most one of a kind and subject is open."""
    await connection.execute(_INSERT, job_id, kind, environment_id, subject)


async def ensure_platform_job(
    connection: Connection, job_id: UUID, kind: str, environment_id: UUID | None, subject: UUID
) -> UUID:
    """Queue it unless one of that kind and subject is open; the id of the open one."""
    kept: UUID = await connection.fetchval(_ENSURE, job_id, kind, environment_id, subject)
    return kept


async def claim_platform_job(connection: Connection, job_id: UUID, session: int, attempt_id: int) -> PlatformJob | None:
    """The job, now running under this session and attempt; None when it is not to be run now (ended, held, not due)."""
    row = await connection.fetchrow(_CLAIM, job_id, session, attempt_id)
    return None if row is None else _job(row)


async def complete_platform_job(connection: Connection, job_id: UUID, attempt_id: int) -> bool:
    """False when the attempt is not the current one."""
    return await connection.fetchval(_COMPLETE, job_id, attempt_id) is not None


async def retry_platform_job(
    connection: Connection, job_id: UUID, attempt_id: int, error: str, delay_seconds: float
) -> bool:
    """Back into the queue, not before the delay; False when the attempt is not the current one."""
    return await connection.fetchval(_FAIL, job_id, attempt_id, error, "queued", delay_seconds) is not None


async def postpone_platform_job(connection: Connection, job_id: UUID, attempt_id: int, delay_seconds: float) -> bool:
    """Queued again after the delay, as if this attempt had not been; False when it is not the current one."""
    return await connection.fetchval(_POSTPONE, job_id, attempt_id, delay_seconds) is not None


async def end_platform_job(
    connection: Connection, job_id: UUID, attempt_id: int, error: str, *, dead_letter: bool
) -> bool:
    """The end without success: `dead_letter` when its attempts are used up, else `failed` (a retry cannot help)."""
    state = "dead_letter" if dead_letter else "failed"
    return await connection.fetchval(_FAIL, job_id, attempt_id, error, state, 0.0) is not None


async def take_hints(connection: Connection, *, stale_seconds: float, per_environment: int) -> list[UUID]:
    """Ids to hint now, marked as hinted: due, not running on a live session, not hinted within `stale_seconds`."""
    return [row["id"] for row in await connection.fetch(_SWEEP, stale_seconds, per_environment)]


async def open_platform_job(connection: Connection, kind: str, environment_id: UUID) -> UUID | None:
    """The newest one of that kind and environment that has not ended."""
    found: UUID | None = await connection.fetchval(_OPEN, kind, environment_id)
    return found


async def open_job_about(connection: Connection, kind: str, subject: UUID) -> UUID | None:
    """The one of that kind and subject that has not ended; there is at most one."""
    found: UUID | None = await connection.fetchval(_OPEN_ABOUT, kind, subject)
    return found


async def read_platform_job(connection: Connection, job_id: UUID) -> PlatformJob | None:
    row = await connection.fetchrow(_READ, job_id)
    return None if row is None else _job(row)


def _job(row: Any) -> PlatformJob:
    return PlatformJob(*row)
