"""What time does to jobs, every tick in every worker: no leader, the rows arbitrate (decision 14).

A tick is a hint: each reads the truth again, so one more, one less or two at once change nothing. A database that is
away ends no timer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol
from uuid import UUID

import structlog

from jobs.wake import states, wakes
from storage.postgres.ledger.sweep import Swept
from waypost.errors import WaypostError

DUE_MOST_SECONDS = 0.25
DUE_LEAST_SECONDS = 0.02
BACKOFF_SECONDS = 1.0  # after a failure; twice as long after each further one
MOST_BACKOFF_SECONDS = 30.0
LIMIT = 1_000
THOROUGH_EVERY = 60  # looks for lost leases

_log = structlog.get_logger("jobs.timers")


class TimedLedger(Protocol):
    """What is used of the ledger."""

    async def promote_due(self, limit: int = ...) -> Swept: ...
    async def next_due_seconds(self) -> float | None: ...
    async def expire(self, limit: int = ...) -> Swept: ...
    async def sweep_lost(self, limit: int = ..., *, thorough: bool = ...) -> Swept: ...
    async def sweep_canceled(self, limit: int = ...) -> Swept: ...
    async def release_holds(self, lines: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, int, int]]: ...
    async def held_lines(self) -> list[tuple[UUID, str]]: ...
    async def fold_counts(self, limit: int = ...) -> int: ...
    async def forget_idempotency(self, limit: int = ...) -> int: ...
    async def make_partitions(self) -> int: ...


class Publisher(Protocol):
    """What is used of Valkey."""

    def publish(self, channel: str, payload: bytes) -> None: ...


Step = Callable[[], Awaitable[float]]  # does its work; answers in how many seconds it wants to run again


async def run_timers(
    ledger: TimedLedger, valkey: Publisher, stop: asyncio.Event, retention: Step | None = None, **more: Step
) -> None:
    """Run until `stop` is set; a step under way is finished first. `retention` is `jobs.retention.Retention.tick`;
    `more` are further steps by name, such as `sealing=Sealer.tick`."""
    timers = Timers(ledger, valkey)
    steps: dict[str, Step] = {
        "due": timers.due,
        "lost": timers.lost,
        "expiry": timers.expiry,
        "holds": timers.holds,
        "cancels": timers.cancels,
        "counts": timers.counts,
        "idempotency": timers.idempotency,
        "partitions": timers.partitions,
    }
    if retention is not None:
        steps["retention"] = retention
    steps |= more
    async with asyncio.TaskGroup() as group:
        for name, step in steps.items():
            group.create_task(_run(name, step, stop), name=f"timer {name}")


async def _run(name: str, step: Step, stop: asyncio.Event) -> None:
    backoff = BACKOFF_SECONDS
    while not stop.is_set():
        try:
            seconds = await step()
            backoff = BACKOFF_SECONDS
        except WaypostError as error:
            _log.warning("timer.failed", timer=name, error=error.code)
            seconds = BACKOFF_SECONDS
        except Exception:  # noqa: BLE001 (one faulty row must not end the timer for all the others)
            _log.exception("timer.failed", timer=name, again_seconds=backoff)
            seconds, backoff = backoff, min(2 * backoff, MOST_BACKOFF_SECONDS)
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            continue


class Timers:
    """The steps. Each answers the seconds until it is wanted again; 0.0 when there is more to do."""

    def __init__(self, ledger: TimedLedger, valkey: Publisher) -> None:
        self._ledger = ledger
        self._valkey = valkey
        self._looks = 0

    async def due(self) -> float:
        """Queue jobs whose time has come; as soon as the next one is due, at most a quarter second from now."""
        swept = await self._ledger.promote_due(LIMIT)
        await self._tell(swept)
        if swept.count >= LIMIT:
            return 0.0
        seconds = await self._ledger.next_due_seconds()
        return DUE_MOST_SECONDS if seconds is None else min(max(seconds, DUE_LEAST_SECONDS), DUE_MOST_SECONDS)

    async def lost(self) -> float:
        """Take their leases from sessions that ran out."""
        thorough = self._looks % THOROUGH_EVERY == 0
        self._looks += 1
        swept = await self._ledger.sweep_lost(LIMIT, thorough=thorough)
        await self._tell(swept)
        if swept.count:
            _log.warning("leases.lost", jobs=swept.count)
        return 0.0 if swept.count >= LIMIT else 1.0

    async def expiry(self) -> float:
        """End jobs that were not started in time."""
        swept = await self._ledger.expire(LIMIT)
        await self._tell(swept)
        return 0.0 if swept.count >= LIMIT else 1.0

    async def holds(self) -> float:
        """Move lines of concurrency keys whose release was missed."""
        await self._release(await self._ledger.held_lines())
        return 5.0

    async def cancels(self) -> float:
        """End what its relay should have ended."""
        await self._tell(await self._ledger.sweep_canceled())
        return 2.0

    async def counts(self) -> float:
        """Fold the counts."""
        folded = await self._ledger.fold_counts(20_000)
        return 0.0 if folded >= 20_000 else 1.0

    async def idempotency(self) -> float:
        """Forget keys that are over."""
        forgotten = await self._ledger.forget_idempotency(10_000)
        return 0.0 if forgotten >= 10_000 else 60.0

    async def partitions(self) -> float:
        """Make the next weeks' partitions."""
        made = await self._ledger.make_partitions()
        if made:
            _log.info("partitions.made", weeks=made)
        return 3600.0

    async def _tell(self, swept: Swept) -> None:
        # Their keys are as old as the jobs: relays look from the beginning.
        self._publish(wakes(swept.woken, rewind=True) + states(swept.changes))
        if swept.lines:
            await self._release(swept.lines)

    async def _release(self, lines: Iterable[tuple[UUID, str]]) -> None:
        self._publish(wakes(await self._ledger.release_holds(lines), rewind=True))

    def _publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        for channel, payload in messages:
            self._valkey.publish(channel, payload)
