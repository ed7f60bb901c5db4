"""Calls of the API by environment: counted in memory, written now and then as usage events under a batch's name.

A batch that may not have been written is sent again under its name, so it counts once. What a kill can lose is what was
called since the last flush. Counted is every request about an organization or what is in it that was answered, with
an error of the caller's too; not what was refused for its rate (429) or by our fault (5xx), and no webhook that comes
in: it counts as the job that it makes. Costs 0.3 µs a request.
"""

import asyncio
import contextlib
from uuid import UUID

from gateway.exchange import Exchange
from storage.postgres.database import Database
from storage.postgres.usage.event import insert_calls
from waypost.errors import WaypostError
from waypost.ids import new_id
from waypost.task import stop
from waypost.telemetry.log import get_logger

FLUSH_SECONDS = 10.0

_log = get_logger("gateway.calls")


class CallCount:
    """What was called through this gateway and is not written yet."""

    def __init__(self, database: Database, seconds: float = FLUSH_SECONDS) -> None:
        self._database, self._seconds = database, seconds
        self._calls: dict[UUID, int] = {}
        self._batch: tuple[str, dict[UUID, int]] | None = None  # on its way
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._run(), name="calls")

    async def close(self) -> None:
        """Stop, after writing what waits; a database that is away loses it."""
        await stop(self._task)
        with contextlib.suppress(WaypostError):
            await self.flush()
            await self.flush()  # what came while a batch was on its way

    def note(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        scope, status = exchange.scope, exchange.status
        if scope is not None and 0 < status < 500 and status != 429:
            about = scope.environment_id or scope.organization_id
            self._calls[about] = self._calls.get(about, 0) + 1

    async def flush(self) -> None:
        """Write what is on its way again, or else what was counted since. Raises `unavailable` and loses nothing."""
        if self._batch is None:
            if not self._calls:
                return
            self._batch, self._calls = (str(new_id()), self._calls), {}
        async with self._database.unit() as connection:
            await insert_calls(connection, *self._batch)
        self._batch = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.flush()
            except WaypostError as error:
                _log.warning("calls.not_written", error=error.code)
            except Exception:  # noqa: BLE001 - what cannot be written now is tried again
                _log.exception("calls.failed")
