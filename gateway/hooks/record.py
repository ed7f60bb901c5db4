"""Firings on their way to the database: gathered, written in batches in the background, never waited for.

What a crash can lose: rows of the last `FLUSH_SECONDS` (of this process), and of the last half second (of PostgreSQL,
which does not wait for its disk here). Of an accepted firing that is its headers and nothing else: its job has its id
and its trigger's. A flood of wrong signatures is written at a bounded rate a trigger, and not at all beyond it.
"""

import asyncio
import contextlib
from collections import deque

from gateway.limit import RateLimit
from storage.postgres.database import Database
from storage.postgres.trigger.firing import insert_firings
from waypost.errors import WaypostError
from waypost.task import stop
from waypost.telemetry.log import get_logger
from waypost.trigger.model import Firing, Outcome

FLUSH_SECONDS = 0.2
MAX_ROWS = 1_000  # a statement
MAX_WAITING = 20_000  # while PostgreSQL is away; the oldest go first
UNSIGNED = (10.0, 100)  # rows a second and burst of each trigger, of requests that anybody can send
_BY_ANYBODY = frozenset({Outcome.BAD_SIGNATURE, Outcome.STALE})

_log = get_logger("gateway.hooks")


class Firings:
    """What fired through this gateway and is not written yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Firing] = deque(maxlen=MAX_WAITING)
        self._unsigned = RateLimit(*UNSIGNED)
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._run(), name="firings")

    async def close(self) -> None:
        """Stop, after writing what waits; a database that is away loses it."""
        await stop(self._task)
        with contextlib.suppress(WaypostError):
            await self._write()

    def add(self, firing: Firing) -> None:
        """Keep it soon."""
        if firing.outcome in _BY_ANYBODY and self._unsigned.take(firing.trigger_id.int) < 0:
            return
        self._waiting.append(firing)
        self._some.set()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self._some.clear()
            try:
                await self._write()
            except WaypostError as error:
                _log.warning("firings.not_written", error=error.code, waiting=len(self._waiting))
                self._some.set()
            except Exception:  # noqa: BLE001 - one faulty batch must not end the writing of all others
                _log.exception("firings.lost")

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(MAX_ROWS, len(self._waiting)))]
            try:
                async with self._database.hot(synchronous_commit=False) as connection:
                    await insert_firings(connection, batch)
            except WaypostError:
                self._waiting.extendleft(reversed(batch))
                raise
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(batch))
                raise
