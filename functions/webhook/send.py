"""One POST to an endpoint: bounded in time and size, TLS verified, answered with what came back.

Refuses: redirects, proxies of the environment, cookies, decompression, and to read more than is kept.
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from typing import NamedTuple

import httpcore

from functions.webhook.connection import Connections
from functions.webhook.network import CONNECT_SECONDS, AddressRefusedError, CheckedNetwork, NameNotResolvedError
from waypost.subscription.model import MAX_RESPONSE_BYTES, REQUEST_SECONDS, Response

MAX_HEADERS = 100
MAX_HEADER_CHARACTERS = 1_024
AGENT = "Waypost-Webhooks/1"


class Answered(NamedTuple):
    """`error` None: a 2xx. Without a status nothing was answered."""

    status: int | None
    error: str | None
    response: Response | None


class Sender:
    """All connections of one process to endpoints."""

    def __init__(self, network: CheckedNetwork, context: ssl.SSLContext | None = None) -> None:
        # httpcore's context: certifi's authorities, host names checked
        self._connections = Connections(network, context or httpcore.default_ssl_context())

    async def post(
        self, url: str, headers: Sequence[tuple[str, str]], body: bytes, seconds: float = REQUEST_SECONDS
    ) -> Answered:
        """Never raises what an endpoint may cause; `error` is a stable word."""
        lines = [("content-type", "application/json"), ("user-agent", AGENT), *headers]
        started: list[httpcore.Response] = []
        collected = _Body()
        try:
            async with asyncio.timeout(seconds):
                await self._exchange(httpcore.URL(url), lines, body, seconds, started, collected)
        except (TimeoutError, httpcore.TimeoutException):
            return _answered(started, collected) if started else Answered(None, "timed_out", None)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            return _answered(started, collected) if started else Answered(None, _word(error), None)
        return _answered(started, collected)

    async def _exchange(
        self,
        url: httpcore.URL,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        seconds: float,
        started: list[httpcore.Response],
        collected: "_Body",
    ) -> None:
        connection, used = await self._connections.take(url)
        try:
            await self._once(connection, url, headers, body, seconds, started, collected)
        except (httpcore.NetworkError, httpcore.RemoteProtocolError):
            if not used or started:
                raise
        else:
            return
        # It was closed at the other side just then, as idle ones are: no failure of the endpoint.
        connection, _ = await self._connections.take(url, fresh=True)
        await self._once(connection, url, headers, body, seconds, started, collected)

    async def _once(
        self,
        connection: httpcore.AsyncHTTPConnection,
        url: httpcore.URL,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        seconds: float,
        started: list[httpcore.Response],
        collected: "_Body",
    ) -> None:
        limits = {"connect": CONNECT_SECONDS, "read": seconds, "write": seconds}
        try:
            async with connection.stream(
                "POST", url, headers=headers, content=body, extensions={"timeout": limits}
            ) as response:
                started.append(response)
                async for piece in response.aiter_stream():
                    if collected.add(piece):
                        break  # what is not read ends with its connection
                collected.complete = not collected.truncated
        finally:
            await self._connections.give(url, connection)

    async def close(self) -> None:
        await self._connections.close()


class _Body:
    """The beginning of a body."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.truncated = False
        self.complete = False

    def add(self, piece: bytes) -> bool:
        """True when no more is wanted."""
        room = MAX_RESPONSE_BYTES - len(self.kept)
        self.kept += piece[:room]
        self.truncated = len(piece) > room
        return self.truncated


def _answered(started: Sequence[httpcore.Response], body: _Body) -> Answered:
    """An endpoint that has answered its status has answered, however its body ends."""
    response = started[0]
    headers = [
        (name.decode("latin-1")[:MAX_HEADER_CHARACTERS], value.decode("latin-1")[:MAX_HEADER_CHARACTERS])
        for name, value in response.headers[:MAX_HEADERS]
    ]
    kept = Response(headers, bytes(body.kept), not body.complete)
    status = response.status
    if 200 <= status < 300:
        return Answered(status, None, kept)
    return Answered(status, "redirected" if 300 <= status < 400 else "http_status", kept)


def _word(error: Exception) -> str:
    if isinstance(error, AddressRefusedError):
        return "address_refused"
    if isinstance(error, NameNotResolvedError):
        return "name_not_resolved"
    if isinstance(error, httpcore.ConnectError):
        return "tls_failed" if isinstance(error.__cause__ or error.__context__, ssl.SSLError) else "connect_failed"
    if isinstance(error, httpcore.ProtocolError | httpcore.UnsupportedProtocol):
        return "bad_answer"
    return "connection_lost"


def milliseconds_since(monotonic: float) -> int:
    """Whole milliseconds since an instant of `time.monotonic`."""
    return round((time.monotonic() - monotonic) * 1000)
