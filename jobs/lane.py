"""Fair, bounded waiting before the group commit: a lane an environment, drained round robin by bytes (decision 17)."""

import asyncio
from collections import deque
from uuid import UUID

from waypost.errors import Category, WaypostError
from waypost.job.model import Accepted, Submission

MAX_LANE_ROWS = 10_000
MAX_LANE_BYTES = 32 << 20
QUANTUM_BYTES = 32 << 10  # what a lane may put into a batch before the next one's turn
# Bulk requests under way, and those of one environment that may stand in the line for that. With one, the gateway idles
# while PostgreSQL works and the other way round: 25,400 jobs/s; two: 38,300, and the gateway is busy.
MAX_BULK_IN_FLIGHT = 2
ROW_BYTES = 200  # of a submission beside its payload

Waiting = tuple[Submission, "asyncio.Future[Accepted]"]


def size_of(submission: Submission) -> int:
    """About how many bytes of a statement a submission takes."""
    return ROW_BYTES + len(submission.payload or b"") + len(submission.labels or "")


class Lane:
    """What one environment has waiting, `rows` and `bytes` of bulk requests included."""

    __slots__ = ("_bulk_turns", "bytes", "credit", "queue", "rows")

    def __init__(self) -> None:
        self.queue: deque[Waiting] = deque()
        self.rows = 0
        self.bytes = 0
        self.credit = 0  # bytes that it may take on in its turn
        self._bulk_turns: asyncio.Semaphore | None = None

    @property
    def bulk_turns(self) -> asyncio.Semaphore:
        """Held by a bulk request from its wait for a slot to its end."""
        if self._bulk_turns is None:
            self._bulk_turns = asyncio.Semaphore(MAX_BULK_IN_FLIGHT)
        return self._bulk_turns

    def reserve(self, rows: int, size: int) -> None:
        """Raises 429 `submission_lane_full` when that is too much. An empty lane takes one request of any size."""
        if self.rows and (self.rows + rows > MAX_LANE_ROWS or self.bytes + size > MAX_LANE_BYTES):
            raise WaypostError(
                "submission_lane_full",
                "This environment submits faster than it can be stored; nothing was kept. Repeat the request later.",
                Category.LIMITED,
                retryable=True,
                retry_after_seconds=1,
            )
        self.rows += rows
        self.bytes += size

    def release(self, rows: int, size: int) -> None:
        self.rows -= rows
        self.bytes -= size


class Lanes:
    """All lanes of a process. Not bounded in number: who submits was authenticated before."""

    def __init__(self) -> None:
        self._lanes: dict[UUID, Lane] = {}
        self._turns: deque[UUID] = deque()  # environments with something queued, next one first

    def __bool__(self) -> bool:
        return bool(self._turns)

    def lane(self, environment_id: UUID) -> Lane:
        found = self._lanes.get(environment_id)
        if found is None:
            found = self._lanes[environment_id] = Lane()
        return found

    def put(self, waiting: Waiting) -> None:
        """Queue a submission; raises `submission_lane_full`."""
        environment_id = waiting[0].environment_id
        lane = self.lane(environment_id)
        lane.reserve(1, size_of(waiting[0]))
        if not lane.queue:
            self._turns.append(environment_id)
        lane.queue.append(waiting)

    def take(self, max_rows: int, max_bytes: int) -> list[Waiting]:
        """The next batch: each lane in turn gives a quantum of bytes, until the batch is full or nothing is left.

        A submission larger than a quantum waits for as many turns as it is large; one alone always fits.
        """
        batch: list[Waiting] = []
        room = max_bytes
        while self._turns and len(batch) < max_rows and room > 0:
            environment_id = self._turns.popleft()
            lane = self._lanes[environment_id]
            lane.credit += QUANTUM_BYTES
            while lane.queue and len(batch) < max_rows:
                size = size_of(lane.queue[0][0])
                if size > lane.credit or (size > room and batch):
                    break
                batch.append(lane.queue.popleft())
                lane.credit -= size
                room -= size
            if lane.queue:
                self._turns.append(environment_id)
                if batch and size_of(lane.queue[0][0]) > room:
                    break
            else:
                lane.credit = 0
        return batch

    def done(self, batch: list[Waiting]) -> None:
        """A batch is out: its lanes have room again, and empty ones are forgotten."""
        for submission, _ in batch:
            self.lane(submission.environment_id).release(1, size_of(submission))
        for environment_id in {submission.environment_id for submission, _ in batch}:
            self.forget_if_empty(environment_id)

    def forget_if_empty(self, environment_id: UUID) -> None:
        lane = self._lanes.get(environment_id)
        if lane is not None and not lane.rows and not lane.queue:
            del self._lanes[environment_id]
