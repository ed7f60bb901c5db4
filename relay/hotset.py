"""Which queues may hold work, from which key on to look, and for how many jobs to ask (decisions 11, 12b).

A wake puts a (route, rank) in, a claim that came back short takes it out; the slow poll is the net. The low mark
spares a claim the dead rows before the jobs it took last. How many to ask for follows from how many there were: asking
for every free slot made a claim of one job reserve, number and send five hundred of them (two nodes × 500 slots,
300 jobs/s: 2.5 ms of the relay's CPU a job, now 1.7; start p50 7.9 ms, now 4.4). All of it is a guess that costs time
when wrong, never a job: the slow poll forgets the low marks.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from waypost.ids import NIL

FIRST_ASK = 8  # more than come at once where little comes: a claim that finds all it asks for is followed by another
LEAST_ASK = 2  # where many queues share a claim: one more than came, which tells that no more are there
GROWTH = 4  # a deep queue is asked for 8, 32, 128, 500
LOW_MARK_BEHIND = 2_000 << 80  # two seconds of a UUIDv7: commits are that late at most, else the slow poll finds them

Queue = tuple[int, int]  # route, rank


class HotSet:
    """Queues that may hold work, by environment. `stamp` tells a wake that came after a claim began from one before."""

    def __init__(self) -> None:
        self._hot: dict[UUID, dict[Queue, int]] = {}
        self._low: dict[Queue, UUID] = {}
        self._ask: dict[Queue, int] = {}
        self._stamp = 0

    def wake(self, environment_id: UUID, queues: Iterable[Queue]) -> None:
        self._stamp += 1
        for queue in queues:
            self._hot.setdefault(environment_id, {})[queue] = self._stamp

    def forget(self, environment_id: UUID) -> None:
        for route, rank in self._hot.pop(environment_id, ()):
            self._low.pop((route, rank), None)
            self._ask.pop((route, rank), None)

    def cool(self, environment_id: UUID, queue: Queue, stamp: int) -> None:
        """A claim begun at `stamp` found the queue empty: take it out unless it was woken since."""
        hot = self._hot.get(environment_id)
        if hot is not None and hot.get(queue, stamp + 1) <= stamp:
            del hot[queue]
            if not hot:
                del self._hot[environment_id]

    @property
    def stamp(self) -> int:
        return self._stamp

    def environments(self) -> list[UUID]:
        return list(self._hot)

    def count(self) -> int:
        """Of queues."""
        return sum(map(len, self._hot.values()))

    def queues(self, environment_id: UUID) -> Iterator[list[int]]:
        """The routes that may hold work, most urgent rank first; each list is `[rank, route, …]`."""
        by_rank: dict[int, list[int]] = {}
        for route, rank in self._hot.get(environment_id, ()):
            by_rank.setdefault(rank, [rank]).append(route)
        for rank in sorted(by_rank):
            yield by_rank[rank]

    def low(self, queue: Queue) -> UUID:
        return self._low.get(queue, NIL)

    def claimed(self, queue: Queue, key: UUID) -> None:
        """Move the low mark behind `key`, the last one claimed; it never goes back by itself."""
        low = UUID(int=max(0, key.int - LOW_MARK_BEHIND))
        if low > self._low.get(queue, NIL):
            self._low[queue] = low

    def ask(self, queue: Queue, fair: int) -> int:
        """For how many jobs, when `fair` is an equal part of a claim for every queue."""
        return max(min(FIRST_ASK, fair), LEAST_ASK, self._ask.get(queue, 0))

    def gave(self, queue: Queue, asked: int, count: int) -> None:
        """A claim that asked for `asked` jobs found `count`."""
        self._ask[queue] = max(asked * GROWTH, self._ask.get(queue, 0)) if count >= asked else count * 2

    def reset_low(self, queues: Iterable[Queue]) -> None:
        """Look from the beginning again."""
        for queue in queues:
            self._low.pop(queue, None)
