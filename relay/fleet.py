"""The nodes of this relay and their free slots (decisions 10, 12b).

Free slots are indexed by class (nodes of one environment with the same tags and functions) and, inside a class, by how
many a node has free, so that the node with the most is found without looking at the others. Everything is in memory and
of this relay alone. Nothing here waits or talks to anybody.
"""

import asyncio
import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from waypost.route.decision import compile_selectors
from waypost.route.model import Route

if TYPE_CHECKING:
    from relay.attempt import Attempt
    from relay.stream import Stream

ClassKey = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, int], ...]]


class Node:
    """One connected compute node: what it declared, what it holds, how it does."""

    __slots__ = (
        "attempts", "busy", "completed", "credential_id", "declared", "dirty", "draining", "environment_id", "failed",
        "frames", "functions", "heard_at", "home", "id", "in_flight", "max_in_flight", "name", "probe_at", "probe_id",
        "reported_at", "round_trip_ms", "sdk", "stream", "tags", "tenant", "version",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: UUID,  # noqa: A002 - the noun's own word
        environment_id: UUID,
        credential_id: UUID,
        name: str,
        tags: dict[str, str],
        functions: dict[str, int],
        max_in_flight: int,
        stream: "Stream",
        frames: bool = True,
        declared: str = "[]",
        sdk: str | None = None,
        version: str | None = None,
        tenant: str = "",
    ) -> None:
        self.id, self.environment_id, self.credential_id, self.name = id, environment_id, credential_id, name
        self.tags, self.functions, self.max_in_flight, self.frames = tags, functions, max_in_flight, frames
        self.declared, self.sdk, self.version, self.stream, self.tenant = declared, sdk, version, stream, tenant
        self.in_flight = 0
        self.busy: dict[str, int] = {}
        self.attempts: dict[int, Attempt] = {}
        self.home: NodeClass | None = None  # None: not routable
        self.draining = False
        self.completed = self.failed = 0
        self.round_trip_ms: float | None = None
        self.heard_at = self.reported_at = self.probe_at = 0.0  # monotonic
        self.probe_id = ""
        self.dirty = False

    @property
    def key(self) -> ClassKey:
        return tuple(sorted(self.tags.items())), tuple(sorted(self.functions.items()))


class NodeClass:
    """Routable nodes with the same tags and functions. `top` is the most slots that one of them has free."""

    __slots__ = ("buckets", "function_free", "functions", "nodes", "tags", "top")

    def __init__(self, tags: dict[str, str], functions: dict[str, int]) -> None:
        self.tags, self.functions = tags, functions
        self.nodes: set[Node] = set()
        self.buckets: dict[int, dict[Node, None]] = {}
        self.top = 0
        self.function_free = dict.fromkeys(functions, 0)

    def enter(self, node: Node) -> None:
        self.nodes.add(node)
        self._place(node)
        for function, most in self.functions.items():
            self.function_free[function] += most - node.busy.get(function, 0)

    def leave(self, node: Node) -> None:
        self.nodes.discard(node)
        self._unplace(node, node.max_in_flight - node.in_flight)
        for function, most in self.functions.items():
            self.function_free[function] -= most - node.busy.get(function, 0)

    def take(self, function: str) -> Node | None:
        """Reserve a slot on the node with the most free ones that may still run `function`; the longest idle of
        equals.
        """
        if self.function_free[function] <= 0:
            return None
        limit = self.functions[function]
        for free in range(self.top, 0, -1):
            for node in self.buckets.get(free, ()):
                if node.busy.get(function, 0) < limit:
                    self.change(node, function, 1)
                    return node
        return None

    def change(self, node: Node, function: str, by: int) -> None:
        """Count `by` more slots of `node` as in use (-1: one fewer)."""
        before = node.max_in_flight - node.in_flight
        _occupy(node, function, by)
        if function in self.function_free:
            self.function_free[function] -= by
        self._place(node)
        self._unplace(node, before)

    def _place(self, node: Node) -> None:
        free = node.max_in_flight - node.in_flight
        self.buckets.setdefault(free, {})[node] = None
        self.top = max(self.top, free)

    def _unplace(self, node: Node, free: int) -> None:
        """Take the node out of that bucket.

        After `_place`, so that the new top is one step below: the walk from there to 0 was a third of a relay's time
        with one node of 256 slots.
        """
        bucket = self.buckets[free]
        del bucket[node]
        if not bucket:
            del self.buckets[free]
            while self.top > 0 and self.top not in self.buckets:
                self.top -= 1


def _occupy(node: Node, function: str, by: int) -> None:
    node.in_flight += by
    node.busy[function] = node.busy.get(function, 0) + by
    node.dirty = True


class Territory:
    """One environment as this relay sees it: its nodes, the classes that can take work, its routes, its pauses."""

    def __init__(self, environment_id: UUID) -> None:
        self.environment_id = environment_id
        self.nodes: dict[UUID, Node] = {}
        self.classes: dict[ClassKey, NodeClass] = {}
        self.routes: dict[int, Route] = {}
        self.served: dict[int, list[NodeClass]] = {}  # route → classes that satisfy it; no entry when none does
        self.paused: frozenset[str] = frozenset()
        self.open = True  # False: suspended or going away, nothing is claimed
        self.entered = False  # routes and pauses have been read, and messages are heard
        self.entering = asyncio.Lock()

    def learn(self, routes: Iterable[Route]) -> list[int]:
        """Add routes not known yet; answers those of them that a class here serves."""
        fresh = [route for route in routes if route.id not in self.routes]
        for route in fresh:
            self.routes[route.id] = route
            classes = [group for group in self.classes.values() if satisfies(group, route)]
            if classes:
                self.served[route.id] = classes
        return [route.id for route in fresh if route.id in self.served]

    def claimable(self, route: int) -> bool:
        """Whether a job of this route could be claimed now: served here, not paused, a slot free."""
        known = self.routes.get(route)
        if known is None or not self.open or known.function in self.paused:
            return False
        return any(group.top > 0 and group.function_free[known.function] > 0 for group in self.served.get(route, ()))

    def reserve(self, route: int, most: int) -> Iterator[Node]:
        """Take up to `most` slots for jobs of `route`, each on the node with the most free ones at that moment."""
        function = self.routes[route].function
        heap = [(-group.top, index, group) for index, group in enumerate(self.served.get(route, ())) if group.top > 0]
        heapq.heapify(heap)
        while heap and most > 0:
            _, index, group = heapq.heappop(heap)
            node = group.take(function)
            if node is None:
                continue
            most -= 1
            if group.top > 0:
                heapq.heappush(heap, (-group.top, index, group))
            yield node


def satisfies(group: NodeClass, route: Route) -> bool:
    return route.function in group.functions and compile_selectors(route.selectors)(group.tags)


class Fleet:
    """All territories of this relay."""

    def __init__(self) -> None:
        self.territories: dict[UUID, Territory] = {}
        self.nodes: dict[UUID, Node] = {}

    def territory(self, environment_id: UUID) -> Territory:
        found = self.territories.get(environment_id)
        if found is None:
            found = self.territories[environment_id] = Territory(environment_id)
        return found

    def connect(self, node: Node) -> None:
        """Count the node as connected; it gets nothing before `open_for_work`."""
        self.nodes[node.id] = node
        self.territory(node.environment_id).nodes[node.id] = node

    def open_for_work(self, node: Node) -> list[int]:
        """Make a greeted node routable; answers the routes that nobody here served before."""
        if not node.frames or not node.functions or node.draining:
            return []
        territory = self.territory(node.environment_id)
        group = territory.classes.get(node.key)
        fresh: list[int] = []
        if group is None:
            group = territory.classes[node.key] = NodeClass(node.tags, node.functions)
            for route in territory.routes.values():
                if satisfies(group, route):
                    territory.served.setdefault(route.id, []).append(group)
                    fresh.append(route.id)
        group.enter(node)
        node.home = group
        return fresh

    def close_for_work(self, node: Node) -> None:
        """No new work for this node; what it holds stays counted."""
        group, node.home = node.home, None
        if group is None:
            return
        group.leave(node)
        if not group.nodes:
            self._dissolve(self.territory(node.environment_id), node.key, group)

    def disconnect(self, node: Node) -> bool:
        """Forget the node. True when it was the last one of its environment."""
        self.close_for_work(node)
        self.nodes.pop(node.id, None)
        territory = self.territories.get(node.environment_id)
        if territory is None:
            return False
        territory.nodes.pop(node.id, None)
        if territory.nodes:
            return False
        del self.territories[node.environment_id]
        return True

    @staticmethod
    def _dissolve(territory: Territory, key: ClassKey, group: NodeClass) -> None:
        del territory.classes[key]
        for route in [route for route, classes in territory.served.items() if group in classes]:
            territory.served[route].remove(group)
            if not territory.served[route]:
                del territory.served[route]

    @staticmethod
    def occupy(node: Node, function: str) -> None:
        """Count one more slot in use, for an attempt that the node turns out to have."""
        Fleet._change(node, function, 1)

    @staticmethod
    def release(node: Node, function: str) -> None:
        """A slot is free again: the node answered, or the claim brought no job for it."""
        Fleet._change(node, function, -1)

    @staticmethod
    def _change(node: Node, function: str, by: int) -> None:
        if node.home is not None:
            node.home.change(node, function, by)
        else:
            _occupy(node, function, by)
