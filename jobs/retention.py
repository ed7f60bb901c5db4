"""What the ledger forgets, once an hour in every worker: bodies, their objects, old weeks and what they leave behind.

As with all timers a tick is a hint and nobody leads. S3 that is away delays what has objects, nothing else.
"""

from datetime import date
from typing import Protocol

import structlog

from jobs.platform import nudge
from storage.postgres.database import Database
from storage.postgres.ledger.retention.object import ErasedObjects, Objects
from storage.postgres.retention.turn import queue_due
from storage.valkey.client import Valkey
from waypost.errors import WaypostError
from waypost.retention.model import SWEEP_SECONDS

EVERY_SECONDS = 3600.0
AWAY_SECONDS = 300.0
MORE_SECONDS = 0.05  # leaves the ledger room between two bites
BITES = 20  # slices of bodies a tick
TURN_SECONDS = 5.0  # between two looks whose turn it is to be swept
TURNS = 20  # sweeps queued a look

_log = structlog.get_logger("jobs.retention")


class ForgettingLedger(Protocol):
    """What is used of the ledger."""

    async def erase_bodies(self, days: int) -> bool: ...
    async def erase_objects(self, objects: Objects, days: int) -> ErasedObjects: ...
    async def drop_weeks(self, job_days: int, results_days: int) -> list[date]: ...
    async def prune(self, job_days: int, results_days: int) -> bool: ...


class Retention:
    """Payloads and results are kept `results_days` after a job's end, jobs `job_days` (decision 20)."""

    def __init__(self, ledger: ForgettingLedger, objects: Objects, results_days: int, job_days: int) -> None:
        self._ledger, self._objects = ledger, objects
        self._results_days, self._job_days = results_days, job_days

    async def tick(self) -> float:
        """Forget what is too old, a bounded part of it; answers in how many seconds it is wanted again."""
        more = await self._bodies()
        away = not await self._bucket()
        for monday in await self._ledger.drop_weeks(self._job_days, self._results_days):
            _log.info("retention.week_dropped", monday=monday.isoformat())
        more |= await self._ledger.prune(self._job_days, self._results_days)
        return MORE_SECONDS if more else AWAY_SECONDS if away else EVERY_SECONDS

    async def _bodies(self) -> bool:
        for _ in range(BITES):
            if not await self._ledger.erase_bodies(self._results_days):
                return False
        return True

    async def _bucket(self) -> bool:
        """False when S3 is away."""
        try:
            done = await self._ledger.erase_objects(self._objects, self._results_days)
        except WaypostError as error:
            _log.warning("retention.objects_away", error=error.code)
            return False
        if done.stuck:
            _log.warning("retention.stuck", objects=done.stuck)
        return True


class Sweeps:
    """Queues the platform job `retention.sweep` of each environment whose turn it is."""

    def __init__(self, database: Database, valkey: Valkey) -> None:
        self._database, self._valkey = database, valkey

    async def tick(self) -> float:
        """Answers in how many seconds it is wanted again."""
        async with self._database.unit() as connection:
            queued = await queue_due(connection, TURNS, SWEEP_SECONDS)
        if queued:
            nudge(self._valkey)
        return TURN_SECONDS
