"""What this machine takes for nothing: the cost of a trivial POST, of an fdatasync and of a wake-up.

Printed beside every published latency, because no figure of ours can be better. It measures the machine, never Waypost.
"""

import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.socketload import Connection

_ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Floor:
    """Medians and 99th percentiles in milliseconds."""

    post_p50_ms: float
    post_p99_ms: float
    fdatasync_p50_ms: float
    fdatasync_p99_ms: float


def measure(folder: Path, *, rounds: int = 400) -> Floor:
    """Measure both, sequentially; `folder` is on the disk that is to be judged."""
    post = _post_milliseconds(rounds)
    sync = _fdatasync_milliseconds(folder, rounds)
    return Floor(statistics.median(post), percentile(post, 99), statistics.median(sync), percentile(sync, 99))


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile (`share` in percent); NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def _fdatasync_milliseconds(folder: Path, rounds: int) -> list[float]:
    page = os.urandom(8192)
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(page * 64)
        os.fsync(file.fileno())
        for number in range(rounds):
            began = time.perf_counter()
            os.pwrite(file.fileno(), page, (number % 64) * 8192)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    return taken


def _post_milliseconds(rounds: int) -> list[float]:
    """A POST to an asyncio server in another process that answers at once: two wake-ups of the scheduler."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(_serve(write_end))
        finally:
            os._exit(0)
    try:
        port = int(os.read(read_end, 16))
        connection = Connection("127.0.0.1", port)
        request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            connection.exchange(request)
            taken.append((time.perf_counter() - began) * 1000)
        return taken
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)


class _Trivial(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(_ANSWER)  # type: ignore[attr-defined]


async def _serve(ready: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Trivial, "127.0.0.1", 0)
    os.write(ready, str(server.sockets[0].getsockname()[1]).encode())
    await server.serve_forever()
