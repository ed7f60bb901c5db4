"""For how many jobs a relay asks: for about as many as there are, so that one job costs what one job costs."""

import asyncio
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from relay.claiming import MAX_CLAIM, Claimer
from relay.hotset import FIRST_ASK, HotSet
from waypost.ids import new_id
from waypost.job.model import Ask, Claimed

QUEUE = (7, 4)
SLOTS = 2_000


class Ledger:
    """So many jobs in one queue; `asked` is for how many each claim asked."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.asked: list[int] = []

    async def claim(self, _session: int, asks: Sequence[Ask]) -> list[Claimed]:
        (ask,) = asks
        self.asked.append(len(ask.nodes))
        count = min(self.waiting, len(ask.nodes))
        self.waiting -= count
        return [
            Claimed(new_id(), uuid4(), *QUEUE, new_id(), 1, 1, node, None, None, None, None)
            for node in ask.nodes[:count]
        ]


class Territory:
    """Serves the queue's route with more slots than anybody asks for."""

    def __init__(self) -> None:
        self.environment_id = uuid4()
        self.routes = {QUEUE[0]: SimpleNamespace(function="f")}

    def claimable(self, _route: int) -> bool:
        return True

    def reserve(self, _route: int, most: int) -> Iterator[Any]:
        return (SimpleNamespace(id=uuid4()) for _ in range(min(most, SLOTS)))


async def claims_of(waiting: int, hot: HotSet) -> list[int]:
    """For how many jobs the claims ask that follow one wake, until nothing waits."""
    territory, ledger = Territory(), Ledger(waiting)

    async def data_key(_environment: UUID) -> object:
        return object()

    fleet: Any = SimpleNamespace(territories={territory.environment_id: territory}, release=lambda *_: None)
    running: Any = SimpleNamespace(unsettled=0, start=lambda *_: None)
    claimer = Claimer(fleet, hot, ledger, running, SimpleNamespace(data_key=data_key))  # type: ignore[arg-type]
    claimer.session = 1
    task = asyncio.create_task(claimer.run())
    claimer.wake(territory.environment_id, [QUEUE])
    async with asyncio.timeout(10):
        while hot.environments():  # noqa: ASYNC110 - the claimer tells nobody
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ledger.waiting == 0
    return ledger.asked


async def test_one_job_is_asked_for_with_little() -> None:
    """However many slots are free; and one claim is enough."""
    hot = HotSet()
    assert await claims_of(1, hot) == [FIRST_ASK]
    assert await claims_of(1, hot) == [FIRST_ASK]


async def test_a_deep_queue_is_soon_asked_for_all_that_a_claim_may_take() -> None:
    """Each claim that finds all it asked for asks for more; afterwards for what there was."""
    hot = HotSet()
    asked = await claims_of(5_000, hot)
    assert asked[:4] == [8, 32, 128, MAX_CLAIM]
    assert set(asked[4:]) == {MAX_CLAIM}
    left = 5_000 - sum(asked[:-1])
    assert hot.ask(QUEUE, MAX_CLAIM) == 2 * left
    assert await claims_of(1, hot) == [min(2 * left, MAX_CLAIM)]
    assert await claims_of(1, hot) == [FIRST_ASK]


def test_a_claim_with_few_free_slots_does_not_make_it_ask_for_less() -> None:
    """It found all that it could take: how many more there are is not known."""
    hot = HotSet()
    hot.gave(QUEUE, 128, 128)
    hot.gave(QUEUE, 1, 1)
    assert hot.ask(QUEUE, MAX_CLAIM) == 512
    hot.gave(QUEUE, 500, 30)
    assert hot.ask(QUEUE, MAX_CLAIM) == 60
    hot.gave(QUEUE, 60, 0)
    assert hot.ask(QUEUE, MAX_CLAIM) == FIRST_ASK


def test_where_many_queues_share_a_claim_each_is_asked_for_little() -> None:
    """Except those that are known to be deep: else a claim is full after sixty routes, and uses few of its slots."""
    hot, crowd = HotSet(), [(route, 5) for route in range(200)]
    hot.wake(uuid4(), crowd[:100])
    hot.wake(uuid4(), crowd[100:])
    assert hot.count() == 200
    fair = MAX_CLAIM // hot.count()
    hot.gave(crowd[0], 8, 1)
    hot.gave(crowd[1], 8, 8)
    assert [hot.ask(queue, fair) for queue in crowd[:3]] == [2, 32, 2]
    assert hot.ask(crowd[2], 4) == 4


def test_what_is_known_of_an_environment_goes_with_it() -> None:
    hot, environment_id = HotSet(), uuid4()
    hot.wake(environment_id, [QUEUE])
    hot.gave(QUEUE, 8, 8)
    hot.forget(environment_id)
    assert hot.ask(QUEUE, MAX_CLAIM) == FIRST_ASK


def test_a_wake_for_nothing_leaves_nothing() -> None:
    """Of routes that no node here serves: an environment without queues would take part of each claim for ever."""
    hot = HotSet()
    hot.wake(uuid4(), [])
    assert (hot.environments(), hot.count()) == ([], 0)
