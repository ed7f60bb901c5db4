"""HTTP/1.1 on one loop: uvicorn's protocol (httptools), with bounds on slow heads and a short way for submissions.

Responsible for: closing connections whose head does not come or that idle, refusing heads over 64 KiB, our own words
for bytes that are no HTTP, and handing a plain submission that came whole to the edge without an ASGI application in
between. Refuses WebSockets and HTTP/2.

Why not a server with its own threads: each request then crosses from thread to loop and back. Measured on two cores
with 1/16/64/256 connections, everything else the same: Granian 592/3,064/5,128/6,041 submissions/s (16 futex calls and
4 wake-ups a request), this loop alone 872/4,049/6,468/8,776; Granian's RSGI interface was within 5 % of its ASGI.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway import exchange as exchanges
from gateway.exchange import Answer, Exchange
from gateway.problem import answer_for
from waypost.errors import Category, WaypostError

if TYPE_CHECKING:
    from gateway.edge import Edge

HEAD_SECONDS = 30.0  # for the head of a request, and how long an idle connection is kept
MAX_HEAD_BYTES = 64 << 10
MAX_DIRECT_BYTES = 256 << 10  # of a body that is kept before anybody was asked who sends it
BACKLOG = 4096  # connections that wait to be accepted


class Listener:
    """Takes connections until `stop`."""

    def __init__(self, application: "Edge") -> None:
        # asgi3 and without proxy headers: the application is called as it is.
        self._config = Config(
            application, interface="asgi3", http=Connection, ws="none", lifespan="off", log_config=None,
            access_log=False, proxy_headers=False, server_header=False, date_header=False,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen, with SO_REUSEPORT: several gateways share a port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._config, self._state, {}, loop), host, port, backlog=BACKLOG, reuse_port=True
        )

    def stop(self) -> None:
        """No new connections; idle ones close now, the others after their answer."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()

    async def closed(self) -> None:
        """Return when the last connection is closed."""
        while self._state.connections:  # noqa: ASYNC110 - uvicorn's own set, which tells nobody
            await asyncio.sleep(0.01)

    def abort(self) -> None:
        """Cut off what is left."""
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()


class _Direct:
    """A submission whose body is gathered here, in the place of uvicorn's cycle; it has what the protocol asks for."""

    __slots__ = ("body", "deadline", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = self.response_complete = False
        self.deadline: asyncio.TimerHandle | None = None
        self.message_event = _NOBODY_WAITS


class _NobodyWaits:
    def set(self) -> None:
        """Called when the connection is lost."""


_NOBODY_WAITS = _NobodyWaits()


class Connection(HttpToolsProtocol):
    """One connection."""

    cycle: Any  # uvicorn's, or a `_Direct`

    def __init__(self, config: Config, state: ServerState, app_state: dict[str, Any], loop: Any) -> None:
        super().__init__(config, state, app_state, loop)
        self._edge: Edge = config.loaded_app
        self._since: float | None = None  # when waiting for a head began; None while there is a request
        self._head_bytes = 0
        self._patience: asyncio.TimerHandle | None = None

    # --- bounds -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # a transport for both directions
        self._since = self.loop.time()
        self._wait(HEAD_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if type(self.cycle) is _Direct and self.cycle.deadline is not None:
            self.cycle.deadline.cancel()
        super().connection_lost(error)

    def _wait(self, seconds: float) -> None:
        self._patience = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """One timer a connection, armed anew when it fires: a timer a request costs more than all of this."""
        if self._since is None:
            self._wait(HEAD_SECONDS)
            return
        left = HEAD_SECONDS - (self.loop.time() - self._since)
        if left > 0:
            self._wait(left)
        elif not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._since is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._since is not None:
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse("head_too_large", f"The head of a request has at most {MAX_HEAD_BYTES} bytes.")
        elif type(self.cycle) is _Direct and self.cycle.more_body and self.cycle.deadline is None:
            self.cycle.deadline = self.loop.call_later(exchanges.BODY_SECONDS, self._too_slow, self.cycle)

    def send_400_response(self, msg: str) -> None:
        """In uvicorn's place: the same dialect as all other errors."""
        self._refuse("malformed_request", "This is no HTTP/1.1 request that can be read.")

    def _refuse(self, code: str, detail: str) -> None:
        one = Exchange.of("", "", b"", [], self._address())
        answer = answer_for(one, WaypostError(code, detail, Category.MALFORMED))
        self.transport.write(_bytes(one, answer, keep_alive=False))
        self.transport.close()

    def on_message_begin(self) -> None:
        self._since = self.loop.time()
        super().on_message_begin()

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer for each answer: `_look` ends idle connections."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._since = self.loop.time()
            self._head_bytes = 0

    # --- the short way ----------------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self._since = None
        if self._is_direct():
            self.cycle = _Direct(keep_alive=self.parser.should_keep_alive())
        else:
            super().on_headers_complete()

    def _is_direct(self) -> bool:
        """Whether this is a plain submission or webhook, on its own, of a size that may be gathered."""
        url = self.url
        if not (url.endswith(b"/jobs") or url.startswith(b"/hooks/")):
            return False
        if b"?" in url or b"%" in url or self.parser.get_method() != b"POST":
            return False
        if self.expect_100_continue or self.pipeline or self.flow.write_paused or not self._edge.takes(url):
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        length = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name in (b"transfer-encoding", b"upgrade"):
                return False
        return 0 < len(length) < 7 and int(length) <= MAX_DIRECT_BYTES

    def on_body(self, body: bytes) -> None:
        if type(self.cycle) is _Direct:
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if type(self.cycle) is not _Direct:
            super().on_message_complete()
        elif self.cycle.more_body:
            self.cycle.more_body = False
            self._begin(self.cycle, bytes(self.cycle.body))

    def _too_slow(self, cycle: _Direct) -> None:
        if cycle.more_body:
            cycle.more_body = False
            self._begin(cycle, None)

    def _begin(self, cycle: _Direct, body: bytes | None) -> None:
        if cycle.deadline is not None:
            cycle.deadline.cancel()
        task = self.loop.create_task(self._serve(cycle, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, cycle: _Direct, body: bytes | None) -> None:
        one = Exchange.of("POST", self.url.decode("latin-1"), b"", self.headers, self._address(), body)
        answer = await self._edge.direct(one)
        cycle.response_complete = True
        if cycle.disconnected:
            return
        keep_alive = cycle.keep_alive and (b"connection", b"close") not in answer.headers
        self.transport.write(_bytes(one, answer, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _address(self) -> str:
        return self.client[0] if self.client else ""


def _bytes(one: Exchange, answer: Answer, *, keep_alive: bool) -> bytes:
    """A whole answer as it goes out, in the form that uvicorn gives to others."""
    parts = [STATUS_LINE[answer.status]]
    for name, value in one.lines(answer.status, answer.kind, answer.headers, len(answer.body)):
        parts += (name, b": ", value, b"\r\n")
    if not keep_alive and (b"connection", b"close") not in answer.headers:
        parts.append(b"connection: close\r\n")
    parts += (b"\r\n", answer.body)
    return b"".join(parts)
