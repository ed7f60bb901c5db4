"""The jobs this node is running: admission within the limits, calling handlers, cancellation, deadlines.

Knows nothing of streams: assignments come in, answers go to the outbox. A job that comes while its function (or the
node) is full waits here; that happens only when the relay forgot a handler that is still running.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import msgspec
from waypost_contracts.waypost_frame_pb2 import Assign, Failure, Finished

from waypost_sdk import exact
from waypost_sdk.artifact import referred_in
from waypost_sdk.node import failure
from waypost_sdk.node.artifact import Access
from waypost_sdk.node.capture import captured
from waypost_sdk.node.function import MAX_RESULT_BYTES, Function
from waypost_sdk.node.job import RunningJob
from waypost_sdk.node.outbox import Outbox
from waypost_sdk.node.thread import Threads

INTERRUPT_AFTER_SECONDS = 1.0  # from the cancellation to CancelledError in an async handler
DEADLINE_MARGIN_SECONDS = 0.5  # the relay's word on the time-out comes first

_log = logging.getLogger("waypost.node")


class Work:
    """Runs assignments. `idle` is set while nothing runs or waits."""

    def __init__(
        self, functions: Mapping[str, Function], tags: tuple[str, ...], limit: int, outbox: Outbox, access: Access
    ) -> None:
        self._functions = functions
        self._tags = tags
        self._limit = limit
        self._outbox = outbox
        self._access = access
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, RunningJob] = {}
        self._waiting: deque[tuple[RunningJob, bytes]] = deque()
        self._threads = Threads(max(1, sum(f.max_in_flight for f in functions.values() if not f.is_async)))
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def in_flight(self) -> int:
        return len(self._running) + len(self._waiting)

    @property
    def attempts(self) -> list[int]:
        """Everything that runs or waits here."""
        return [*self._running, *(job.attempt_id for job, _ in self._waiting)]

    def assign(self, entry: Assign) -> None:
        """Start this attempt, or let it wait for a free slot. The same attempt again changes nothing."""
        attempt_id = entry.attempt_id
        if attempt_id in self._running or attempt_id in self._outbox.unsettled:
            return
        function = self._functions.get(entry.function)
        if function is None:
            self._outbox.finished(_finished(attempt_id, entry.job_id, failure.unknown_function(entry.function)))
            return
        job = RunningJob(
            attempt_id, entry.job_id, function, self._outbox,
            number=entry.number, deadline_ms=entry.deadline_ms, tags=self._tags, traceparent=entry.traceparent,
            access=self._access,
        )  # fmt: skip
        self.idle.clear()
        if function.running < function.max_in_flight and len(self._running) < self._limit:
            self._start(job, entry.payload)
        else:
            self._waiting.append((job, entry.payload))

    def cancel(self, attempt_id: int, grace_ms: int) -> None:
        """Somebody canceled the job: the flag at once, and CancelledError in an async handler a second later."""
        job = self._running.get(attempt_id)
        if job is None:
            self._cancel_waiting(attempt_id)
            return
        job.canceled = True
        if job._task is not None:  # noqa: SLF001 -- the job object's public face is for handlers
            wait = min(INTERRUPT_AFTER_SECONDS, grace_ms / 2000)
            self._loop.call_later(wait, self._interrupt, job)

    def check_deadlines(self) -> None:
        """Stop async handlers whose time is up, and raise the flag for plain ones. Called a few times a second."""
        late = time.monotonic() - DEADLINE_MARGIN_SECONDS
        for job in [job for job in self._running.values() if job.deadline_at < late and not job.timed_out]:
            job.timed_out = job.canceled = True
            self._interrupt(job)

    def abandon(self) -> None:
        """Leave without waiting: nothing more is started, async handlers are cancelled, no answers are made."""
        self._waiting.clear()
        for job in list(self._running.values()):
            job.canceled = True
            self._running.pop(job.attempt_id)
            job.function.running -= 1
            if job._task is not None:  # noqa: SLF001
                job._task.cancel()  # noqa: SLF001
        self._threads.close()

    def _start(self, job: RunningJob, payload: bytes) -> None:
        job.function.running += 1
        self._running[job.attempt_id] = job
        self._outbox.started(job.attempt_id)
        if job.function.is_async:
            job._task = self._loop.create_task(self._call_async(job, payload))  # noqa: SLF001
        else:
            self._threads.submit(lambda: self._call_plain(job, payload))

    async def _call_async(self, job: RunningJob, payload: bytes) -> None:
        try:
            if (artifact_id := referred_in(payload)) is not None:
                payload = await job.artifacts.payload(artifact_id)
            argument = job.function.decode(payload)
        except msgspec.MsgspecError as error:
            self._end(job, failure.of_payload(error))
            return
        except asyncio.CancelledError as error:
            self._end(job, _of_cancellation(job, error))
            return
        except Exception as error:  # noqa: BLE001 -- whatever fetching it comes to
            self._end(job, failure.of_fetching(error))
            return
        try:
            answer: bytes | Failure = failure.encode_result(await _called(job, argument))
            if isinstance(answer, bytes) and len(answer) > MAX_RESULT_BYTES:
                answer = exact.encode(await job.artifacts.result(answer))
        except asyncio.CancelledError as error:
            answer = _of_cancellation(job, error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a handler raises is its answer
            answer = failure.of_exception(error)
        self._end(job, answer)

    def _call_plain(self, job: RunningJob, payload: bytes) -> Callable[[], None]:
        """In a thread; returns what the loop has to do."""
        try:
            if (artifact_id := referred_in(payload)) is not None:
                payload = job.artifacts.payload(artifact_id)
            argument = job.function.decode(payload)
        except msgspec.MsgspecError as error:
            answer: bytes | Failure = failure.of_payload(error)
        except BaseException as error:  # noqa: BLE001 -- whatever fetching it comes to
            answer = failure.of_fetching(error)
        else:
            try:
                with captured(job._print) if job.function.capture_output else nullcontext():  # noqa: SLF001
                    answer = failure.encode_result(job.function.call(job, argument))
                if isinstance(answer, bytes) and len(answer) > MAX_RESULT_BYTES:
                    answer = exact.encode(job.artifacts.result(answer))
            except BaseException as error:  # noqa: BLE001 -- whatever a handler raises is its answer
                answer = failure.of_exception(error)
        return lambda: self._end(job, answer)

    def _end(self, job: RunningJob, answer: bytes | Failure) -> None:
        if self._running.pop(job.attempt_id, None) is None:  # abandoned
            return
        job.function.running -= 1
        self._outbox.finished(_finished(job.attempt_id, job._job_id, answer))  # noqa: SLF001
        if self._waiting:
            self._start_waiting()
        if not self._running and not self._waiting:
            self.idle.set()

    def _start_waiting(self) -> None:
        """Start whatever fits now, in the order of arrival."""
        kept: deque[tuple[RunningJob, bytes]] = deque()
        while self._waiting:
            job, payload = self._waiting.popleft()
            if job.function.running < job.function.max_in_flight and len(self._running) < self._limit:
                self._start(job, payload)
            else:
                kept.append((job, payload))
        self._waiting = kept

    def _cancel_waiting(self, attempt_id: int) -> None:
        for entry in self._waiting:
            if entry[0].attempt_id == attempt_id:
                self._waiting.remove(entry)
                self._outbox.finished(_finished(attempt_id, entry[0]._job_id, failure.canceled()))  # noqa: SLF001
                break
        if not self._running and not self._waiting:
            self.idle.set()

    def _interrupt(self, job: RunningJob) -> None:
        if job.attempt_id in self._running and job._task is not None:  # noqa: SLF001
            job._task.cancel()  # noqa: SLF001


async def _called(job: RunningJob, argument: object) -> object:
    if not job.function.capture_output:
        return await job.function.call(job, argument)
    with captured(job._print):  # noqa: SLF001
        return await job.function.call(job, argument)


def _of_cancellation(job: RunningJob, error: asyncio.CancelledError) -> Failure:
    """CancelledError may be our interruption, or the handler's own business gone wrong."""
    if job.timed_out:
        return failure.timed_out()
    return failure.canceled() if job.canceled else failure.of_exception(error)


def _finished(attempt_id: int, job_id: bytes, answer: bytes | Failure) -> Finished:
    if isinstance(answer, bytes):
        return Finished(attempt_id=attempt_id, job_id=job_id, result=answer)
    return Finished(attempt_id=attempt_id, job_id=job_id, failure=answer)
