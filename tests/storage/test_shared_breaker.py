"""Workers agree which endpoints are dead: over Valkey, without a round trip a delivery, and each alone without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from jobs import breaker, endpoint
from jobs.delivery import Deliveries
from jobs.endpoint import BREAK_AFTER
from storage.valkey.client import ReplyError, Valkey
from tests.gateway.test_shared_rate import Counting
from tests.storage.delivery_ground import DeliveryGround, failed, good
from tests.storage.ledger_ground import Ground, Tenant
from waypost.ids import new_id
from waypost.subscription.model import Claimed, Outcome

WORKERS = 2


class Watched(Counting):
    """A worker's connection to Valkey; `refused`: its user may not listen."""

    refused = False

    async def subscribe(self, *arguments: Any) -> Any:
        if self.refused:
            raise ReplyError("NOPERM")
        return await self._valkey.subscribe(*arguments)


@pytest.fixture
async def deliveries(ground: Ground, tenant: Tenant) -> AsyncIterator[DeliveryGround]:
    made = DeliveryGround(ground, tenant)
    yield made
    await made.close()


@pytest.fixture
async def stores(platform: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Watched]]:
    """As workers' own user: what its rules forbid would show. Apart from the platform's worker, which has another
    database and would test what is not its own."""
    for name in ("CHANNEL", "HELD", "TEST"):
        monkeypatch.setattr(breaker, name, f"wp:{name.lower()}:{new_id().hex}:")
    monkeypatch.setattr(breaker, "ASK_SECONDS", 10)  # an answer that comes late would count as none
    opened = [await Valkey.open(platform.valkey_url("worker")) for _ in range(WORKERS)]
    yield [Watched(one) for one in opened]
    for one in opened:
        await one.close()


class Dead:
    """Counts what each worker sends to an endpoint; `well` answers 2xx."""

    def __init__(self) -> None:
        self.sent: list[int] = [0] * WORKERS
        self.well = False
        self.any = asyncio.Event()

    def of(self, worker: int) -> Any:
        async def deliver(_: Claimed) -> Outcome:
            self.sent[worker] += 1
            self.any.set()
            return good() if self.well else failed(503)

        return deliver

    async def next(self, seconds: float = 30.0) -> None:
        self.any.clear()
        await asyncio.wait_for(self.any.wait(), seconds)


@asynccontextmanager
async def working(*workers: Deliveries) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
        stack.push_async_callback(asyncio.gather, *tasks)
        stack.callback(stop.set)
        yield


async def broken(worker: Deliveries, key: UUID) -> None:
    async with asyncio.timeout(30):
        while worker._endpoints.get(key) is None or worker._endpoints[key].failures < BREAK_AFTER:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_one_worker_finds_dead_the_others_leave_alone(
    deliveries: DeliveryGround, stores: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that begins afterwards, too; after the break one of them tests it, and a success opens it for all."""
    monkeypatch.setattr(endpoint, "BREAK_SECONDS", 8.0)
    dead = Dead()
    key = await deliveries.subscribe("http://dead/")
    finds, hears = (deliveries.worker(dead.of(n), store) for n, store in enumerate(stores))
    await deliveries.queue(key, BREAK_AFTER)
    async with working(finds):
        await broken(finds, key)
        assert dead.sent == [BREAK_AFTER, 0]
        await deliveries.queue(key, 20)
        async with working(hears):
            await broken(hears, key)
            finds.wake()
            hears.wake()
            await dead.next()  # the break is over: one tests it
            assert sum(dead.sent) == BREAK_AFTER + 1
            dead.well = True
            await dead.next()  # the next break is over
            async with asyncio.timeout(30):
                while sum(dead.sent) < BREAK_AFTER + 20 + 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(20):  # the one that did not test it hears of it
                while finds._endpoints[key].failures or hears._endpoints[key].failures:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


async def test_a_delivery_costs_no_round_trip(deliveries: DeliveryGround, stores: list[Watched]) -> None:
    """A worker asks once, when it begins; what goes well is no news."""
    fine = Dead()
    fine.well = True
    await deliveries.queue(await deliveries.subscribe("http://fine/"), 200)
    async with working(deliveries.worker(fine.of(0), stores[0])):
        async with asyncio.timeout(15):
            while fine.sent[0] < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert stores[0].asked == 1


async def test_what_an_endpoint_asks_for_holds_for_all(deliveries: DeliveryGround, stores: list[Watched]) -> None:
    """Retry-After, told to one of them."""
    heard: list[tuple[UUID, int, float]] = []
    key = await deliveries.subscribe("http://busy/")
    await deliveries.queue(key)

    async def deliver(_: Claimed) -> Outcome:
        return failed(429, 60.0)

    listening = breaker.Breakers(stores[1], lambda *told: heard.append(told))
    await listening.open()
    async with working(deliveries.worker(deliver, stores[0])):
        async with asyncio.timeout(10):
            while key not in [one[0] for one in heard]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    ((_, failures, seconds),) = [one for one in heard if one[0] == key]
    assert failures == 1
    assert 55 < seconds <= 60


async def test_one_of_all_workers_tests_and_another_when_it_dies(
    deliveries: DeliveryGround, stores: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was granted the test has it for its time, then another one may."""
    monkeypatch.setattr(breaker, "TEST_SECONDS", 4.0)
    one, other = (breaker.Breakers(store, lambda *_: None) for store in stores)
    keys = [await deliveries.subscribe(f"http://{n}/") for n in range(3)]
    granted = await asyncio.gather(one.may_test(keys), other.may_test(keys))
    assert granted[0] | granted[1] == set(keys)
    assert not granted[0] & granted[1]
    taken: set[UUID] = set()
    async with asyncio.timeout(20):
        while taken != set(keys):
            taken |= await other.may_test(keys)


@pytest.mark.parametrize("refused", [False, True], ids=["away", "refused"])
async def test_without_valkey_each_goes_by_what_it_saw(
    deliveries: DeliveryGround, stores: list[Watched], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it: breaks, and tests after them, go on."""
    monkeypatch.setattr(endpoint, "BREAK_SECONDS", 0.3)
    stores[0].away, stores[0].refused = True, refused
    dead = Dead()
    key = await deliveries.subscribe("http://dead/")
    await deliveries.queue(key, BREAK_AFTER + 3)
    worker = deliveries.worker(dead.of(0), stores[0])
    async with working(worker):
        await broken(worker, key)
        dead.well = True
        async with asyncio.timeout(10):
            while dead.sent[0] < BREAK_AFTER + 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert not worker._endpoints[key].failures
