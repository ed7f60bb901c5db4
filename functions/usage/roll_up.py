"""`usage.roll_up`: once an hour, the sample of that hour, everything added that is over, and events forgotten.

The hour is that of the job's id. Run twice, it samples, adds and forgets once. Also the last roll-up of an environment
that is deleted. Refuses: to wait; a transaction that is not over is added at the next tick.
"""

import asyncio

from jobs.usage import UsageFollower
from storage.postgres.database import Database
from storage.postgres.platform.job import PlatformJob
from storage.postgres.usage import roll_up as rows
from waypost.ids import instant_of

LOOKS = 50
LOOK_SECONDS = 0.02


async def roll_up(job: PlatformJob, database: Database) -> None:
    """The hour's work; `job.subject` begins with the hour."""
    async with database.unit() as connection:
        await rows.sample_bytes_held(connection, instant_of(job.subject))
    await UsageFollower(database).follow()
    while await _prune(database):
        pass


async def catch_up(database: Database) -> bool:
    """Add everything that is committed now; False when something of before is in progress still: ask again later.

    What the caller committed before is in the sums when this is True.
    """
    async with database.unit() as connection:
        transaction = await rows.next_transaction(connection)
    if not await _over(database, transaction):
        return False
    await UsageFollower(database).follow()
    async with database.unit() as connection:
        return await rows.has_reached(connection, transaction)


async def _over(database: Database, transaction: int) -> bool:
    """Whether every transaction before this one is over, within a second."""
    for _ in range(LOOKS):
        async with database.unit() as connection:
            if await rows.oldest_in_progress(connection) >= transaction:
                return True
        await asyncio.sleep(LOOK_SECONDS)
    return False


async def _prune(database: Database) -> bool:
    async with database.unit() as connection:
        return await rows.prune_events(connection)
