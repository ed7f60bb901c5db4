"""A worker's schedules and nothing else, as a process to kill: `python -P -m tests.storage.tick_process URL [LINES]`.

Writes a line each time that it holds due schedules and is about to keep their jobs; after so many LINES it goes on
holding them, and keeps nothing more.
"""

import asyncio
import sys
from collections.abc import Iterable
from uuid import UUID

from jobs.schedule import Schedules
from storage.postgres.database import Database
from storage.postgres.ledger.ledger import Ledger
from tests.storage.schedule_ground import Heard, OpenKeys
from waypost.limit.decision import defaults


class Telling:
    """The ledger, told of aloud. `stop_after` so many lines nothing is answered any more; None: never."""

    def __init__(self, ledger: Ledger, stop_after: int | None) -> None:
        self._ledger, self._stop_after, self._lines = ledger, stop_after, 0

    async def resolve_route(self, *asked: object) -> int:
        sys.stdout.write("held\n")
        sys.stdout.flush()
        self._lines += 1
        if self._lines == self._stop_after:
            await asyncio.Event().wait()
        await asyncio.sleep(0.002)  # a batch is held long enough for the other processes to come across it
        return await self._ledger.resolve_route(*asked)  # type: ignore[arg-type]  # as they came

    async def release_holds(self, lines: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, int, int]]:
        return await self._ledger.release_holds(lines)


async def main(url: str, stop_after: int | None = None) -> None:
    database = await Database.open(url, name="tick", pool_size=1, hot_size=2)
    schedules = Schedules(database, Telling(Ledger(database), stop_after), OpenKeys(), Heard(), defaults({}), batch=40)
    while True:  # noqa: ASYNC110 (until it is killed)
        await asyncio.sleep(await schedules.tick())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
