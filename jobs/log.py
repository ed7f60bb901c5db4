"""A step of the timers: the older lines of long logs go into the bucket (decision 18). Nobody leads; rows arbitrate."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

import structlog

from storage.postgres.database import Database
from storage.postgres.log.log import read_limits
from storage.postgres.log.spill import LIMIT, Long, Objects, Seal, long_logs, spill
from storage.postgres.tenancy.storage import stored_bytes
from waypost.errors import Category, WaypostError
from waypost.limit.decision import in_force
from waypost.limit.model import STORED_BYTES

TICK_SECONDS = 2.0
AWAY_SECONDS = 10.0

_log = structlog.get_logger("jobs.log")


class Keys(Protocol):
    """What is used of storage.secrets.EnvironmentKeys."""

    async def data_key(self, environment_id: UUID) -> Seal: ...


class LongLogs:
    """`tick` is a step of `jobs.timers`."""

    def __init__(self, database: Database, objects: Objects, keys: Keys, default_limits: Mapping[str, int]) -> None:
        self._database, self._objects, self._keys, self._defaults = database, objects, keys, default_limits

    async def tick(self) -> float:
        """Move a part of every log that is long; answers in how many seconds it is wanted again."""
        async with self._database.unit() as connection:
            found = await long_logs(connection)
        rooms = await self._rooms({one.environment_id for one in found})
        for one in found:
            try:
                rooms[one.environment_id] -= await self._spill(one, rooms[one.environment_id])
            except WaypostError as error:
                if error.category is Category.UNAVAILABLE:
                    _log.warning("log.bucket_away", error=error.code)
                    return AWAY_SECONDS
                _log.warning("log.not_moved", job=str(one.job_id), error=error.code)
        return 0.0 if len(found) == LIMIT else TICK_SECONDS

    async def _spill(self, one: Long, room: int) -> int:
        try:
            key = await self._keys.data_key(one.environment_id)
        except WaypostError as error:
            if error.category is Category.NOT_FOUND:  # its rows go with their environment
                return 0
            raise
        return await spill(self._database, self._objects, key, one, room)

    async def _rooms(self, environment_ids: set[UUID]) -> dict[UUID, int]:
        """By environment, how many bytes it may still put."""
        rooms = {}
        limits = await read_limits(self._database, list(environment_ids)) if environment_ids else {}
        for one in environment_ids:
            async with self._database.unit() as connection:
                held = await stored_bytes(connection, one)
            above, own = limits.get(one, ({}, {}))
            rooms[one] = in_force(self._defaults, above, own)[STORED_BYTES] - held
        return rooms
