"""The life of a node: connect, serve, connect again; drain and leave.

Running jobs and unsettled answers outlive a stream. The node gives up only when the platform does not want it
(NodeRefusedError); everything else is tried again, 0.2 s to 10 s apart, from the start after a good connection.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
from waypost_contracts.waypost_frame_pb2 import RelayFrame

from waypost_sdk.errors import NodeRefusedError, WaypostError
from waypost_sdk.node.artifact import Access
from waypost_sdk.node.function import Function
from waypost_sdk.node.outbox import Outbox
from waypost_sdk.node.stream import Stream
from waypost_sdk.node.token import TokenSource
from waypost_sdk.node.work import Work

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
TICK_SECONDS = 0.2
LATE_ASSIGN_SECONDS = 2.0  # after our word that we leave; later assignments are left to other nodes
LAST_ANSWERS_SECONDS = 30.0  # how long a leaving node without a stream tries to hand over its last answers
MAX_UNAUTHENTICATED = 3
_FINAL = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)

_log = logging.getLogger("waypost.node")


class Runtime:
    """Serves the functions until drained. Made inside the running loop."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        *,
        relay: str,
        url: str,
        tokens: TokenSource,
        about: Mapping[str, Any],
        tags: tuple[str, ...],
        max_in_flight: int,
    ) -> None:
        self._relay = relay
        self._tokens = tokens
        self._join = {**about, "tags": list(tags), "maxInFlight": max_in_flight, "frames": 1}
        self._join["functions"] = [function.describe() for function in functions.values()]
        self._outbox = Outbox()
        self._access = Access(url, tokens)
        self._work = Work(functions, tags, max_in_flight, self._outbox, self._access)
        self._stream: Stream | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._unauthenticated = 0
        self._drain_reason: str | None = None
        self._draining_since = 0.0
        self._idle_since: float | None = None
        self._left = asyncio.Event()
        self.connected = asyncio.Event()

    async def serve(self) -> None:
        """Return after a drain; raises NodeRefusedError when the platform does not want this node."""
        ticker = asyncio.create_task(self._tick())
        try:
            while not self._left.is_set():
                await self._connect()
                if not self._left.is_set():
                    await self._sleep()
        finally:
            ticker.cancel()
            self._work.abandon()
            await self._access.close()

    @property
    def draining(self) -> bool:
        return self._drain_reason is not None

    def drain(self, reason: str) -> None:
        """Take no new work, finish what is there, then leave. Again: changes nothing."""
        if self._drain_reason is not None:
            return
        _log.info("leaving (%s): %d jobs in flight", reason, self._work.in_flight)
        self._drain_reason = reason
        self._draining_since = time.monotonic()
        if self._stream is not None and self._stream.member_id is not None:
            self._stream.announce_drain(reason)
        self._leave_if_done()

    def abandon(self) -> None:
        """Leave at once; the platform gives the jobs to other nodes."""
        self._work.abandon()
        self._left.set()
        if self._stream is not None:
            self._stream.cut()

    async def _connect(self) -> None:
        """One stream from token to end. Returns to try again, raises when there is no point."""
        stream = None
        try:
            token = await self._tokens.token()
            stream = self._stream = Stream(self._relay, self._outbox, self._on_frame)
            await stream.run(token, {"id": str(uuid4()), **self._join}, self._on_greet)
            _log.info("the relay ended the stream")
        except NodeRefusedError:
            raise
        except grpc.aio.AioRpcError as error:
            self._on_status(error.code(), error.details() or "", greeted=bool(stream and stream.member_id))
        except (WaypostError, TimeoutError, EOFError) as error:
            _log.warning("no stream to %s: %s", self._relay, error or type(error).__name__)
        except Exception:  # noqa: BLE001 -- running jobs and unsettled answers must outlive whatever a stream dies of
            _log.exception("the stream to %s ended unexpectedly", self._relay)
        finally:
            self._stream = None
            self.connected.clear()

    def _on_greet(self) -> None:
        stream = self._stream
        assert stream is not None  # noqa: S101 -- called by it
        _log.info("connected to %s as node %s", self._relay, stream.member_id)
        self._pause = FIRST_PAUSE_SECONDS
        self._unauthenticated = 0
        self._outbox.restart(self._work.attempts)
        if self._drain_reason is not None:
            stream.announce_drain(self._drain_reason)
        self.connected.set()

    def _on_status(self, code: grpc.StatusCode, details: str, *, greeted: bool) -> None:
        """Decide what an ended stream means: try again, or NodeRefusedError."""
        if code == grpc.StatusCode.UNAUTHENTICATED:
            self._tokens.drop()
            self._unauthenticated += 1
        if not greeted and (code in _FINAL or self._unauthenticated >= MAX_UNAUTHENTICATED):
            raise NodeRefusedError(code.name.lower(), f"The relay at {self._relay} refused this node: {details}")
        if not self._left.is_set():
            _log.warning("stream to %s ended: %s %s", self._relay, code.name, details)

    async def _sleep(self) -> None:
        """Back off, with jitter so that the nodes of a lost relay do not come back in step."""
        seconds = self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), seconds)

    def _on_frame(self, frame: RelayFrame) -> None:
        for settled in frame.settled:
            known = self._outbox.settled(settled.attempt_id)
            if known is not None and not settled.accepted:
                _log.info("an answer came too late and was refused: %s", settled.reason)
        for entry in frame.assign:
            if self._takes_work():
                self._work.assign(entry)
        for cancel in frame.cancel:
            self._work.cancel(cancel.attempt_id, cancel.grace_ms)
        if frame.HasField("drain"):
            self.drain(frame.drain.reason or "drained by the platform")
        if self._drain_reason is not None:
            self._leave_if_done()

    def _takes_work(self) -> bool:
        """Assignments that crossed with our drain are done; those after it go back to the queue when we leave."""
        return self._drain_reason is None or time.monotonic() < self._draining_since + LATE_ASSIGN_SECONDS

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._work.check_deadlines()
            if self._stream is not None:
                self._stream.check_silence()
            if self._drain_reason is not None:
                self._leave_if_done()

    def _leave_if_done(self) -> None:
        """Leave when nothing runs and every answer is settled, or nobody has taken the last answers for too long."""
        if not self._work.idle.is_set():
            self._idle_since = None
            return
        self._idle_since = self._idle_since or time.monotonic()
        waited = time.monotonic() - self._idle_since
        if self._outbox.unsettled and waited < LAST_ANSWERS_SECONDS:
            return
        if self._outbox.unsettled:
            _log.warning("left without a word on %d answers", len(self._outbox.unsettled))
        self._left.set()
        if self._stream is not None:
            self._stream.leave()
