"""Deliveries on their way: claimed in batches, sent side by side, settled in batches; in every worker (decision 14).

A delivery is a job in the sense of the contract (same retry, same record, same replay) with a queue of its own, because
at hundreds a second a hint, a claim and an end for each would cost more than the sending. Rows arbitrate between
workers; a claim that is not settled is claimed again. Refuses: to let one endpoint take what the others need.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from jobs.breaker import TEST_SECONDS, Breakers, Store
from jobs.endpoint import FIRST, Endpoint
from storage.postgres.database import Database
from storage.postgres.subscription import queue
from storage.postgres.subscription.queue import Settlement
from waypost.clock import monotonic
from waypost.errors import Category, WaypostError
from waypost.subscription.decision import delay_seconds, gone, judge
from waypost.subscription.model import REQUEST_SECONDS, Claimed, Outcome, Verdict
from waypost.telemetry import metric

IN_FLIGHT = 384  # of one process
FAILING_IN_FLIGHT = IN_FLIGHT // 2  # of these to all endpoints together that failed last
TICK_SECONDS = 0.2
PAUSE_SECONDS = 0.01  # between two claims, so that each finds some
LEASE_SECONDS = 2 * REQUEST_SECONDS
STOP_SECONDS = 5.0
SETTLE_MOST = 500
BACKOFF_SECONDS = 1.0
ABANDON_SECONDS = 5.0
GONE_SECONDS = 5.0  # nothing goes where 410 came from, until that is written down

_log = structlog.get_logger("jobs.delivery")
_attempts = metric.counter("delivery_attempts", "Attempts to deliver an event, by what followed", ("verdict",))
_seconds = metric.latency("delivery_attempt", "From sending a delivery to its answer")

Deliver = Callable[[Claimed], Awaitable[Outcome]]


class Deliveries:
    """What one worker delivers. `run` until stopped; `wake` when something was queued just now."""

    def __init__(
        self,
        database: Database,
        deliver: Deliver,
        store: Store | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database, self._deliver, self._lease = database, deliver, lease_seconds
        self._breakers = None if store is None else Breakers(store, self._hear)
        self._endpoints: dict[UUID, Endpoint] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: list[Settlement] = []
        self._settling = asyncio.Lock()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`; then what is on its way has STOP_SECONDS. A database that is away ends nothing."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self.wake())
        if self._breakers is not None:
            await self._breakers.open()
        try:
            while not stop.is_set():
                self._woken.clear()
                try:
                    await self._claim()
                except WaypostError as error:
                    _log.warning("delivery.claim_failed", error=error.code)
                    await asyncio.sleep(BACKOFF_SECONDS)
                except Exception:  # noqa: BLE001 (as for the timers: one fault must not end everybody's deliveries)
                    _log.exception("delivery.claim_failed")
                    await asyncio.sleep(BACKOFF_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), TICK_SECONDS)
        finally:
            stopping.cancel()
            await self._finish()

    async def abandon(self) -> float:
        """A timer: give up what nobody may send any more."""
        given_up = await queue.abandon(self._database)
        return 0.0 if given_up >= queue.BITE else ABANDON_SECONDS

    async def _claim(self) -> None:
        room = IN_FLIGHT - len(self._tasks)
        if room <= 0:
            return
        now = monotonic()
        self._endpoints = {key: one for key, one in self._endpoints.items() if not one.forgettable(now)}
        await self._ask_to_test(now)
        rooms = self._rooms(now)
        for claimed in await queue.claim(self._database, rooms, room=FIRST, limit=room, seconds=self._lease):
            endpoint = self._endpoints.setdefault(claimed.subscription_id, Endpoint())
            task = asyncio.create_task(self._one(claimed, endpoint, endpoint.began()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask_to_test(self, now: float) -> None:
        """One question for all broken endpoints whose break is over."""
        asked = [key for key, one in self._endpoints.items() if one.wants_test(now)]
        if not asked:
            return
        granted = set(asked) if self._breakers is None else await self._breakers.may_test(asked)
        for key in asked:
            self._endpoints[key].asked(now, TEST_SECONDS if key in granted else 0.0)

    def _hear(self, subscription_id: UUID, failures: int, seconds: float) -> None:
        if failures or subscription_id in self._endpoints:
            self._endpoints.setdefault(subscription_id, Endpoint()).heard(monotonic(), failures, seconds)

    def _tell(self, subscription_id: UUID, endpoint: Endpoint) -> None:
        news = None if self._breakers is None else endpoint.to_tell(monotonic())
        if news is not None and self._breakers is not None:
            self._breakers.tell(subscription_id, *news)

    def _rooms(self, now: float) -> dict[UUID, int]:
        """How many more each known endpoint may get; what may hang takes no more than its share of this process."""
        rooms = {key: one.room(now) for key, one in self._endpoints.items()}
        left = FAILING_IN_FLIGHT - sum(one.in_flight for one in self._endpoints.values() if one.failures)
        for key, one in self._endpoints.items():
            if one.failures:
                rooms[key] = max(0, min(rooms[key], left))
                left -= rooms[key]
        return rooms

    async def _one(self, claimed: Claimed, endpoint: Endpoint, seen: int) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await self._deliver(claimed)
        except WaypostError as error:  # a server of ours is away, or the environment is gone: the claim runs out
            if error.category is not Category.NOT_FOUND:
                _log.warning("delivery.not_tried", delivery=str(claimed.delivery_id), error=error.code)
        except Exception:  # noqa: BLE001 (the claim runs out, and it is tried again)
            _log.exception("delivery.not_tried", delivery=str(claimed.delivery_id))
        finally:
            good = outcome is not None and outcome.error is None
            asked = None if outcome is None else GONE_SECONDS if gone(outcome) else outcome.retry_after_seconds
            endpoint.ended(monotonic(), seen, good=good, asked_seconds=asked)
            self._tell(claimed.subscription_id, endpoint)
            self.wake()
        if outcome is not None:
            self._done.append(settlement(claimed, outcome))
            await self._settle()

    async def _settle(self) -> None:
        """Natural batching: whoever comes while a batch is being written is in the next."""
        async with self._settling:
            while self._done:
                batch, self._done = self._done[:SETTLE_MOST], self._done[SETTLE_MOST:]
                await self._write(batch)

    async def _write(self, batch: Sequence[Settlement]) -> None:
        until = monotonic() + self._lease  # after that others have claimed them
        while True:
            try:
                await queue.settle(self._database, batch)
            except Exception as error:  # noqa: BLE001 (a deadlock, a server that is away: the outcome is worth trying again)
                code = error.code if isinstance(error, WaypostError) else type(error).__name__
                _log.warning("delivery.settle_failed", error=code, deliveries=len(batch))
                if monotonic() > until:
                    return
                await asyncio.sleep(BACKOFF_SECONDS)
            else:
                _count(batch)
                return

    async def _finish(self) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._breakers is not None:
            await self._breakers.close()


def settlement(claimed: Claimed, outcome: Outcome) -> Settlement:
    """What is to be recorded of an attempt."""
    verdict = judge(outcome, claimed.tries)
    delay = 0.0
    if verdict is Verdict.RETRY:
        chance = random.random()  # noqa: S311 - spreads retries, no secret
        delay = delay_seconds(claimed.tries, outcome.retry_after_seconds, chance)
    return Settlement(claimed, outcome, verdict, delay)


def _count(batch: Sequence[Settlement]) -> None:
    for one in batch:
        _attempts.labels(one.verdict.value).inc()
        _seconds.observe(one.outcome.duration_ms / 1000)
