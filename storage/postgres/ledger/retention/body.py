"""Erasing payloads and results that lie in rows, in order of the jobs' ends.

`control.erasure.until` is how far it has come, so that an hour's work is an hour's ends. Its row is locked meanwhile:
one worker erases, the others answer that there is nothing to do.
"""

from datetime import datetime, timedelta
from typing import Any

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.retention.statement import days_ago, fetch, indexed
from storage.postgres.ledger.statement import chunks
from waypost.ids import first_id_at

MAX_ROWS = 1_000  # rows a statement changes
SLICE_ROWS = 5_000  # ends a transaction looks at
LEAST_STEP = timedelta(milliseconds=1)
SKEW = timedelta(
    days=1
)  # how far a gateway's clock, which makes the ids, may go before Postgres', which tells the ends

_UNTIL = "select until from control.erasure for update skip locked"
_ADVANCE = "update control.erasure set until = $1"


async def erase_bodies(database: Database, days: int) -> bool:
    """Erase the bodies of the next slice of jobs that ended more than `days` ago; True when there are more slices.

    Commits slice and mark together. An erased payload is empty, an erased result null; what is in S3 stays.
    """
    async with indexed(database) as connection:
        since = await connection.fetchval(_UNTIL)
        before = await days_ago(connection, days)
        if since is None or since >= before:
            return False
        until, rows = await _slice(connection, since, before)
        for chunk in chunks(rows, MAX_ROWS):
            jobs = [row["environment_id"] for row in chunk], [row["job_id"] for row in chunk]
            await fetch(connection, "erase_payloads", *jobs)
            await fetch(connection, "erase_results", *jobs)
        await connection.execute(_ADVANCE, until)
    return until < before


async def _slice(connection: Connection, since: datetime, before: datetime) -> tuple[datetime, list[Any]]:
    """The longest of ever shorter spans from `since` on that holds few enough ends, and these. One of a millisecond is
    taken whole.
    """
    until = before
    while True:
        few = until - since > LEAST_STEP
        limit = SLICE_ROWS + 1 if few else None
        rows = await fetch(connection, "ended_between", since, until, first_id_at(until + SKEW), limit)
        if not few or len(rows) <= SLICE_ROWS:
            return until, rows
        until = max(since + (until - since) / 2, since + LEAST_STEP)
