"""What keeps the ledger fit: folded counts, forgotten idempotency keys, partitions ahead of time."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from storage.postgres.database import Database
from storage.postgres.ledger.statement import run
from waypost.errors import unavailable

WEEKS_AHEAD = 3

_FOLDING = "select pg_try_advisory_xact_lock(hashtextextended('fold_counts', 7))"
_FORGET = (
    "delete from control.idempotency where ctid = any (array("
    "select ctid from control.idempotency where expires_at <= now() limit $1 for update skip locked)) returning 1"
)
TRIES = 20  # to lock the ledger's tables, PAUSE_SECONDS apart
PAUSE_SECONDS = 0.2
_MAKE = "select control.make_partition($1::date)"
_WAITING = "waiting_routes"


async def fold_counts(database: Database, limit: int) -> int:
    """Add up to `limit` deltas to the counts; one process at a time, the others answer 0. Exact whoever folds."""
    async with database.hot(synchronous_commit=False) as connection, connection.transaction():
        if not await connection.fetchval(_FOLDING):
            return 0
        rows = await run(connection, "fold_counts", limit)
    return int(rows[0]["count"])


async def forget_idempotency(database: Database, limit: int) -> int:
    """Delete up to `limit` idempotency keys whose 24 hours are over. An expired key counts as free already."""
    async with database.unit() as connection:
        return len(await connection.fetch(_FORGET, limit))


async def make_partitions(database: Database, today: datetime | None = None) -> int:
    """Make the partitions of this week and the next ones; answers how many weeks are new.

    What has no partition goes into the default one: late partitions lose nothing. Raises `unavailable` while others do
    not let go of the tables: nobody waits long for it.
    """
    day = (today or datetime.now(UTC)).date()
    monday = day - timedelta(days=day.weekday())
    made = 0
    for week in range(WEEKS_AHEAD + 1):
        made += await _make_week(database, monday + timedelta(weeks=week))
    return made


async def _make_week(database: Database, monday: date) -> bool:
    for _ in range(TRIES):
        async with database.unit() as connection:  # each its own: its locks last as short as they can
            made: bool | None = await connection.fetchval(_MAKE, monday)
        if made is not None:
            return made
        await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - spreads tries, no secret
    raise unavailable("The ledger")


async def waiting_routes(database: Database, routes: Sequence[int]) -> list[tuple[int, int]]:
    """Which (route, rank) of `routes` are not empty: the slow poll. Costs a probe a route, however long the queues."""
    async with database.hot(synchronous_commit=False) as connection:
        rows = await run(connection, _WAITING, list(routes))
    return [(row["route"], row["rank"]) for row in rows]
