"""Keeping the sums of usage current: a step that follows what happened, in every worker (decisions 14, 31).

The hot path writes nothing for it: ends and attempts of jobs, attempts of deliveries and usage events are rows anyway,
and each is added once its transaction is over. Once an hour the platform job `usage.roll_up` does what is due then.
"""

import asyncio

from jobs.follower import Marks
from storage.postgres.database import Database
from storage.postgres.follower import hold_standing
from storage.postgres.usage import roll_up as rows
from waypost.clock import monotonic
from waypost.telemetry.log import get_logger
from waypost.usage.model import ROLL_UP

TICK_SECONDS = 10.0
LOOK_SECONDS = 0.05

_log = get_logger("jobs.usage")


async def catch_up(database: Database, seconds: float) -> bool:
    """Add everything that is committed now; False when transactions of before are still in progress after so long, or
    when others were at it all the time."""
    follower, until = UsageFollower(database), monotonic() + seconds
    async with database.unit() as connection:
        transaction = await rows.next_transaction(connection)
    while True:
        await follower.follow()
        async with database.unit() as connection:
            if await rows.has_reached(connection, transaction):
                return True
        if monotonic() >= until:
            return False
        await asyncio.sleep(LOOK_SECONDS)


class UsageFollower:
    """One follower of one process."""

    def __init__(self, database: Database, *, seconds: float = TICK_SECONDS) -> None:
        self._database, self._seconds = database, seconds
        self._marks = Marks()

    async def tick(self) -> float:
        """Add what is over; answers in how many seconds it is wanted again."""
        if added := await self.follow():
            _log.debug("usage.added", facts=added)
        async with self._database.unit() as connection:
            await rows.ensure_roll_up(connection)
        return self._seconds

    async def follow(self) -> int | None:
        """Add every fact whose transaction is over, in one transaction; how many, None when another is at it."""
        async with self._database.unit() as connection:
            standing = await hold_standing(connection, ROLL_UP)
            if standing is None:
                return None
            self._marks.note(standing)
            since, following = self._marks.since(standing), self._marks.following(standing, standing.low)
            return await rows.add_facts(connection, standing, since, following)
