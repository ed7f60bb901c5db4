"""Keeping the sums of usage current: a step that follows what happened, in every worker (decisions 14, 31).

The hot path writes nothing for it: ends and attempts of jobs, attempts of deliveries and usage events are rows anyway,
and each is added once its transaction is over. Once an hour the platform job `usage.roll_up` does what is due then.
"""

import structlog

from jobs.fan_out import Marks
from storage.postgres.database import Database
from storage.postgres.usage import roll_up as rows

TICK_SECONDS = 10.0

_log = structlog.get_logger("jobs.usage")


class UsageFollower:
    """One follower of one process."""

    def __init__(self, database: Database, *, seconds: float = TICK_SECONDS) -> None:
        self._database, self._seconds = database, seconds
        self._marks = Marks()

    async def tick(self) -> float:
        """Add what is over; answers in how many seconds it is wanted again."""
        await self.follow()
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
            added = await rows.add_facts(connection, standing, self._marks.since(standing))
        _log.debug("usage.added", facts=added)
        return added
