"""What is to be sent on one stream, and the one writer that sends it (decision 12c).

A frame goes at once when the stream is idle; what comes while it is being written shares the next one. A writer exists
only while there is something to write: an idle stream costs no task. Refuses to wait for ever: `stalled_since` says
since when one write has been waiting for a node that does not read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from waypost_contracts.waypost_frame_pb2 import RelayFrame

from relay import event

MAX_FRAME_BYTES = 4 << 20
MAX_FRAME_ENTRIES = 4_000
# A node waits for nothing that `settled` says: it may share the next frame. With a hundred nodes that get a job every
# now and then, half of all messages to them said nothing else.
SETTLED_SECONDS = 0.05
MAX_SETTLED = 64  # that wait for company
SPACING_SECONDS = 0.003
PAUSE_SECONDS = 0.012
CHASED = 8
MAX_BACKLOG = 20_000  # entries; beyond it the node's own messages are not read until it reads ours

_log = structlog.get_logger("relay.outbox")


class Pace:
    """When the next frame may go. A message of gRPC costs a relay about as much as thirty entries of a frame, so frames
    that chase each other are kept `SPACING_SECONDS` apart: on a stream that had `CHASED` of them in a row, until one
    comes after a pause. A lone job never waits.
    """

    __slots__ = ("_chased", "_last")

    def __init__(self) -> None:
        self._last = 0.0
        self._chased = 0

    def wait_seconds(self, now: float) -> float:
        """How long the frame that could go now is to wait for others."""
        gap = now - self._last
        if gap > PAUSE_SECONDS:
            self._chased = 0
            return 0.0
        if gap >= SPACING_SECONDS:
            return 0.0
        self._chased += 1
        return SPACING_SECONDS - gap if self._chased > CHASED else 0.0

    def went(self, now: float) -> None:
        self._last = now


class Assignment:
    """One job for the node: everything of the wire's `Assign`."""

    __slots__ = ("attempt_id", "deadline_ms", "function", "job_id", "number", "payload", "traceparent")

    def __init__(
        self,
        attempt_id: int,
        job_id: bytes,
        function: str,
        payload: bytes,
        deadline_ms: int,
        number: int,
        traceparent: str,
    ) -> None:
        self.attempt_id, self.job_id, self.function, self.payload = attempt_id, job_id, function, payload
        self.deadline_ms, self.number, self.traceparent = deadline_ms, number, traceparent


class Outbox:
    """`write` sends one serialized CloudEvent and returns when the transport took it."""

    __slots__ = (
        "_assign",
        "_cancel",
        "_drain",
        "_events",
        "_pace",
        "_patience",
        "_room",
        "_settled",
        "_write",
        "_writer",
        "closed",
        "stalled_since",
    )

    def __init__(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._write = write
        self._pace = Pace()
        self._events: deque[bytes] = deque()
        self._assign: deque[Assignment] = deque()
        self._cancel: list[tuple[int, int]] = []
        self._settled: deque[tuple[int, str]] = deque()  # reason "" = accepted
        self._drain: str | None = None
        self._writer: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._patience: asyncio.TimerHandle | None = None  # until what is settled goes on its own
        self.stalled_since: float | None = None  # monotonic: start of the write under way
        self.closed = False

    def send(self, serialized: bytes) -> None:
        """A whole CloudEvent: greet, probe, acknowledgement."""
        self._events.append(serialized)
        self._wake()

    def assign(self, assignment: Assignment) -> None:
        self._assign.append(assignment)
        self._wake()

    def cancel(self, attempt_id: int, grace_ms: int) -> None:
        self._cancel.append((attempt_id, grace_ms))
        self._wake()

    def settled(self, attempt_id: int, reason: str = "") -> None:
        """Our word on a `Finished`; empty `reason` = accepted."""
        self._settled.append((attempt_id, reason))
        if reason or len(self._settled) >= MAX_SETTLED:
            self._wake()
        elif self._patience is None and not self.closed:
            self._patience = asyncio.get_running_loop().call_later(SETTLED_SECONDS, self._settle)

    def _settle(self) -> None:
        self._patience = None
        if self._settled:
            self._wake()

    def drain(self, reason: str) -> None:
        self._drain = reason
        self._wake()

    @property
    def crowded(self) -> bool:
        return len(self._settled) + len(self._events) >= MAX_BACKLOG and not self.closed

    async def has_room(self) -> None:
        """Wait until the backlog is below its limit: a node that does not read is not read either."""
        if self.crowded:
            self._room = asyncio.Event()
            await self._room.wait()

    async def flushed(self) -> None:
        """Return when nothing is left to write, or nothing can be written any more."""
        self._settle()
        if self._writer is not None:
            await asyncio.wait({self._writer})

    def close(self) -> None:
        """Send nothing more. The write under way, if any, ends with the stream."""
        self.closed = True
        self.stalled_since = None
        self._events.clear()
        self._assign.clear()
        self._settled.clear()
        if self._patience is not None:
            self._patience.cancel()
        if self._room is not None:
            self._room.set()

    def _wake(self) -> None:
        if self._writer is None and not self.closed:
            self._writer = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            more = True
            while not self.closed and more:
                if seconds := self._pace.wait_seconds(time.monotonic()):
                    await asyncio.sleep(seconds)
                if (serialized := self._next()) is None:
                    break
                self.stalled_since = time.monotonic()
                self._pace.went(self.stalled_since)
                await self._write(serialized)
                more = self._urgent
        except Exception as error:  # noqa: BLE001 - grpc's types are private; the reader sees the end too
            _log.debug("stream.write_failed", error=repr(error))
            self.close()
        finally:
            self._writer = None
            self.stalled_since = None

    @property
    def _urgent(self) -> bool:
        """Whether there is more than `settled`, or much of it, or some of it has no timer."""
        if self._events or self._assign or self._cancel or self._drain is not None:
            return True
        return len(self._settled) >= MAX_SETTLED or (bool(self._settled) and self._patience is None)

    def _next(self) -> bytes | None:
        if self._room is not None and not self.crowded:
            self._room.set()
            self._room = None
        if self._events:
            return self._events.popleft()
        if self._assign or self._settled or self._cancel or self._drain is not None:
            return event.frame(self._frame().SerializeToString())
        return None

    def _frame(self) -> Any:
        """Everything that is pending, within the limits of one frame."""
        frame = RelayFrame()
        room, size = MAX_FRAME_ENTRIES, 0
        for attempt_id, grace_ms in self._cancel:
            frame.cancel.add(attempt_id=attempt_id, grace_ms=grace_ms)
        self._cancel = []
        settled = frame.settled
        while self._settled and room > 0:
            attempt_id, reason = self._settled.popleft()
            settled.add(attempt_id=attempt_id, accepted=not reason, reason=reason)
            room -= 1
        assign = frame.assign
        while self._assign and room > 0 and size < MAX_FRAME_BYTES:
            a = self._assign.popleft()
            assign.add(
                attempt_id=a.attempt_id, job_id=a.job_id, function=a.function, payload=a.payload,
                deadline_ms=a.deadline_ms, number=a.number, traceparent=a.traceparent,
            )  # fmt: skip
            size += len(a.payload)
            room -= 1
        if self._drain is not None:
            frame.drain.reason = self._drain
            self._drain = None
        return frame
