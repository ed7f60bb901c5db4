"""Keeping the sums of usage current: a step that follows what happened, in every worker (decisions 14, 31).

The hot path writes nothing for it: ends and attempts of jobs, attempts of deliveries and usage events are rows anyway,
and each is added once its transaction is over. Once an hour the platform job `usage.roll_up` does what is due then.
"""

import asyncio
from collections import deque
from datetime import datetime, timedelta

from storage.postgres.database import Database
from storage.postgres.subscription.fan_out import Standing
from storage.postgres.usage import roll_up as rows
from waypost.clock import monotonic
from waypost.telemetry.log import get_logger

TICK_SECONDS = 10.0
LOOK_SECONDS = 0.05
CLOCK_SLACK = timedelta(seconds=5)  # a transaction may have begun, or waited for a lock, before it got its number
MARKS = 600

_log = get_logger("jobs.usage")


class Marks:
    """Transaction numbers at instants that are past: a transaction from `high` on has written nothing before the
    instant at which `high` was the next number. However long one lasts, nothing is looked for too late."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, datetime]] = deque(maxlen=MARKS)

    def note(self, standing: Standing) -> None:
        if self._marks and standing.now < self._marks[-1][1]:
            self._marks.clear()  # the clock went back: nothing that is known of it holds
        self._marks.append((standing.high, standing.now))

    def began(self, xact: int) -> datetime | None:
        """An instant before which no transaction from `xact` on has written, the latest that is known."""
        known = [at for high, at in self._marks if high <= xact]
        return known[-1] - CLOCK_SLACK if known else None


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
            standing = await rows.hold_standing(connection)
            if standing is None:
                return None
            self._marks.note(standing)
            since = self._marks.began(standing.xact) or standing.at
            following = self._marks.began(standing.low) or since
            return await rows.add_facts(connection, standing, since, following)
