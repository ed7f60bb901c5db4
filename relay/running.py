"""The attempts that this relay has leased: handed to nodes, watched, decided (native contract §3.1, §7).

Responsible for what happens to an attempt between claim and settlement: its time-out, a cancel and its grace, the
loss of its stream, its answer. Whoever decides first wins; everything after is refused. Refuses to touch the
database: it puts decisions into `relay.settlement` and says what happened through `Telling`.

Profile at saturation (two nodes of 256 slots, 60,000 jobs of 150 bytes): 32-42 µs of CPU a job in the whole relay,
sealed; by cProfile 17 % `_start_one`, 11 % asyncpg, 10 % `settled`, 6 % sealing and opening, 6 % socket writes.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
import structlog

from relay import metric
from relay.answer import UnreadableAnswer, read_failure, read_result
from relay.attempt import Attempt, Deadlines, Phase
from relay.fleet import Fleet, Node
from relay.outbox import Assignment
from relay.settlement import Settlement
from storage.objects.store import ObjectStore
from storage.postgres.fleet.watch import Held
from waypost.errors import WaypostError
from waypost.ids import new_id
from waypost.job.decision import after_failure
from waypost.job.model import (
    CANCEL_GRACE,
    MAX_INLINE_BYTES,
    Claimed,
    End,
    Ending,
    JobError,
    JobState,
    Outcome,
    Retrying,
    Settled,
)
from waypost.job.specification import parse_policy
from waypost.job.submission import payload_place
from waypost.secret.model import DataKey, SealError

CANCEL_GRACE_SECONDS = CANCEL_GRACE.total_seconds()
NOT_CURRENT = "attempt_not_current"
OBJECT_TRIES = 5

TIMED_OUT = JobError("timed_out", "The attempt did not finish within its timeout_seconds.", retryable=True)
NODE_LOST = JobError("node_lost", "The stream of the node that ran this attempt was lost.", retryable=True)
CANCELED = JobError("canceled", "The job was canceled while it ran.")
CLAIM_LOST = JobError(
    "claim_lost", "The database did not answer when this attempt was claimed; no node saw it.", retryable=True
)
RELAY_STOPPED = JobError(
    "relay_stopped", "The relay of this attempt was stopped before its node had answered.", retryable=True
)

PAYLOAD_UNAVAILABLE = JobError("payload_unavailable", "The payload could not be read from the bucket.", retryable=True)
RESULT_NOT_STORED = JobError("result_not_stored", "The result could not be written to the bucket.", retryable=True)

_T = TypeVar("_T")
_log = structlog.get_logger("relay.running")


class Telling(Protocol):
    """Who is told what happened. None of it may wait or fail."""

    def states(self, changes: list[tuple[UUID, UUID, JobState, int]]) -> None: ...
    def progress(self, attempt: Attempt, fraction: float, message: str) -> None: ...
    def log(self, attempt: Attempt, at_ms: int, level: str, message: str) -> None: ...
    def ended(self, attempt: Attempt) -> None: ...
    def refused(self, environment_id: UUID, job_id: bytes, attempt_id: int, *, result: bool) -> None: ...
    def returned(self, environment_id: UUID, queue: tuple[int, int], concurrency_key: str | None) -> None: ...
    def slot_freed(self) -> None: ...


class Running:
    """All attempts of this relay's session."""

    def __init__(
        self, fleet: Fleet, telling: Telling, objects: ObjectStore, settlement: Settlement, grace_seconds: float
    ) -> None:
        self._fleet, self._tell, self._objects, self._settlement = fleet, telling, objects, settlement
        self._grace_seconds = grace_seconds
        self._session = 0  # set by `begin`
        self._deadlines = Deadlines(time.monotonic())
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempts: dict[int, Attempt] = {}
        self._by_job: dict[UUID, Attempt] = {}

    @property
    def unsettled(self) -> int:
        return self._settlement.pending

    def begin(self, session: int) -> None:
        """What is settled from now on belongs to this session."""
        self._session = session

    # --- from the ledger to the nodes

    def start(self, claimed: Sequence[Claimed], keys: Mapping[UUID, DataKey]) -> None:
        """Hand claimed jobs to the nodes that the claim named. A node that has gone meanwhile loses its attempt at
        once.
        """
        now = time.monotonic()
        for job in claimed:
            self._start_one(job, keys[job.environment_id], now)
        self._tell.states([(job.environment_id, job.job_id, JobState.RUNNING, job.number) for job in claimed])

    def _start_one(self, job: Claimed, key: DataKey, now: float) -> None:
        node = self._fleet.nodes.get(job.node)
        territory = self._fleet.territories.get(job.environment_id)
        route = territory.routes.get(job.route) if territory is not None else None
        policy = parse_policy(job.policy)
        attempt = Attempt(
            id=job.attempt_id, job_id=job.job_id, environment_id=job.environment_id, route=job.route, rank=job.rank,
            number=job.number, function=route.function if route is not None else "", policy=policy, data_key=key,
            node=node,
        )  # fmt: skip
        self._enter(attempt)
        attempt.time_out_at = now + policy.timeout_seconds
        if node is None:
            self._fail(attempt, Outcome.LOST, NODE_LOST)
            return
        node.attempts[attempt.id] = attempt
        self._deadlines.set(attempt)
        if job.payload_object is not None:
            self._spawn(self._fetch(attempt, job))
            return
        try:
            payload = b"" if job.payload is None else key.open(payload_place(job.job_id), job.payload)
        except SealError as error:
            self._broken(attempt, str(error))
            return
        self._send(attempt, payload, job.traceparent)

    def _send(self, attempt: Attempt, payload: bytes, traceparent: str | None) -> None:
        if attempt.node is None or attempt.phase is not Phase.RUNNING:
            return
        left = max(1, int((attempt.time_out_at - time.monotonic()) * 1000))
        attempt.node.stream.outbox.assign(
            Assignment(
                attempt.id, attempt.job_id.bytes, attempt.function, payload, left, attempt.number, traceparent or ""
            )
        )

    async def _fetch(self, attempt: Attempt, job: Claimed) -> None:
        """A payload that lies in the bucket; the others of its claim do not wait for it."""
        try:
            sealed = await _patiently(lambda: self._objects.get(job.environment_id, job.payload_object or ""))
            self._send(attempt, attempt.data_key.open(payload_place(job.job_id), sealed), job.traceparent)
        except SealError as error:
            self._broken(attempt, str(error))
        except WaypostError:
            self._fail_here(attempt, PAYLOAD_UNAVAILABLE)

    def _broken(self, attempt: Attempt, reason: str) -> None:
        _log.error("payload.unreadable", job=str(attempt.job_id), error=reason)
        self._fail_here(
            attempt, JobError("payload_unreadable", "The stored payload does not open with the environment's key.")
        )

    def _fail_here(self, attempt: Attempt, error: JobError) -> None:
        """The node never saw this attempt: its slot is free at once."""
        self._free(attempt)
        self._fail(attempt, Outcome.FAILED, error)

    # --- from the nodes

    def finished(self, node: Node, entry: Any) -> None:
        """A node's `Finished`. Refused when the attempt is not current, of another environment, or already decided."""
        held = node.attempts.get(entry.attempt_id)
        if held is not None:
            self._free(held)
        attempt = self.attempts.get(entry.attempt_id)
        if attempt is None or attempt.environment_id != node.environment_id:
            self._refuse(node, entry)
            return
        if attempt.phase is Phase.SETTLING:
            if attempt.answered:
                attempt.node = node  # sent again: one word on it goes where the node is now
            else:
                self._refuse(node, entry)
            return
        self._adopt(node, attempt, occupy=False)
        attempt.answered = True
        kind = entry.WhichOneof("answer")
        try:
            if kind == "result":
                self._complete(attempt, read_result(entry.result))
            else:
                self._fail(attempt, Outcome.FAILED, read_failure(entry.failure if kind else None))
        except UnreadableAnswer as error:
            self._fail(attempt, Outcome.FAILED, error.error)

    def _refuse(self, node: Node, entry: Any) -> None:
        metric.REFUSED.inc()
        node.stream.outbox.settled(entry.attempt_id, NOT_CURRENT)
        result = entry.WhichOneof("answer") == "result"
        self._tell.refused(node.environment_id, entry.job_id, entry.attempt_id, result=result)

    def current(self, node: Node, attempt_id: int) -> Attempt | None:
        """The running attempt that a `Started`, `Progress` or `LogLine` is about; adopted if its stream had been
        lost.
        """
        attempt = self.attempts.get(attempt_id)
        if attempt is None or attempt.phase is not Phase.RUNNING or attempt.environment_id != node.environment_id:
            return None
        if attempt.node is not node:
            self._adopt(node, attempt, occupy=True)
        return attempt

    def _adopt(self, node: Node, attempt: Attempt, *, occupy: bool) -> None:
        """The node speaks for this attempt on a new stream: it goes on there."""
        if attempt.node is node:
            return
        self._free(attempt)
        attempt.node = node
        attempt.lost_at = math.inf
        self._deadlines.set(attempt)
        if occupy:
            attempt.slot = True
            node.attempts[attempt.id] = attempt
            self._fleet.occupy(node, attempt.function)

    def _free(self, attempt: Attempt) -> None:
        """The attempt no longer takes a slot of its node."""
        node = attempt.node
        if node is None:
            return
        node.attempts.pop(attempt.id, None)
        if attempt.slot:
            attempt.slot = False
            self._fleet.release(node, attempt.function)
            self._tell.slot_freed()

    def stream_lost(self, node: Node, *, left: bool) -> None:
        """Its attempts have the grace to be heard of on another stream; none when the node took its leave."""
        now = time.monotonic()
        for attempt in list(node.attempts.values()):
            attempt.node = None
            attempt.slot = False
            if attempt.phase is Phase.RUNNING:
                attempt.lost_at = now if left else now + self._grace_seconds
                self._deadlines.set(attempt)
        node.attempts.clear()

    # --- from people and clocks

    def cancel(self, job_id: UUID) -> None:
        """Ask the node to stop; after the grace the job is canceled whatever the node does. Again: changes nothing."""
        attempt = self._by_job.get(job_id)
        if attempt is None or attempt.cancel_requested or attempt.phase is not Phase.RUNNING:
            return
        attempt.cancel_at = time.monotonic() + CANCEL_GRACE_SECONDS
        self._deadlines.set(attempt)
        if attempt.node is not None:
            attempt.node.stream.outbox.cancel(attempt.id, int(CANCEL_GRACE_SECONDS * 1000))

    def tick(self) -> None:
        """Decide what has become due. A node that was told to stop keeps its slot until it answers: it may be busy."""
        now = time.monotonic()
        for attempt in list(self._deadlines.due(now)):
            if attempt.phase is not Phase.RUNNING:
                continue
            if attempt.cancel_at <= now:
                self._fail(attempt, Outcome.CANCELED, CANCELED)
            elif attempt.time_out_at <= now:
                if attempt.node is not None:
                    attempt.node.stream.outbox.cancel(attempt.id, 0)
                self._fail(attempt, Outcome.TIMED_OUT, TIMED_OUT)
            elif attempt.lost_at <= now:
                self._fail(attempt, Outcome.LOST, NODE_LOST)
            else:
                self._deadlines.set(attempt)

    def give_up(self) -> int:
        """Settle all that runs as lost, so that it is tried again at once; answers how many."""
        given = [attempt for attempt in self.attempts.values() if attempt.phase is Phase.RUNNING]
        for attempt in given:
            self._fail(attempt, Outcome.LOST, RELAY_STOPPED)
        return len(given)

    def reclaim(self, held: Sequence[Held], session: int, keys: Mapping[UUID, DataKey]) -> None:
        """Leases of ours that no attempt here stands for: the answer of their claim was lost. They are tried again."""
        for lease in held:
            if lease.attempt_id in self.attempts or session != self._session:
                continue
            attempt = Attempt(
                id=lease.attempt_id, job_id=lease.job_id, environment_id=lease.environment_id, route=lease.route,
                rank=lease.rank, number=lease.number, function="", policy=parse_policy(lease.policy),
                data_key=keys[lease.environment_id], node=None,
            )  # fmt: skip
            self._enter(attempt)
            self._fail(attempt, Outcome.LOST, CLAIM_LOST)

    def _enter(self, attempt: Attempt) -> None:
        self.attempts[attempt.id] = attempt
        self._by_job[attempt.job_id] = attempt

    def drop_all(self) -> None:
        """The session is over: nothing here is ours any more. The nodes are told; their answers will be refused."""
        for attempt in list(self.attempts.values()):
            if attempt.node is not None:
                attempt.node.stream.outbox.cancel(attempt.id, 0)
            attempt.phase = Phase.SETTLING
            attempt.answered = False
            self._forget(attempt)
        self._settlement.drop()

    # --- decisions

    def _complete(self, attempt: Attempt, result: bytes) -> None:
        sealed = attempt.data_key.seal(f"job:{attempt.job_id}:result", result)
        if len(result) <= MAX_INLINE_BYTES:
            self._end(attempt, End.COMPLETED, Outcome.COMPLETED, result=sealed)
            return
        self._decide(attempt)
        self._spawn(self._put(attempt, sealed))

    async def _put(self, attempt: Attempt, sealed: bytes) -> None:
        """A large result goes into the bucket before its end is recorded."""
        name = f"jobs/{attempt.job_id}/result-{attempt.id:x}"
        try:
            await _patiently(lambda: self._objects.put(attempt.environment_id, name, sealed))
        except WaypostError:
            self._settle_failure(attempt, Outcome.FAILED, RESULT_NOT_STORED)
        else:
            self._end(attempt, End.COMPLETED, Outcome.COMPLETED, result_object=name)

    def _fail(self, attempt: Attempt, outcome: Outcome, error: JobError) -> None:
        if attempt.cancel_requested:  # whatever it was, nobody wants it tried again
            outcome, error = Outcome.CANCELED, CANCELED
        self._settle_failure(attempt, outcome, error)

    def _settle_failure(self, attempt: Attempt, outcome: Outcome, error: JobError) -> None:
        follow = after_failure(attempt.policy, attempt.number, outcome, error.retryable, random.random())  # noqa: S311
        if isinstance(follow, End):
            self._end(attempt, follow, outcome, error=error)
            return
        self._decide(attempt)
        self._settlement.retry(
            self._session, attempt,
            Retrying(attempt.job_id, attempt.id, outcome, follow, new_id(), self._seal_error(attempt, error)),
        )  # fmt: skip

    def _end(
        self, attempt: Attempt, end: End, outcome: Outcome, *,
        result: bytes | None = None, result_object: str | None = None, error: JobError | None = None,
    ) -> None:  # fmt: skip
        self._decide(attempt)
        sealed = None if error is None else self._seal_error(attempt, error)
        self._settlement.end(
            self._session, attempt, Ending(attempt.job_id, attempt.id, end, outcome, result, result_object, sealed)
        )

    @staticmethod
    def _seal_error(attempt: Attempt, error: JobError) -> bytes:
        return attempt.data_key.seal(f"job:{attempt.job_id}:error:{attempt.number}", msgspec.json.encode(error))

    def _decide(self, attempt: Attempt) -> None:
        if attempt.phase is Phase.RUNNING:
            attempt.phase = Phase.SETTLING
            self._deadlines.clear(attempt)
            self._tell.ended(attempt)

    # --- from the ledger again

    def settled(self, batch: list[tuple[Attempt, Any, Settled | None]]) -> None:
        """The ledger's word on a batch: tell the nodes, and everybody else what was accepted."""
        changes: list[tuple[UUID, UUID, JobState, int]] = []
        for attempt, item, accepted in batch:
            self._forget(attempt)
            node = attempt.node
            if attempt.answered and node is not None:
                node.stream.outbox.settled(attempt.id, "" if accepted else NOT_CURRENT)
            if accepted is None:
                metric.REFUSED.inc()
                if attempt.answered:
                    result = item.outcome is Outcome.COMPLETED
                    self._tell.refused(attempt.environment_id, attempt.job_id.bytes, attempt.id, result=result)
                continue
            if node is not None:
                _count(node, item)
            retried = isinstance(item, Retrying) and not accepted.canceled
            changes.append((attempt.environment_id, attempt.job_id, _state(item, accepted), attempt.number))
            if accepted.concurrency_key is not None or (retried and item.delay_seconds <= 0):
                self._tell.returned(attempt.environment_id, (attempt.route, attempt.rank), accepted.concurrency_key)
        metric.SETTLED.labels("accepted").inc(len(changes))
        if changes:
            self._tell.states(changes)

    def _forget(self, attempt: Attempt) -> None:
        self._deadlines.clear(attempt)
        self.attempts.pop(attempt.id, None)
        if self._by_job.get(attempt.job_id) is attempt:
            del self._by_job[attempt.job_id]

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _patiently(work: Callable[[], Awaitable[_T]]) -> _T:
    """What the object store answers; it is asked a few times, over six seconds in all, before its error counts."""
    for again in range(OBJECT_TRIES):
        try:
            return await work()
        except WaypostError as error:
            _log.warning("object.unavailable", error=error.code, again=again)
            if again == OBJECT_TRIES - 1:
                raise
            await asyncio.sleep(0.4 * 2**again)
    raise AssertionError("unreachable")


def _state(item: Any, accepted: Settled) -> JobState:
    if isinstance(item, Ending):
        return item.end.state
    return JobState.CANCELED if accepted.canceled else JobState.RETRYING


def _count(node: Node, item: Any) -> None:
    if item.outcome is Outcome.COMPLETED:
        node.completed += 1
    else:
        node.failed += 1
    node.dirty = True
