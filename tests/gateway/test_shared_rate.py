"""Rates that all gateways share: leases instead of round trips, exact where they are small, and never an error."""

import asyncio
import time
from typing import Any

import pytest

from gateway.limit import Policy, SharedRate
from storage.valkey.client import Valkey
from tests.gateway.conftest import within_a_second
from waypost.errors import unavailable
from waypost.ids import new_id


class Counting:
    """Valkey, counting how often it is asked; `away` breaks it."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey, self.asked, self.away = valkey, 0, False

    @property
    def connected(self) -> bool:
        return self._valkey.connected

    async def execute(self, *arguments: str | bytes, timeout_seconds: float) -> Any:
        self.asked += 1
        if self.away:
            raise unavailable("Valkey")
        return await self._valkey.execute(*arguments, timeout_seconds=timeout_seconds)


@pytest.fixture(scope="session")
async def valkey(platform: Any) -> Any:
    """As the gateway's user: what its rules forbid would show."""
    opened = await Valkey.open(platform.valkey_url("gateway"))
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of Valkey is waited for, however busy the machine is: one that comes late would count as none."""
    monkeypatch.setattr("gateway.limit.ASK_SECONDS", 10)


async def fresh() -> int:
    """A bucket that nobody has taken from."""
    return new_id().int


async def test_a_small_rate_is_exact_over_several_gateways(valkey: Valkey) -> None:
    """Burst and not one more, however many gateways ask at once."""
    policy, key = Policy("test", 1, 30), new_id().int
    gateways, began = [SharedRate(Counting(valkey)) for _ in range(3)], time.monotonic()
    taken = await asyncio.gather(*(gateways[n % 3].take(policy, key) for n in range(90)))
    assert 30 <= sum(left >= 0 for left in taken) <= 30 + (time.monotonic() - began)


async def test_a_large_rate_costs_few_round_trips(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of requests, a lease of a twentieth of a second's worth each time."""
    monkeypatch.setattr("gateway.limit.HELD_SECONDS", 60)  # nothing is thrown away, however long this takes
    store = Counting(valkey)
    rate, policy, key = SharedRate(store), Policy("test", 100_000, 200_000), new_id().int
    lefts = [await rate.take(policy, key) for _ in range(9_000)]
    assert min(lefts) > 0
    assert store.asked <= 6
    assert rate.try_take(policy, key) > 0  # without waiting for anything


async def test_what_is_left_is_told_across_gateways(valkey: Valkey) -> None:
    """The headers of one gateway know what another one took."""
    policy = Policy("test", 1, 10)
    one, other = SharedRate(Counting(valkey)), SharedRate(Counting(valkey))

    async def take(key: int) -> list[int]:
        return [await rate.take(policy, key) for rate in (one, other, one)]

    assert await within_a_second(fresh, take) == [9, 8, 7]


async def test_who_is_refused_asks_nobody_until_there_may_be_a_token(valkey: Valkey) -> None:
    """A flood of refused requests is no load for Valkey."""
    store = Counting(valkey)
    rate, policy = SharedRate(store), Policy("test", 1, 2)

    async def take(key: int) -> tuple[list[int], set[int], int, float]:
        lefts = [await rate.take(policy, key) for _ in range(3)]
        asked = store.asked
        refused = {await rate.take(policy, key) for _ in range(100)}
        return lefts, refused, store.asked - asked, rate.wait_seconds(policy, key)

    lefts, refused, asked, wait = await within_a_second(fresh, take)
    assert (lefts, refused, asked) == ([1, 0, -1], {-1}, 0)
    assert 0 < wait <= 1


async def test_more_than_the_burst_is_taken_from_a_full_bucket_which_then_owes_it(valkey: Valkey) -> None:
    """A bulk of 50 at a burst of 20: taken once, and the next waits for the whole debt."""
    rate, policy = SharedRate(Counting(valkey)), Policy("test", 10, 20)

    async def take(key: int) -> tuple[int, int, float, float]:
        began = time.monotonic()
        lefts = await rate.take(policy, key, 50), await rate.take(policy, key, 1)
        return *lefts, rate.wait_seconds(policy, key), time.monotonic() - began

    taken, refused, wait, taken_seconds = await within_a_second(fresh, take)
    assert taken >= 0
    assert refused == -1
    assert 3 - taken_seconds < wait <= 3.1


async def test_without_valkey_a_gateway_counts_for_itself(valkey: Valkey) -> None:
    """Nobody is refused because Valkey is away, and the rate still holds."""
    store = Counting(valkey)
    rate, policy, key = SharedRate(store), Policy("test", 1, 5), new_id().int
    store.away = True
    assert [await rate.take(policy, key) for _ in range(6)] == [4, 3, 2, 1, 0, -1]
    assert store.asked == 1  # and then it is left alone for a while
    never = SharedRate(Counting(await _unreachable()))
    assert [await never.take(policy, key) for _ in range(6)] == [4, 3, 2, 1, 0, -1]


async def _unreachable() -> Valkey:
    from storage.valkey.address import parse_address

    return Valkey(parse_address("valkey://127.0.0.1:1"))
