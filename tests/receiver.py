"""A receiver of webhooks that does what a test wants: answers, hangs, streams for ever, breaks off."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
from standardwebhooks import Webhook


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)

    def verify(self, secret: str) -> None:
        """Raises WebhookVerificationError unless this secret signed it; by the library that receivers use."""
        Webhook(secret).verify(self.body, self.headers)


Answer = bytes  # the whole answer, status line to body
Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[bool]]  # True: the connection stays open


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> Behaviour:
    """Answers like this; header names with `_` for `-`."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body)}\r\n\r\n".encode()

    async def behave(_: Received, writer: asyncio.StreamWriter) -> bool:
        writer.write(head + body)
        await writer.drain()
        return True

    return behave


async def hang(_: Received, writer: asyncio.StreamWriter) -> bool:
    """Says nothing, for ever."""
    await asyncio.Event().wait()
    return False


async def break_off(_: Received, writer: asyncio.StreamWriter) -> bool:
    """Closes the connection without an answer."""
    return False


async def babble(_: Received, writer: asyncio.StreamWriter) -> bool:
    """Is no HTTP server."""
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await writer.drain()
    return False


async def stream_for_ever(_: Received, writer: asyncio.StreamWriter) -> bool:
    """200, and a body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
    return False


@dataclass
class Receiver:
    """`async with Receiver() as receiver:`; `behave` may be changed at any time."""

    behave: Behaviour = field(default_factory=answer)
    requests: list[Received] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    port: int = 0
    connections: int = 0

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        self._changed = asyncio.Condition()
        self._open: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def until(self, count: int, seconds: float = 60) -> list[Received]:
        """The requests once there are so many."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        received = Received(head[0].split()[1], headers, body)
        async with self._changed:
            self.requests.append(received)
            self._changed.notify_all()
        return await self.behave(received, writer)
