"""One attempt that this relay has leased, from the claim until its settlement is durable, and when its time is up."""

import math
from collections.abc import Iterator
from enum import Enum
from typing import Any
from uuid import UUID

from relay.fleet import Node
from waypost.job.model import Policy
from waypost.secret.model import DataKey

TICK_SECONDS = 0.25  # resolution of time-outs and graces


class Phase(Enum):
    """Where an attempt stands. Only a RUNNING one may be settled, so that whoever is first decides."""

    RUNNING = "running"
    SETTLING = "settling"


class Attempt:
    """`node` is who has it, None while its stream is lost; `slot` says whether it still counts against that node.

    `answered`: it is being settled because the node said how it ended, so the node is owed our word on that.
    """

    __slots__ = (
        "answered", "cancel_at", "data_key", "due_at", "environment_id", "function", "id", "job_id", "log",
        "lost_at", "node", "number", "phase", "policy", "rank",
        "route", "slot", "time_out_at",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the wire's word
        job_id: UUID,
        environment_id: UUID,
        route: int,
        rank: int,
        number: int,
        function: str,
        policy: Policy,
        data_key: DataKey,
        node: Node | None,
    ) -> None:
        self.id, self.job_id, self.environment_id = id, job_id, environment_id
        self.route, self.rank, self.number = route, rank, number
        self.function, self.policy, self.data_key = function, policy, data_key
        self.node = node
        self.slot = True
        self.phase = Phase.RUNNING
        self.answered = False
        # Monotonic instants, `inf` = not: its own limit, the end of a cancel's grace, the end of its stream's grace,
        # and the earliest of them as `Deadlines` knows it.
        self.time_out_at = self.cancel_at = self.lost_at = self.due_at = math.inf
        self.log: Any = None  # relay.telling's, once it said something

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_at != math.inf


class Deadlines:
    """Attempts by the tick in which something is due. Adding and removing are O(1).

    Not a heap: of 10,000 attempts a second with a time-out of 5 minutes it would hold three million dead entries.
    """

    def __init__(self, now: float) -> None:
        self._ticks: dict[int, dict[int, Attempt]] = {}
        self._next = int(now / TICK_SECONDS)

    def set(self, attempt: Attempt) -> None:
        """Look at the attempt at the earliest of its instants, instead of whenever it was due before."""
        self.clear(attempt)
        attempt.due_at = at = min(attempt.time_out_at, attempt.cancel_at, attempt.lost_at)
        self._ticks.setdefault(self._tick(at), {})[attempt.id] = attempt

    def clear(self, attempt: Attempt) -> None:
        if attempt.due_at == math.inf:
            return
        found = self._ticks.get(self._tick(attempt.due_at))
        if found is not None:
            found.pop(attempt.id, None)
        attempt.due_at = math.inf

    def due(self, now: float) -> Iterator[Attempt]:
        """The attempts whose instant has passed; each is cleared."""
        last = int(now / TICK_SECONDS)
        for tick in range(self._next, last):
            for attempt in self._ticks.pop(tick, {}).values():
                attempt.due_at = math.inf
                yield attempt
        self._next = max(self._next, last)

    def _tick(self, at: float) -> int:
        return max(int(at / TICK_SECONDS), self._next)
