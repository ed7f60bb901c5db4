"""Our own load generator: raw sockets with keep-alive and prebuilt requests, in several processes.

Used for lone requests (idle latency) and, where `wrk` is not installed, for load. A Python process manages some
thousand requests a second, so its own CPU share is part of every result; nothing of Waypost is imported here.
"""

import json
import multiprocessing
import resource
import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.bench.plan import Outcome, Plan


class Connection:
    """One blocking keep-alive connection; `exchange` sends bytes and answers (status, body)."""

    def __init__(self, host: str, port: int, timeout_seconds: float = 30.0) -> None:
        self._socket = socket.create_connection((host, port), timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        self._socket.sendall(request)
        data = self._rest
        while (answer := parse(data)) is None:
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        status, body, end = answer
        self._rest = data[end:]
        return status, body

    def close(self) -> None:
        self._socket.close()


def parse(data: bytes) -> tuple[int, bytes, int] | None:
    """(status, body, bytes used) of the first answer in `data`, or None while it is incomplete."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    headers = data[:head].lower()
    at = headers.find(b"content-length:")
    length = int(headers[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    end = head + 4 + length
    if len(data) < end:
        return None
    return int(data[9:12]), data[head + 4 : end], end


def post(path: str, host: str, token: str, body: bytes, key: str | None = None) -> bytes:
    """The bytes of one POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    )
    if key is not None:
        head += f"idempotency-key: {key}\r\n"
    return (head + f"content-length: {len(body)}\r\n\r\n").encode() + body


# --- load ------------------------------------------------------------------------------------------------------------


@dataclass
class _Line:
    """One connection of the load: what it waits for and since when."""

    socket: socket.socket
    began: float = 0.0
    data: bytes = b""
    busy: bool = False


@dataclass
class _Tally:
    taken: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: int = 0


def run(plan: Plan, *, processes: int = 2) -> Outcome:
    """Carry the plan out from several processes; closed loop without a rate, open loop with one."""
    began_cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.map(_share, [(plan, index, processes) for index in range(processes)], chunksize=1)
        pool.close()
        pool.join()
    ended_cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = ended_cpu.ru_utime + ended_cpu.ru_stime - began_cpu.ru_utime - began_cpu.ru_stime
    taken = sorted(value for part in parts for value in part["taken"])
    refused = Counter({int(status): count for part in parts for status, count in part["statuses"].items()})
    refused.pop(202, None)
    seconds = max(part["seconds"] for part in parts)
    return Outcome.of(
        taken,
        seconds=seconds,
        cpu_seconds=cpu,
        refused=sum(refused.values()),
        failures=sum(part["failures"] for part in parts),
        generator=f"sockets × {processes}",
    )


def _share(work: tuple[Plan, int, int]) -> dict[str, object]:
    plan, index, processes = work
    tally = _Tally()
    began = time.perf_counter()
    _drive(plan, index, processes, tally)
    return {
        "taken": tally.taken,
        "statuses": {str(key): value for key, value in tally.statuses.items()},
        "failures": tally.failures,
        "seconds": time.perf_counter() - began,
    }


def _drive(plan: Plan, index: int, processes: int, tally: _Tally) -> None:
    """The loop of one process: send where a line is free and a request is due, read what comes."""
    selector = selectors.DefaultSelector()
    free: list[_Line] = []
    for _ in range(max(1, plan.connections // processes)):
        line = _Line(socket.create_connection((plan.host, plan.port)))
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(line.socket, selectors.EVENT_READ, line)
        free.append(line)
    interval = processes / plan.rate if plan.rate else 0.0
    start = time.perf_counter()
    end = start + plan.seconds
    sent, busy = 0, 0
    idle_until = start  # up to here a line was free, so lateness is our timer's, not the server's
    while True:
        now = time.perf_counter()
        while free and now < end and (interval == 0.0 or start + sent * interval <= now):
            due = start + sent * interval if interval else now
            due = now if due >= idle_until else due
            line = free.pop()
            line.began, line.busy = due, True
            line.socket.sendall(plan.request(f"{index}-{sent}", late_seconds=now - due))
            sent += 1
            busy += 1
            now = time.perf_counter()
        if now >= end and busy == 0:
            return
        if now >= end + 15:
            tally.failures += busy
            return
        wait = min(0.05, max(0.0, start + sent * interval - now)) if interval and free else 0.05
        idle_until = now if free else float("inf")
        for key, _ in selector.select(wait):
            busy -= _receive(key.data, free, tally, selector)


def _receive(line: _Line, free: list[_Line], tally: _Tally, selector: selectors.BaseSelector) -> int:
    """Read what is there; 1 when the line's request is done."""
    more = line.socket.recv(65536)
    if not more:
        selector.unregister(line.socket)
        tally.failures += line.busy
        return int(line.busy)
    line.data += more
    answer = parse(line.data)
    if answer is None:
        return 0
    status, _, end = answer
    line.data, line.busy = line.data[end:], False
    tally.statuses[status] += 1
    tally.taken.append((time.perf_counter() - line.began) * 1000)
    free.append(line)
    return 1


def as_json(outcome: Outcome) -> str:
    return json.dumps(outcome.figures())
