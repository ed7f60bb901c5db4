"""Keeps control.node in step with the fleet, about once a second and in batches: what people see of nodes.

A node that does nothing costs a row update a minute. Without a database the changes wait; the newest state wins.
"""

import asyncio
import time

import msgspec
import structlog

from relay import metric
from relay.fleet import Fleet, Node
from storage.postgres.database import Database
from storage.postgres.fleet import registry

FLUSH_SECONDS = 1.0
FRESH_SECONDS = 0.05  # a join or a leave is seen this soon
SEEN_SECONDS = 60.0  # how stale `last_seen_at` of an idle node may be

_log = structlog.get_logger("relay.registrar")


class Registrar:
    """`session` as of the lease; None = nothing can be written now."""

    def __init__(self, fleet: Fleet, database: Database) -> None:
        self._fleet, self._database = fleet, database
        self._joined: dict[Node, None] = {}
        self._left: dict[Node, str] = {}
        self._news = asyncio.Event()
        self.session: int | None = None

    def joined(self, node: Node) -> None:
        self._joined[node] = None
        self._news.set()

    def left(self, node: Node, reason: str) -> None:
        self._left[node] = reason[:200]
        self._news.set()

    def resume(self, session: int) -> None:
        """A new session: every connected node is written again, as its own."""
        self.session = session
        self._joined.update(dict.fromkeys(self._fleet.nodes.values()))
        self._news.set()

    async def run(self) -> None:
        """Flush for ever: soon after a join or leave, else every second."""
        reported = 0.0
        while True:
            try:
                await asyncio.wait_for(self._news.wait(), FLUSH_SECONDS)
                self._news.clear()
                await asyncio.sleep(FRESH_SECONDS)
            except TimeoutError:
                pass
            due = time.monotonic() - reported >= FLUSH_SECONDS
            reported = time.monotonic() if due else reported
            try:
                await self.flush(changes=due)
            except Exception as error:  # noqa: BLE001 - whatever the database says, it is told again
                _log.warning("registry.delayed", error=str(error))

    async def flush(self, *, changes: bool = True) -> None:
        """Write joins, then changes, then leaves: a node that came and went is a row that is disconnected."""
        session = self.session
        if session is None:
            return
        joined, self._joined = self._joined, {}
        left, self._left = self._left, {}
        try:
            await registry.join(self._database, session, [_row(node) for node in joined])
            if changes:
                await self._report(session)
            await registry.leave(
                self._database,
                [registry.Departure(node.id, reason, node.completed, node.failed) for node, reason in left.items()],
            )
        except Exception:
            self._joined, self._left = joined | self._joined, left | self._left
            raise

    async def _report(self, session: int) -> None:
        now = time.monotonic()
        nodes = [node for node in self._fleet.nodes.values() if node.dirty or now - node.reported_at > SEEN_SECONDS]
        metric.NODES.set(len(self._fleet.nodes))
        for node in nodes:
            node.dirty, node.reported_at = False, now
        try:
            await registry.report(self._database, session, [_report(node, now) for node in nodes])
        except Exception:
            for node in nodes:
                node.dirty = True
            raise


def _row(node: Node) -> registry.NodeRow:
    return registry.NodeRow(
        id=node.id,
        environment_id=node.environment_id,
        credential_id=node.credential_id,
        name=node.name,
        tags=msgspec.json.encode(node.tags).decode(),
        functions=node.declared,
        sdk=node.sdk,
        version=node.version,
        max_in_flight=node.max_in_flight,
        in_flight=node.in_flight,
        completed=node.completed,
        failed=node.failed,
    )


def _report(node: Node, now: float) -> registry.NodeReport:
    return registry.NodeReport(
        node.id, node.in_flight, node.completed, node.failed, node.round_trip_ms, node.draining, now - node.heard_at
    )
