"""Sealing the audit and forgetting what is too old, in every worker: no leader, a row lock arbitrates (decision 30).

A batch is sealed in the database first and copied to the object store afterwards; what a crash leaves between the two
is found by the next tick of any worker. An object store that is away delays copies, with them retention, nothing else.
"""

from typing import Protocol

import structlog

from storage.postgres.audit import seal as rows
from storage.postgres.database import Database
from waypost.audit.model import Anchor, Seal
from waypost.errors import WaypostError

MORE_SECONDS = 0.05  # leaves the database room between two batches
COPIES = 20  # batches copied a tick
DROPS = 20  # batches dropped a tick

_log = structlog.get_logger("jobs.audit")


class Copies(Protocol):
    """What is used of the object store (storage.objects.seal)."""

    async def put_batch(self, batch: Seal) -> bool: ...
    async def put_anchor(self, anchor: Anchor) -> bool: ...
    async def forget_batches(self, until: int) -> None: ...


class Sealer:
    """Seals every `seconds`; keeps entries `keep_days`, at least 90."""

    def __init__(
        self, database: Database, copies: Copies, *, seconds: float, keep_days: int, batch: int = rows.BATCH
    ) -> None:
        self._database, self._copies = database, copies
        self._seconds, self._keep_days, self._batch = seconds, keep_days, batch

    async def tick(self) -> float:
        """Seal, copy, drop: a bounded part of each; answers in how many seconds it is wanted again."""
        sealed = await rows.seal_next(self._database, self._batch)
        more = sealed is not None and sealed.count >= self._batch
        try:
            more |= await self._copy()
            more |= await self._drop()
        except WaypostError as error:
            _log.warning("audit.copies_away", error=error.code)
        return MORE_SECONDS if more else self._seconds

    async def _copy(self) -> bool:
        """Put batches into the object store that are not known to be there; True when there may be more."""
        unstored = await rows.unstored_batches(self._database, COPIES)
        for batch in unstored:
            if not await self._copies.put_batch(batch):
                _log.error("audit.copy_differs", batch=batch.number)  # `waypost admin audit verify` says more
                return False
            await rows.mark_stored(self._database, batch.number)
        return len(unstored) >= COPIES

    async def _drop(self) -> bool:
        """Drop the oldest batches; True when there may be more. The anchor follows, also after a crash in between."""
        dropped = 0
        while dropped < DROPS and await rows.drop_batch(self._database, self._keep_days) is not None:
            dropped += 1
        anchor = await rows.unstored_anchor(self._database)
        if anchor is not None:
            if not await self._copies.put_anchor(anchor):
                _log.error("audit.copy_differs", anchor=anchor.number)
                return False
            await self._copies.forget_batches(anchor.number)
            await rows.mark_stored(self._database, anchor.number)
        return dropped >= DROPS
