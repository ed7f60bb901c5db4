"""Learns of work and orders: by messages at once, and by looking every few seconds because messages can be lost.

One channel an environment, subscribed while a node of it is here. Nothing is decided here: wakes go to the claimer,
cancels to the running attempts, drains to the departures.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import grpc
import structlog

from jobs import wake
from relay import metric
from relay.claiming import Claimer
from relay.departure import Departures
from relay.fleet import Fleet, Node, Territory
from relay.hotset import HotSet, Queue
from relay.running import Running
from storage.postgres.database import Database
from storage.postgres.fleet import watch
from storage.valkey.client import Subscription, Valkey

WATCH_SECONDS = 5.0
SETTLED_DOWN_SECONDS = 6.0  # what a lost claim leased is older than this when it is looked for
ROUTE_OVERLAP = 1_000  # route ids may commit out of order; this many are read again
CHANNEL_PREFIX = "wp:env:"

_log = structlog.get_logger("relay.watcher")


class WaitingLedger(Protocol):
    """What is used of the ledger."""

    async def waiting_routes(self, routes: Sequence[int]) -> list[Queue]: ...


class Watcher:
    """`slow_poll_seconds` is how often queues are looked at without being woken."""

    def __init__(
        self,
        fleet: Fleet,
        hot: HotSet,
        claimer: Claimer,
        running: Running,
        departures: Departures,
        ledger: WaitingLedger,
        database: Database,
        valkey: Valkey,
        slow_poll_seconds: float,
    ) -> None:
        self._fleet, self._hot, self._claimer, self._running, self._departures = (
            fleet,
            hot,
            claimer,
            running,
            departures,
        )
        self._ledger, self._database, self._valkey = ledger, database, valkey
        self._slow_poll_seconds = slow_poll_seconds
        self._subscription: Subscription | None = None
        self._look_now = asyncio.Event()
        self._learning: dict[UUID, set[Queue]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.session: int | None = None

    async def open(self) -> None:
        self._subscription = await self._valkey.subscribe([], self._on_message, self._on_reconnect)

    # --- environments come and go with their nodes

    async def enter(self, territory: Territory) -> None:
        """A first node of an environment is here: listen, then read what was said before. Once a territory."""
        async with territory.entering:
            if territory.entered:
                return
            if self._subscription is not None:
                await self._subscription.add([wake.environment_channel(territory.environment_id)])
            territory.paused = await watch.pauses(self._database, territory.environment_id)
            territory.learn(await watch.routes(self._database, [territory.environment_id]))
            territory.entered = True

    def leave(self, environment_id: UUID) -> None:
        if self._subscription is not None:
            self._subscription.remove([wake.environment_channel(environment_id)])
        self._hot.forget(environment_id)
        self._claimer.forget_key(environment_id)

    def look_for_work(self, environment_id: UUID, routes: Sequence[int]) -> None:
        """Nodes can take these routes now and could not before: what waits there has woken nobody."""
        if routes:
            self._spawn(self._poll(environment_id, routes))

    def wake_up(self, environment_id: UUID, queues: Sequence[Queue], *, rewind: bool = False) -> None:
        """Work came into these queues; `rewind` when it may stand before what was claimed last."""
        territory = self._fleet.territories.get(environment_id)
        if territory is not None:
            self._woken(territory, queues, rewind=rewind)

    # --- messages

    def _on_message(self, channel: str, payload: bytes) -> None:
        environment_id = UUID(hex=channel.removeprefix(CHANNEL_PREFIX))
        territory = self._fleet.territories.get(environment_id)
        message = wake.decode_environment(payload)
        if territory is None or message is None:
            return
        match message:
            case wake.Wake():
                self._woken(territory, message.routes)
            case wake.Rewind():
                self._woken(territory, message.routes, rewind=True)
            case wake.CancelJob():
                self._running.cancel(message.job_id)
            case wake.DrainNode():
                self._drain(message.node_id)
            case wake.RevokeCredential():
                self._revoke(message.credential_id)
            case wake.FunctionChanged() | wake.EnvironmentClosed():
                self._look_now.set()

    def _woken(self, territory: Territory, queues: Sequence[Queue], *, rewind: bool = False) -> None:
        if rewind:
            self._hot.reset_low(queues)
        known = [queue for queue in queues if queue[0] in territory.routes]
        if known:
            self._claimer.wake(territory.environment_id, [queue for queue in known if queue[0] in territory.served])
        if len(known) < len(queues):
            unknown = set(queues).difference(known)
            if territory.environment_id in self._learning:
                self._learning[territory.environment_id] |= unknown
            else:
                self._learning[territory.environment_id] = unknown
                self._spawn(self._learn(territory))

    async def _learn(self, territory: Territory) -> None:
        """New routes: read them, then wake those that nodes here satisfy."""
        try:
            routes = await watch.routes(self._database, [territory.environment_id])
        finally:
            queues = self._learning.pop(territory.environment_id)
        territory.learn(routes)
        self._claimer.wake(territory.environment_id, [queue for queue in queues if queue[0] in territory.served])

    def _on_reconnect(self) -> None:
        """Messages may have been missed: of new routes too."""
        self._look_now.set()
        for territory in self._fleet.territories.values():
            self._spawn(self._catch_up(territory))

    async def _catch_up(self, territory: Territory) -> None:
        territory.learn(await watch.routes(self._database, [territory.environment_id]))
        await self._poll(territory.environment_id, list(territory.served))

    # --- looking

    async def run_slow_poll(self) -> None:
        """Every few seconds: new routes, and queues that hold work though nobody woke us. The low marks are
        forgotten.
        """
        newest = 0
        while True:
            await asyncio.sleep(self._slow_poll_seconds)
            try:
                newest = await self._learn_newer(newest)
                for territory in tuple(self._fleet.territories.values()):
                    await self._poll(territory.environment_id, list(territory.served))
            except Exception as error:  # noqa: BLE001 - whatever the database says, it is asked again
                _log.warning("poll.failed", error=str(error))

    async def _learn_newer(self, newest: int) -> int:
        territories = dict(self._fleet.territories)
        if not territories:
            return newest
        routes = await watch.routes(self._database, list(territories), max(0, newest - ROUTE_OVERLAP))
        for territory in territories.values():
            territory.learn(route for route in routes if route.environment_id == territory.environment_id)
        return max((route.id for route in routes), default=newest)

    async def _poll(self, environment_id: UUID, routes: Sequence[int]) -> None:
        if not routes:
            return
        queues = await self._ledger.waiting_routes(routes)
        self._hot.reset_low(queues)
        if queues:
            self._claimer.wake(environment_id, queues)

    async def run_watch(self) -> None:
        """Every few seconds, and when told to: everything that stands against what this relay does."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), WATCH_SECONDS)
            self._look_now.clear()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - as above
                _log.warning("watch.failed", error=str(error))

    async def look(self) -> None:
        """One look at cancels, drains, revocations, statuses and pauses."""
        session, environments = self.session, list(self._fleet.territories)
        if session is None:
            return
        await self._reclaim(session)
        credentials = {node.credential_id for node in self._fleet.nodes.values()}
        orders = await watch.orders(self._database, session, environments, list(credentials))
        for job_id in orders.cancels:
            self._running.cancel(job_id)
        for node_id in orders.drains:
            self._drain(node_id)
        for credential_id in orders.revoked:
            self._revoke(credential_id, sparing=orders.statuses)
        for environment_id in environments:
            self._apply(environment_id, orders.statuses.get(environment_id, "deleted"), orders.paused[environment_id])

    async def _reclaim(self, session: int) -> None:
        """A claim's answer was lost a while ago: compare what the ledger says we hold with what runs here."""
        lost_at = self._claimer.suspicious_at
        if lost_at is None or time.monotonic() - lost_at < SETTLED_DOWN_SECONDS:
            return
        held = await watch.held(self._database, session)
        keys = await self._claimer.load_keys({lease.environment_id for lease in held})
        self._running.reclaim(held, session, keys)
        if self._claimer.suspicious_at == lost_at:
            self._claimer.suspicious_at = None

    def _apply(self, environment_id: UUID, status: str, paused: frozenset[str]) -> None:
        territory = self._fleet.territories.get(environment_id)
        if territory is None:
            return
        if status in ("deleting", "deleted"):
            territory.open = False
            for node in tuple(territory.nodes.values()):
                self._dismiss(node, now=status == "deleted")
            return
        resumed = bool(territory.paused - paused) or (not territory.open and status == "ready")
        territory.paused, territory.open = paused, status == "ready"
        if resumed:
            self.look_for_work(environment_id, list(territory.served))

    def _drain(self, node_id: UUID) -> None:
        node = self._fleet.nodes.get(node_id)
        if node is not None:
            self._departures.drain(node, "drained by an operator")

    def _dismiss(self, node: Node, *, now: bool) -> None:
        """Its environment goes: an idle node's stream is cut, a busy one may finish until the environment is gone."""
        if now or not node.attempts:
            self._cut(node, "environment_closed")
        else:
            self._departures.drain(node, "the environment is being deleted", linger=False)

    def _revoke(self, credential_id: UUID, sparing: Mapping[UUID, str] = MappingProxyType({})) -> None:
        """Cut its streams; those of an environment that is being deleted (by `sparing`) are dismissed instead."""
        for node in tuple(self._fleet.nodes.values()):
            if node.credential_id == credential_id and sparing.get(node.environment_id) != "deleting":
                self._cut(node, "credential_revoked")

    @staticmethod
    def _cut(node: Node, reason: str) -> None:
        """As for a token that is no longer good: the client fetches another one, and is refused there."""
        metric.CLOSED.labels(reason).inc()
        node.stream.close(grpc.StatusCode.UNAUTHENTICATED, "authentication failed")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _guarded(work: Awaitable[None]) -> None:
    """What fails here is found again by the slow poll."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - as above
        _log.warning("watch.failed", error=str(error))
