"""One stream of one node: its outbox, and how it is ended from our side.

gRPC refuses a second status, so whoever closes first decides it. Ending a stream never waits for the node: a node that
does not read would never take the status either.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc
import structlog

from relay.outbox import Outbox

FLUSH_SECONDS = 1.0

_log = structlog.get_logger("relay.stream")


class Context(Protocol):
    """What is used of grpc.aio.ServicerContext."""

    def read(self) -> Awaitable[Any]: ...
    def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> Awaitable[None]: ...
    def write(self, message: bytes) -> Awaitable[None]: ...
    def abort(self, code: grpc.StatusCode, details: str) -> Awaitable[None]: ...


class Stream:
    """`closed_because` is empty while the stream is open, else our reason for ending it."""

    __slots__ = ("_closing", "closed_because", "context", "on_close", "outbox")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.outbox = Outbox(context.write)
        self.closed_because = ""
        self.on_close: Callable[[], None] | None = (
            None  # the node is gone from the fleet even if it never takes the status
        )
        self._closing: asyncio.Task[None] | None = None

    def close(self, code: grpc.StatusCode, message: str, *, flush: bool = False) -> None:
        """End the stream with this status, after what is pending when `flush`. Later calls change nothing."""
        if self._closing is None:
            self.closed_because = message
            self._closing = asyncio.create_task(self._end(code, message, flush))

    async def _end(self, code: grpc.StatusCode, message: str, flush: bool) -> None:
        if flush:
            await asyncio.wait([asyncio.create_task(self.outbox.flushed())], timeout=FLUSH_SECONDS)
        if self.on_close is not None:
            self.on_close()
            self.on_close = None
        self.outbox.close()
        try:
            await self.context.abort(code, message)
        except Exception as error:  # noqa: BLE001 - abort ends by raising, and what it raises is private to grpc
            _log.debug("stream.closed", error=repr(error))
