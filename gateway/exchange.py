"""One request and its answer, as every layer of the gateway sees them.

Responsible for: reading headers and the body within their limits, and writing an answer with the headers that every
answer carries. Refuses a body over the cap before it is read, and a client that sends too slowly.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from waypost.access.model import Principal, Scope
from waypost.clock import monotonic
from waypost.errors import Category, WaypostError
from waypost.ids import new_request_id

MAX_BODY_BYTES = 4 << 20  # native contract §1
MAX_DISCARDED_BYTES = 32 << 20  # of a body that is refused, so that its sender gets to read the refusal
DISCARD_SECONDS = 5.0
BODY_SECONDS = 30.0  # for the whole body: 4 MiB in it is 140 kB/s
LEAST_BYTES_PER_SECOND = 100_000  # of a body that is streamed, after BODY_SECONDS

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
_Lines = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class ClientGone(Exception):  # noqa: N818 - nobody is there to be told of an error
    """The client closed its connection before the request was complete."""


class Answer:
    """What goes back: a status, a whole body, headers beyond the common ones. An ASGI application, for Litestar."""

    __slots__ = ("body", "headers", "kind", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Headers = (), kind: bytes = b"application/json"
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.kind = kind

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        await exchange_of(scope).send(self, send)


class Exchange:
    """A request in progress. `principal` is set once it is known; `extra` headers go out with whatever is answered."""

    __slots__ = (
        "_body", "_ended", "_receive", "address", "extra", "headers", "method", "name", "path", "principal", "query",
        "request_id", "scope", "started", "status", "traceparent",
    )  # fmt: skip

    def __init__(self, scope: Any, receive: Receive) -> None:
        self._receive = receive
        self._body: bytes | None = None
        self._ended = False  # its last piece was received
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        client = scope.get("client")
        self.address: str = client[0] if client else ""
        self.principal: Principal | None = None
        self.scope: Scope | None = None  # what it is about, once the caller may know that it is there
        self.extra: list[tuple[bytes, bytes]] = []
        self.name = "unknown"  # of the endpoint, for what is counted
        self.started = False
        self.status = 0
        given = self.header(b"x-request-id")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else new_request_id()
        trace = self.header(b"traceparent")
        self.traceparent = trace if trace and _TRACEPARENT.fullmatch(trace) else None

    @classmethod
    def of(
        cls, method: str, path: str, query: bytes, headers: Headers, address: str, body: bytes | None = None
    ) -> "Exchange":
        """A request that is here already. `body` None is one that did not come in time."""
        scope = {"method": method, "path": path, "query_string": query, "headers": headers, "client": (address, 0)}
        one = cls(scope, _late)
        one._body = body
        return one

    def header(self, name: bytes) -> str | None:
        """A request header's value by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def refuse_oversize(self, cap: int = MAX_BODY_BYTES) -> None:
        """Raises 413 when the announced length is over the cap: nothing of the body has been read then."""
        length = self.headers.get(b"content-length")
        if length is not None and (len(length) > 18 or int(length) > cap):
            raise _too_large(cap)

    async def body(self, cap: int = MAX_BODY_BYTES) -> bytes:
        """The whole body, of at most `cap` bytes; asked again, the same one.

        Raises 413 over the cap, 408 when it does not come in time, ClientGone when it never will.
        """
        if self._body is not None:
            return self._body
        deadline = _Deadline()
        try:
            self._body = await self._read(cap)
        except asyncio.CancelledError:
            if not deadline.passed:
                raise
            raise _too_slow() from None
        finally:
            deadline.cancel()
        return self._body

    async def _read(self, cap: int) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > cap:
                raise _too_large(cap)
            return body
        pieces, size = [message.get("body", b"")], len(message.get("body", b""))
        while message.get("more_body"):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self._ended = not message.get("more_body")
            piece = message.get("body", b"")
            size += len(piece)
            if size > cap:
                raise _too_large(cap)
            pieces.append(piece)
        return b"".join(pieces)

    async def pieces(self, cap: int) -> AsyncIterator[bytes]:
        """The body as it comes, of at most `cap` bytes; asked once, and not after `body`.

        Raises 413 over the cap, 408 when it comes too slowly, ClientGone when the rest never will.
        """
        began, size, more = monotonic(), 0, True
        while more:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise _too_slow() from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece, more = message.get("body", b""), message.get("more_body", False)
            self._ended = not more
            size += len(piece)
            if size > cap:
                raise _too_large(cap)
            if monotonic() - began > BODY_SECONDS + size / LEAST_BYTES_PER_SECOND:
                raise _too_slow()
            if piece:
                yield piece

    async def disconnected(self) -> None:
        """Return when the client has closed its connection. The body must have been read, or there is none."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, answer: Answer, send: Send) -> None:
        """Write the whole answer."""
        await self.start(answer.status, answer.kind, answer.headers, send, len(answer.body))
        await send({"type": "http.response.body", "body": answer.body})

    async def send_early(self, answer: Answer, send: Send) -> None:
        """Write the whole answer while the body still comes, then throw away some of it.

        Most clients read only when they have sent everything; closing at once would show them a reset instead. No
        length is announced: an answer that is complete ends the connection, whatever is still on its way.
        """
        await self.start(answer.status, answer.kind, answer.headers, send, None)
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        left = MAX_DISCARDED_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while left > 0 and not self._ended:
                    message = await self._receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        break
                    left -= len(message.get("body", b""))
        await send({"type": "http.response.body", "body": b""})

    async def start(
        self, status: int, kind: bytes, headers: Iterable[tuple[bytes, bytes]], send: Send, length: int | None
    ) -> None:
        """Write status and headers; the body follows in pieces when `length` is None."""
        lines = self.lines(status, kind, headers, length)
        await send({"type": "http.response.start", "status": status, "headers": lines})

    def lines(self, status: int, kind: bytes, headers: Iterable[tuple[bytes, bytes]], length: int | None) -> _Lines:
        """The header lines of an answer that goes out now; without a length when it is None or there is no body."""
        lines = [(b"x-request-id", self.request_id.encode()), *self.extra, *headers]
        if status != 204:
            lines.append((b"content-type", kind))
            if length is not None:
                lines.append((b"content-length", b"%d" % length))
        self.started, self.status = True, status
        return lines


async def _late() -> Any:
    raise _too_slow()


class _Deadline:
    """Cancels the current task after BODY_SECONDS; a third of what `asyncio.timeout` costs on every request."""

    __slots__ = ("_handle", "_task", "passed")

    def __init__(self) -> None:
        self.passed = False
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(BODY_SECONDS, self._pass)

    def _pass(self) -> None:
        self.passed = True
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        self._handle.cancel()
        if self.passed and self._task is not None:
            self._task.uncancel()


def exchange_of(scope: Any) -> Exchange:
    """The exchange that the edge put into an ASGI scope."""
    exchange: Exchange = scope["waypost"]
    return exchange


def _too_slow() -> WaypostError:
    return WaypostError(
        "request_timeout",
        f"The body did not arrive within {BODY_SECONDS:.0f} s; send it faster or in smaller requests.",
        Category.SLOW,
        retryable=True,
    )


def _too_large(cap: int) -> WaypostError:
    return WaypostError(
        "payload_too_large",
        f"A request body has at most {cap} bytes. Upload larger data as an artifact and name it.",
        Category.TOO_LARGE,
        extra={"limit_bytes": cap},
    )
