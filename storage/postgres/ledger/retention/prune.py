"""Dropping whole weeks of the ledger, and deleting what they and time leave behind. Every statement is bounded."""

from datetime import date, datetime, timedelta

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.retention.statement import days_ago, fetch, indexed
from waypost.ids import first_id_at

MAX_ROWS = 1_000
RECORD_DAYS = 30  # sessions, nodes, platform jobs

_DROP = "select control.drop_partition($1::date, $2::timestamptz)"
_DROPPED = "select monday from control.dropped_week order by monday"
_HOLD = "select from control.dropped_week where monday = $1 for update skip locked"
_CLEAN = "delete from control.dropped_week where monday = $1"


async def drop_weeks(database: Database, job_days: int, results_days: int) -> list[date]:
    """Drop the weeks that are over `job_days` old, and answer their Mondays.

    A week stays while a job of it waits or runs, ended less than `results_days` ago, or has an object in S3; and when
    its locks are not free: to be tried again later. Each is a transaction of its own.
    """
    async with database.unit() as connection:
        weeks = [row["monday"] for row in await fetch(connection, "old_weeks", job_days)]
    dropped = []
    for monday in weeks:
        async with database.unit() as connection:
            if await connection.fetchval(_DROP, monday, await days_ago(connection, results_days)):
                dropped.append(monday)
    return dropped


async def prune(database: Database, job_days: int, results_days: int, limit: int = MAX_ROWS) -> bool:
    """Delete up to `limit` rows of each kind that is too old; True when there may be more."""
    more = await _prune_dropped(database, limit)
    async with indexed(database) as connection:
        old = first_id_at(await days_ago(connection, job_days))
        results = await days_ago(connection, results_days)
        more |= len(await fetch(connection, "prune_default", old, results, limit)) >= limit
    async with indexed(database) as connection:
        record = first_id_at(await days_ago(connection, RECORD_DAYS))
        for name in ("prune_nodes", "prune_platform_jobs"):
            more |= len(await fetch(connection, name, limit, record)) >= limit
        for name in ("prune_sessions", "prune_minutes"):
            more |= len(await fetch(connection, name, limit)) >= limit
    return more


async def _prune_dropped(database: Database, limit: int) -> bool:
    """Attempts and logs of dropped weeks. A week is forgotten when nothing of it was found by the one who holds it."""
    more = False
    async with database.unit() as connection:
        weeks = [row["monday"] for row in await connection.fetch(_DROPPED)]
    for monday in weeks:
        async with indexed(database) as connection:
            if await connection.fetchrow(_HOLD, monday) is None:
                continue
            found = await _prune_week(connection, monday, limit)
            if not found:
                await connection.execute(_CLEAN, monday)
            more |= found
    return more


async def _prune_week(connection: Connection, monday: date, limit: int) -> bool:
    start = datetime.fromisoformat(f"{monday}T00:00:00+00:00")
    span = first_id_at(start), first_id_at(start + timedelta(weeks=1))
    found = [len(await fetch(connection, name, *span, limit)) for name in ("prune_attempts", "prune_logs")]
    return any(found)
