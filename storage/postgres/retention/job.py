"""Bodies, jobs and logs of one environment, by the time of their job's end. Objects go first, then the rows that name
them: a crash in between leaves a name of nothing, which the next sweep removes.

Refuses: jobs that have not ended.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.retention.object import Objects
from storage.postgres.ledger.retention.statement import indexed
from waypost.errors import Category, WaypostError
from waypost.ids import NIL, first_id_at

LIMIT = 500  # jobs a commit
LEAST_STEP = timedelta(milliseconds=1)
SKEW = timedelta(
    days=1
)  # how far a gateway's clock, which makes the ids, may go before Postgres', which tells the ends

_UNTIL = "select erased_until from control.retention_sweep where environment_id = $1 for update skip locked"
_ADVANCE = "update control.retention_sweep set erased_until = $2 where environment_id = $1"
_ENDED = """
select e.job_id, e.result_object, j.payload_object
from control.job_end e left join control.job j on j.environment_id = $1 and j.id = e.job_id
where e.environment_id = $1 and e.finished_at >= $2 and e.finished_at < $3 and e.job_id < $4 limit $5
"""
_ERASE_PAYLOADS = """
update control.job set payload = '', payload_object = null
where environment_id = $1 and id = any ($2::uuid[]) and (payload <> '' or payload_object is not null)
"""
_ERASE_RESULTS = """
update control.job_end set result = null, result_object = null
where environment_id = $1 and job_id = any ($2::uuid[]) and (result is not null or result_object is not null)
returning job_id
"""
_OLD_JOBS = """
select e.job_id, e.result_object, j.payload_object
from control.job_end e left join control.job j on j.environment_id = $1 and j.id = e.job_id
where e.environment_id = $1 and e.job_id > $2 and e.job_id < $3 and e.finished_at < $4
order by e.job_id limit $5
"""
_LOG_OBJECTS = """
select object_key from control.log_object where environment_id = $1 and job_id = any ($2::uuid[])
"""
_DELETE_LOGS = tuple(
    f"delete from control.{table} where environment_id = $1 and job_id = any ($2::uuid[])"  # noqa: S608 - from below
    for table in ("log_object", "job_log", "attempt_log")
)
_DELETE_JOBS = (
    "delete from control.artifact_reference where environment_id = $1 and kind = 'job' and id = any ($2::uuid[])",
    *(
        f"delete from control.{table} where environment_id = $1 and job_id = any ($2::uuid[])"  # noqa: S608 - from here
        for table in ("job_label", "attempt", "cancel_request", "job_end")
    ),
    "delete from control.job where environment_id = $1 and id = any ($2::uuid[])",
)
# Also of jobs that are gone: their week was dropped.
_OLD_LOGS = """
select l.job_id from control.attempt_log l
where l.environment_id = $1 and l.job_id > $2 and l.job_id < $3 and (
    exists (select from control.job_end e where e.environment_id = $1 and e.job_id = l.job_id and e.finished_at < $4)
    or not exists (select from control.job j where j.environment_id = $1 and j.id = l.job_id)
)
order by l.job_id limit $5
"""


async def erase_bodies(database: Database, objects: Objects, environment_id: UUID, before: datetime) -> int | None:
    """Erase payloads and results of the next jobs that ended before an instant; how many jobs, None: there are no more.

    Slice and mark are one commit, under the lock of the environment's row: whoever does not get it has nothing to do.
    """
    async with indexed(database) as connection:
        since = await connection.fetchval(_UNTIL, environment_id)
        if since is None or since >= before:
            return None
        until, rows = await _slice(connection, environment_id, since, before)
        await _delete_objects(objects, environment_id, _keys(rows))
        ids = [row["job_id"] for row in rows]
        await connection.execute(_ERASE_PAYLOADS, environment_id, ids)
        erased = len(await connection.fetch(_ERASE_RESULTS, environment_id, ids))
        await connection.execute(_ADVANCE, environment_id, until)
    return max(erased, len(rows))


async def delete_jobs(
    database: Database, objects: Objects, environment_id: UUID, before: datetime, after: UUID = NIL
) -> tuple[int, UUID | None]:
    """Delete the next jobs that ended before an instant, with all that belongs to them; how many, and after which to go
    on, None at the end."""
    async with indexed(database) as connection:
        rows = await connection.fetch(_OLD_JOBS, environment_id, after, first_id_at(before + SKEW), before, LIMIT)
        ids = [row["job_id"] for row in rows]
        logs = [row["object_key"] for row in await connection.fetch(_LOG_OBJECTS, environment_id, ids)]
    if not rows:
        return 0, None
    await _delete_objects(objects, environment_id, [*_keys(rows), *logs])
    async with indexed(database) as connection:
        for statement in (*_DELETE_LOGS, *_DELETE_JOBS):
            await connection.execute(statement, environment_id, ids)
    return len(rows), ids[-1] if len(rows) == LIMIT else None


async def delete_logs(
    database: Database, objects: Objects, environment_id: UUID, before: datetime, after: UUID = NIL
) -> tuple[int, UUID | None]:
    """Delete the next logs of jobs that ended before an instant, or are gone; answers as `delete_jobs`."""
    async with indexed(database) as connection:
        rows = await connection.fetch(_OLD_LOGS, environment_id, after, first_id_at(before + SKEW), before, LIMIT)
        ids = sorted({row["job_id"] for row in rows})
        logs = [row["object_key"] for row in await connection.fetch(_LOG_OBJECTS, environment_id, ids)]
    if not rows:
        return 0, None
    await _delete_objects(objects, environment_id, logs)
    async with indexed(database) as connection:
        for statement in _DELETE_LOGS:
            await connection.execute(statement, environment_id, ids)
    return len(rows), ids[-1] if len(rows) == LIMIT else None


async def _slice(
    connection: Connection, environment_id: UUID, since: datetime, before: datetime
) -> tuple[datetime, Sequence[Any]]:
    """The longest of ever shorter spans from `since` on that holds few enough ends; one of a millisecond whole."""
    until = before
    while True:
        few = until - since > LEAST_STEP
        limit = LIMIT + 1 if few else None
        rows = await connection.fetch(_ENDED, environment_id, since, until, first_id_at(until + SKEW), limit)
        if not few or len(rows) <= LIMIT:
            return until, rows
        until = max(since + (until - since) / 2, since + LEAST_STEP)


def _keys(rows: Iterable[Any]) -> list[str]:
    return [row[name] for row in rows for name in ("payload_object", "result_object") if row[name] is not None]


async def _delete_objects(objects: Objects, environment_id: UUID, keys: Iterable[str]) -> None:
    """Raises `unavailable`; what is gone already is gone."""
    for key in keys:
        try:
            await objects.delete(environment_id, key)
        except WaypostError as error:
            if error.category is not Category.NOT_FOUND:
                raise
