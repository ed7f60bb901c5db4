"""Claims work for free slots: woken by messages and by freed slots, never by a clock (decisions 10, 12b, 17).

Responsible for choosing which queues to ask, for how many jobs, on which nodes, and for handing what came back to
`relay.running`. Slots are reserved before the ledger is asked and given back when it had less. Refuses to claim while
it is stopped, without a session, or while too much waits to be settled.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from relay import metric
from relay.fleet import Fleet, Node, Territory
from relay.hotset import HotSet, Queue
from relay.running import Running
from storage.secrets import EnvironmentKeys
from waypost.ids import NIL
from waypost.job.model import Ask, Claimed
from waypost.secret.model import DataKey

MAX_CLAIM = 500  # jobs a claim: about 64 KiB each at worst, so a claim stays below 32 MiB
LEAST_SHARE = 32  # of one queue when many may hold work: they share a claim, so that a deep one starves nobody
MAX_UNSETTLED = 5_000
BACKOFF_SECONDS = 0.25

_log = structlog.get_logger("relay.claiming")


class ClaimingLedger(Protocol):
    """What is used of the ledger."""

    async def claim(self, session: int, asks: Sequence[Ask]) -> list[Claimed]: ...


class Reserved:
    """One queue's part of a claim."""

    __slots__ = ("nodes", "queue", "territory")

    def __init__(self, territory: Territory, queue: Queue, nodes: list[Node]) -> None:
        self.territory, self.queue, self.nodes = territory, queue, nodes


class Claimer:
    """`session` is set by the session keeper; None = claim nothing. `suspicious_at`: when a claim's answer was lost."""

    def __init__(
        self, fleet: Fleet, hot: HotSet, ledger: ClaimingLedger, running: Running, keys: EnvironmentKeys
    ) -> None:
        self._fleet, self._hot, self._ledger, self._running, self._keys = fleet, hot, ledger, running, keys
        self._work = asyncio.Event()
        self._data_keys: dict[UUID, DataKey] = {}
        self._turn = 0
        self.session: int | None = None
        self.stopped = False
        self.suspicious_at: float | None = None

    def wake(self, environment_id: UUID, queues: Sequence[Queue]) -> None:
        self._hot.wake(environment_id, queues)
        self._work.set()

    def nudge(self) -> None:
        """A slot came free, or something else that could let a claim find work."""
        if self._hot.environments():
            self._work.set()

    def forget_key(self, environment_id: UUID) -> None:
        self._data_keys.pop(environment_id, None)
        self._keys.forget(environment_id)

    async def run(self) -> None:
        """Claim for ever. What a claim brought is on its way to the nodes before the next claim is planned."""
        while True:
            await self._work.wait()
            self._work.clear()
            while not self.stopped and self.session is not None and (plan := self._plan()):
                await self._claim(self.session, plan)

    def _plan(self) -> list[Reserved]:
        """Reserve slots for the queues that may hold work: environments in turn, urgent ranks first, routes in turn."""
        if self._running.unsettled > MAX_UNSETTLED:
            return []
        self._turn += 1
        environments = [e for e in self._hot.environments() if e in self._fleet.territories]
        if not environments:
            return []
        share = max(16, MAX_CLAIM // len(environments))
        fair = MAX_CLAIM // self._hot.count()
        start, room, plan = self._turn % len(environments), MAX_CLAIM, []
        for environment_id in environments[start:] + environments[:start]:
            reserved = self._plan_environment(self._fleet.territories[environment_id], min(share, room), fair)
            room -= sum(len(part.nodes) for part in reserved)
            plan += reserved
            if room <= 0:
                break
        return plan

    def _plan_environment(self, territory: Territory, room: int, fair: int) -> list[Reserved]:
        plan: list[Reserved] = []
        for rank, *routes in self._hot.queues(territory.environment_id):
            routes = [route for route in routes if territory.claimable(route)]
            start = self._turn % len(routes) if routes else 0
            share = max(LEAST_SHARE, MAX_CLAIM // max(1, len(routes)))
            for route in routes[start:] + routes[:start]:
                nodes = list(territory.reserve(route, min(room, share, self._hot.ask((route, rank), fair))))
                if nodes:
                    plan.append(Reserved(territory, (route, rank), nodes))
                    room -= len(nodes)
                if room <= 0:
                    return plan
        return plan

    async def _claim(self, session: int, plan: list[Reserved]) -> None:
        stamp, began = self._hot.stamp, time.perf_counter()
        asks = [
            Ask(part.queue[0], part.queue[1], self._hot.low(part.queue), tuple(node.id for node in part.nodes))
            for part in plan
        ]
        claimed: list[Claimed] = []
        try:
            for part in plan:
                await self._load_key(part.territory.environment_id)
            claimed = await self._ledger.claim(session, asks)
        except Exception as error:  # noqa: BLE001 - a full disk, a lock, a restart: claiming goes on when it is over
            # The claim may have been committed without us knowing: the watch compares the leases with what runs here.
            self.suspicious_at = time.monotonic()
            _log.warning("claim.failed", error=str(error))
            self._give_back(plan, claimed)
            self._work.set()
            await asyncio.sleep(BACKOFF_SECONDS)
            return
        metric.CLAIMS.inc()
        metric.CLAIMED.inc(len(claimed))
        metric.CLAIM_SECONDS.observe(time.perf_counter() - began)
        self._give_back(plan, claimed)
        self._learn(plan, claimed, stamp)
        self._running.start(claimed, self._data_keys)

    async def _load_key(self, environment_id: UUID) -> None:
        if environment_id not in self._data_keys:
            self._data_keys[environment_id] = await self._keys.data_key(environment_id)

    async def load_keys(self, environments: Iterable[UUID]) -> Mapping[UUID, DataKey]:
        """The data keys of all environments that work is claimed for, these among them."""
        for environment_id in environments:
            await self._load_key(environment_id)
        return self._data_keys

    def _give_back(self, plan: list[Reserved], claimed: list[Claimed]) -> None:
        """Free the slots for which no job came. The jobs of a queue go to its first nodes."""
        came: dict[Queue, int] = {}
        for job in claimed:
            came[job.route, job.rank] = came.get((job.route, job.rank), 0) + 1
        for part in plan:
            function = part.territory.routes[part.queue[0]].function
            for node in part.nodes[came.get(part.queue, 0) :]:
                self._fleet.release(node, function)

    def _learn(self, plan: list[Reserved], claimed: list[Claimed], stamp: int) -> None:
        """Take short queues out of the hot set and move the low marks."""
        last: dict[Queue, tuple[int, UUID]] = {}
        for job in claimed:
            count, key = last.get((job.route, job.rank), (0, job.key))
            last[job.route, job.rank] = (count + 1, max(key, job.key))
        for part in plan:
            count, key = last.get(part.queue, (0, NIL))
            self._hot.gave(part.queue, len(part.nodes), count)
            if count:
                self._hot.claimed(part.queue, key)
            if count < len(part.nodes):
                self._hot.cool(part.territory.environment_id, part.queue, stamp)
