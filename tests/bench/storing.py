"""Uploading artifacts: one stream as fast as it goes, and eight at once while the gateway's memory is watched.

Beside the rate stand what the object store alone takes for the same bytes, and what SHA-256 alone takes.
"""

import hashlib
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.bench.context import Bench
from tests.bench.meter import Meter, private_bytes
from tests.bench.report import Row

SIZE = 64 << 20  # the most that one request may carry
MEGABYTE = 1_000_000
TARGET_RATE = 150  # MB/s of one stream
TARGET_MEMORY = 40  # MB over idle
AT_ONCE = 8
LOOK_SECONDS = 0.02


def artifacts(bench: Bench) -> None:
    """The rate of one stream, then the memory of eight."""
    noise = os.urandom(SIZE)
    _upload(bench, noise, 0)  # connections, plans, the object store's client
    _rate(bench, noise)
    _memory(bench, noise)


def _rate(bench: Bench, noise: bytes) -> None:
    """Turns of an upload and of the same bytes straight into the object store, so that neighbours weigh on both."""
    rounds, taken, alone = int(bench.seconds(8, 3)), [], []
    used: dict[str, float] = {}
    for number in range(1, rounds + 1):
        with Meter(bench.stack.groups()) as meter:
            taken.append(_upload(bench, noise, number))
        for kind, seconds in meter.used.items():
            used[kind] = used.get(kind, 0.0) + seconds
        with Meter(bench.stack.groups()) as direct:
            alone.append(_put(bench, noise, number))
        used["objects alone"] = used.get("objects alone", 0.0) + direct.used["objects"]
    rate, floor = SIZE / statistics.median(taken) / MEGABYTE, SIZE / statistics.median(alone) / MEGABYTE
    cost = {kind: seconds / (rounds * SIZE / MEGABYTE) * 1000 for kind, seconds in used.items()}
    bench.rows.append(
        Row(
            "artifacts",
            "upload of 64 MiB, one stream",
            f"{rate:,.0f} MB/s",
            {
                "megabytes_per_second": rate,
                "best_megabytes_per_second": SIZE / min(taken) / MEGABYTE,
                "object_store_alone": floor,
                "sha256_alone": _hash_rate(noise),
                **{f"{kind.replace(' ', '_')}_ms_per_megabyte": spent for kind, spent in cost.items()},
            },
            target=f"≥ {TARGET_RATE} MB/s",
            met=rate >= TARGET_RATE,
            cpu={kind: seconds / sum(taken) for kind, seconds in used.items() if kind in meter.used},
            note=f"best {SIZE / min(taken) / MEGABYTE:,.0f}; straight into the object store {floor:,.0f} MB/s. "
            f"CPU a MB: gateway {cost['gateway']:.1f} ms, object store {cost['objects']:.1f} "
            f"(alone {cost['objects alone']:.1f}) ms",
        )
    )


def _memory(bench: Bench, noise: bytes) -> None:
    pids = bench.stack.groups()["gateway"]
    idle = private_bytes(pids)
    with _watched(pids) as seen:
        began = time.perf_counter()
        threads = [threading.Thread(target=_upload, args=(bench, noise, 100 + number)) for number in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
    over = (max(seen) - idle) / MEGABYTE
    bench.rows.append(
        Row(
            "artifacts",
            f"gateway's memory over idle, {AT_ONCE} uploads of 64 MiB at once",
            f"{over:.1f} MB",
            {
                "over_idle_megabytes": over,
                "idle_megabytes": idle / MEGABYTE,
                "megabytes_per_second": AT_ONCE * SIZE / seconds / MEGABYTE,
            },
            target=f"≤ {TARGET_MEMORY} MB",
            met=over <= TARGET_MEMORY,
            note=f"private memory, {len(seen)} looks; {AT_ONCE * SIZE / seconds / MEGABYTE:,.0f} MB/s together",
        )
    )


@contextmanager
def _watched(pids: list[int]) -> Iterator[list[int]]:
    """Private bytes of processes, looked at all the time."""
    seen, over = [private_bytes(pids)], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.append(private_bytes(pids))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _upload(bench: Bench, noise: bytes, number: int) -> float:
    """Seconds of one upload of content that nobody has seen, from the first byte to the answer."""
    mark = f"{os.getpid()}-{number}-{time.time_ns()}".encode().ljust(64)
    before = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + mark
    after = b"\r\n--x--\r\n"
    length = len(before) + SIZE - len(mark) + len(after)
    head = (
        f"POST {bench.place.path}/artifacts HTTP/1.1\r\nhost: {bench.stack.host}\r\n"
        f"authorization: Bearer {bench.place.key}\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()
    return _sent(bench.stack.host, bench.stack.port, [head, before, memoryview(noise)[len(mark) :], after], 201)


def _put(bench: Bench, noise: bytes, number: int) -> float:
    """Seconds of the same bytes put by one presigned request, without the gateway; the part is thrown away."""
    body = {"size_bytes": SIZE, "sha256": hashlib.sha256(f"{number}-{time.time_ns()}".encode()).hexdigest()}
    made = bench.stack.http.post(f"{bench.place.path}/artifacts", json=body).json()
    one = f"{bench.place.path}/artifacts/{made['id']}"
    addresses = bench.stack.http.post(f"{one}/parts", json={"numbers": [1]}).json()["parts"]
    url = urlsplit(addresses[0]["url"])
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-length: {SIZE}\r\n\r\n".encode()
    seconds = _sent(str(url.hostname), int(url.port or 80), [head, memoryview(noise)], 200)
    bench.stack.http.delete(one)
    return seconds


def _sent(host: str, port: int, pieces: list[bytes | memoryview], wanted: int) -> float:
    with socket.create_connection((host, port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for piece in pieces:
            line.sendall(piece)
        answer = line.recv(65_536)
        seconds = time.perf_counter() - began
    status = int(answer.split(b" ", 2)[1])
    if status != wanted:
        raise RuntimeError(f"an upload was answered {status}: {answer[:500]!r}")
    return seconds


def _hash_rate(noise: bytes) -> float:
    began = time.perf_counter()
    hashlib.sha256(noise).digest()
    return SIZE / (time.perf_counter() - began) / MEGABYTE
