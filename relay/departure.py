"""How nodes leave: drained by somebody, told by themselves, or because the relay stops (compute-node contract §3.7).

A draining node gets nothing new, finishes what it has, and its stream ends with UNAVAILABLE: an OK end makes existing
clients stop for good or come back without a pause. A relay that stops does not tell its nodes to leave, only ends their
streams when their work is done: they are wanted elsewhere.
"""

import asyncio
import time

import grpc
import structlog

from relay import metric
from relay.fleet import Fleet, Node

LEAVE_SECONDS = 5.0  # how long an idle draining node may take to leave by itself
POLL_SECONDS = 0.1

_log = structlog.get_logger("relay.departure")


class Departures:
    """Draining nodes, until they are gone."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._idle_since: dict[Node, float | None] = {}
        self._hasty: set[Node] = set()

    def drain(self, node: Node, reason: str, *, tell: bool = True, linger: bool = True) -> None:
        """No new work for this node; `tell` it to leave unless it said so itself. Again: changes nothing.

        Without `linger` its stream ends when its work is done, without waiting for it to leave by itself.
        """
        if not linger:
            self._hasty.add(node)
        if node in self._idle_since:
            return
        self._idle_since[node] = None
        self._fleet.close_for_work(node)
        node.draining = node.dirty = True
        _log.info("node.draining", node=str(node.id), name=node.name, reason=reason, in_flight=node.in_flight)
        if tell and node.frames:
            node.stream.outbox.drain(reason)
        if not node.frames:
            self._end(node)

    def forget(self, node: Node) -> None:
        self._idle_since.pop(node, None)
        self._hasty.discard(node)

    def tick(self) -> None:
        """End the streams of nodes that have nothing left and do not leave."""
        now = time.monotonic()
        for node, since in tuple(self._idle_since.items()):
            if node.attempts:
                self._idle_since[node] = None
            elif node in self._hasty:
                self._end(node)
            elif since is None:
                self._idle_since[node] = now
            elif now - since > LEAVE_SECONDS:
                self._end(node)

    async def stop_all(self, limit_seconds: float) -> None:
        """The relay stops: no new work for anybody, each stream ends when its work is done or the time is up."""
        until = time.monotonic() + limit_seconds
        for node in tuple(self._fleet.nodes.values()):
            self._fleet.close_for_work(node)
        while (busy := [node for node in self._fleet.nodes.values() if node.attempts]) and time.monotonic() < until:
            for node in tuple(self._fleet.nodes.values()):
                if not node.attempts:
                    self._end(node)
            await asyncio.sleep(POLL_SECONDS)
        if busy:
            _log.warning("drain.incomplete", nodes=len(busy), attempts=sum(len(node.attempts) for node in busy))

    def end_all(self) -> None:
        for node in tuple(self._fleet.nodes.values()):
            self._end(node)

    @staticmethod
    def _end(node: Node) -> None:
        metric.CLOSED.labels("draining").inc()
        node.stream.close(grpc.StatusCode.UNAVAILABLE, "draining", flush=True)
