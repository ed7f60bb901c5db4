"""The internal listener of a process: /metrics, /healthz, /readyz on 127.0.0.1.

A few lines of HTTP/1.1 on asyncio, so that relay and worker need no HTTP framework. It is not for the public: GET only,
one request a connection, 8 KiB of head, 5 s to send it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from waypost.telemetry import metric

Readiness = Callable[[], Awaitable[dict[str, str]]]

OK = "ok"
_HEAD_LIMIT = 8 << 10
_TIMEOUT_SECONDS = 5
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


async def serve_internal(port: int, readiness: Readiness) -> tuple[asyncio.Server, int]:
    """Listen on 127.0.0.1:`port` (0: any free one); answers the server and the port it has.

    `readiness` names each dependency with `"ok"` or with what is wrong; /readyz is 200 when all are ok, else 503.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await _answer(head, readiness)
                writer.write(_response(status, kind, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError):
            pass  # whoever asks badly or leaves gets nothing
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, limit=_HEAD_LIMIT)
    return server, int(server.sockets[0].getsockname()[1])


async def _answer(head: bytes, readiness: Readiness) -> tuple[int, str, bytes]:
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3:
        return 400, "text/plain", b"bad request\n"
    if words[0] != b"GET":
        return 405, "text/plain", b"only GET\n"
    match words[1].split(b"?", 1)[0]:
        case b"/healthz":
            return 200, "application/json", b'{"status": "alive"}\n'
        case b"/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", metric.exposition()
        case b"/readyz":
            return await _ready(readiness)
    return 404, "text/plain", b"not found\n"


async def _ready(readiness: Readiness) -> tuple[int, str, bytes]:
    states = await readiness()
    ready = all(state == OK for state in states.values())
    body = {"status": "ready" if ready else "not_ready", "dependencies": states}
    return (200 if ready else 503), "application/json", json.dumps(body).encode() + b"\n"


def _response(status: int, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
