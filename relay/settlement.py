"""Makes ends durable, in batches: one statement under way of each kind, what comes meanwhile shares the next.

Responsible for sending endings and retries to the ledger until it answers, and for saying which were accepted.
Refuses to decide anything about a job: that is done before (`relay.running`), and the fence is the database's
(decision 12a).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog

from relay import metric
from relay.attempt import Attempt
from waypost.errors import WaypostError
from waypost.job.model import Ending, Retrying, Settled

MAX_BATCH = 2_000  # rows a statement (decision 12)
MAX_BATCH_BYTES = 16 << 20
RETRY_SECONDS = 0.2

_log = structlog.get_logger("relay.settlement")


class SettlingLedger(Protocol):
    """What is used of the ledger."""

    async def settle_end(self, session: int, endings: Sequence[Ending]) -> list[Settled]: ...
    async def settle_retry(self, session: int, retries: Sequence[Retrying]) -> list[Settled]: ...


OnSettled = Callable[[list[tuple[Attempt, Any, Settled | None]]], None]


class Settlement:
    """`on_settled` gets each batch: attempt, what was asked, and the ledger's word (None = refused)."""

    def __init__(self, ledger: SettlingLedger, on_settled: OnSettled) -> None:
        self._on_settled = on_settled
        self._ends = _Lane(ledger.settle_end, self._done)
        self._retries = _Lane(ledger.settle_retry, self._done)

    def end(self, session: int, attempt: Attempt, ending: Ending) -> None:
        self._ends.put(session, attempt, ending)

    def retry(self, session: int, attempt: Attempt, retrying: Retrying) -> None:
        self._retries.put(session, attempt, retrying)

    @property
    def pending(self) -> int:
        return self._ends.pending + self._retries.pending

    async def flushed(self) -> None:
        """Return when everything put so far has been decided."""
        await asyncio.gather(self._ends.flushed(), self._retries.flushed())

    def drop(self) -> None:
        """Give up what has not been sent: its session is over, the ledger would refuse it."""
        self._ends.drop()
        self._retries.drop()

    def _done(self, batch: list[tuple[Attempt, Any, Settled | None]]) -> None:
        self._on_settled(batch)


class _Lane:
    """One statement's queue. A task exists only while there is something to send."""

    def __init__(self, send: Callable[[int, Any], Awaitable[list[Settled]]], done: OnSettled) -> None:
        self._send, self._done = send, done
        self._queue: list[tuple[int, Attempt, Any]] = []
        self._under_way = 0
        self._task: asyncio.Task[None] | None = None

    def put(self, session: int, attempt: Attempt, item: Any) -> None:
        self._queue.append((session, attempt, item))
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    @property
    def pending(self) -> int:
        return len(self._queue) + self._under_way

    async def flushed(self) -> None:
        while self._task is not None:
            await asyncio.wait({self._task})

    def drop(self) -> None:
        dropped, self._queue = self._queue, []
        self._done([(attempt, item, None) for _, attempt, item in dropped])

    async def _run(self) -> None:
        try:
            while self._queue:
                await self._settle(self._take())
        finally:
            self._task = None

    def _take(self) -> tuple[int, dict[UUID, tuple[Attempt, Any]]]:
        """The next rows of one session, a job once, within rows and bytes."""
        session, size, rest = self._queue[0][0], 0, 0
        batch: dict[UUID, tuple[Attempt, Any]] = {}
        for rest, (owner, attempt, item) in enumerate(self._queue):  # noqa: B007 - used after the loop
            if owner != session or len(batch) >= MAX_BATCH or size > MAX_BATCH_BYTES or attempt.job_id in batch:
                break
            batch[attempt.job_id] = (attempt, item)
            size += len(getattr(item, "result", None) or b"")
        else:
            rest += 1
        self._queue = self._queue[rest:]
        return session, batch

    async def _settle(self, taken: tuple[int, dict[UUID, tuple[Attempt, Any]]]) -> None:
        session, batch = taken
        self._under_way = len(batch)
        items = [item for _, item in sorted(batch.values(), key=lambda pair: pair[0].job_id.int)]
        began = time.perf_counter()
        accepted = {settled.job_id: settled for settled in await self._decide(session, items)}
        metric.SETTLE_SECONDS.observe(time.perf_counter() - began)
        metric.SETTLE_BATCH.inc()
        self._under_way = 0
        self._done([(attempt, item, accepted.get(job_id)) for job_id, (attempt, item) in batch.items()])

    async def _decide(self, session: int, items: list[Any]) -> list[Settled]:
        """Ask until the ledger answers. One row that it cannot take must not hold up the others of its batch."""
        while True:
            try:
                return await self._send(session, items)
            except WaypostError as error:
                _log.warning("settlement.delayed", error=error.code, attempts=len(items))
                if error.retryable:
                    await asyncio.sleep(RETRY_SECONDS)
                elif len(items) > 1:
                    return [settled for item in items for settled in await self._decide(session, [item])]
                else:
                    return []
            except Exception:  # noqa: BLE001 - a full disk, a lock: an answer is kept until the ledger takes it
                _log.exception("settlement.delayed", attempts=len(items))
                await asyncio.sleep(RETRY_SECONDS)
