"""The measuring tools themselves: a generator that flatters is worse than none."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bench import socketload, wrk
from tests.bench.floor import percentile
from tests.bench.meter import Meter, tree
from tests.bench.plan import Outcome, Plan
from tests.bench.report import Row, markdown, write_json

_STALL_SECONDS = 0.5


class Server:
    """Answers every POST with 202 and notes how late it came; stalls once, for half a second, after `stall_after`."""

    def __init__(self, stall_after: int | None = None) -> None:
        self.late_ms: list[float] = []
        self.keys: list[bytes] = []
        self.bodies: list[bytes] = []
        self._stall_after = stall_after
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with connection:
            while True:
                try:
                    more = connection.recv(65536)
                except OSError:
                    return
                if not more:
                    return
                data += more
                while (found := _request(data)) is not None:
                    key, body, end = found
                    data = data[end:]
                    self._note(key, body)
                    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")

    def _note(self, key: bytes, body: bytes) -> None:
        with self._lock:  # a stall holds everybody up, as a busy database does
            self.keys.append(key)
            self.bodies.append(body)
            if len(self.keys) == self._stall_after:
                time.sleep(_STALL_SECONDS)
            at = int(re.search(rb'"at":(\d+)', body)[1])  # type: ignore[index]
            self.late_ms.append((time.time_ns() - at) / 1e6)


def _request(data: bytes) -> tuple[bytes, bytes, int] | None:
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = int(re.search(rb"(?i)content-length: (\d+)", data)[1])  # type: ignore[index]
    if len(data) < head + 4 + length:
        return None
    key = re.search(rb"(?i)idempotency-key: (\S+)", data)[1]  # type: ignore[index]
    return key, data[head + 4 : head + 4 + length], head + 4 + length


def _plan(server: Server, **changed: object) -> Plan:
    known = {
        "host": "127.0.0.1",
        "port": server.port,
        "token": "wpe_x",
        "paths": ("/a", "/b"),
        "specs": ('{"function":"f"', '{"function":"g","tags":["x=\\"y\\""]'),
        "connections": 4,
        "seconds": 2,
        "prefix": "p",
    }
    return Plan(**(known | changed))  # type: ignore[arg-type]


_GENERATORS = [
    pytest.param(wrk.run, id="wrk", marks=pytest.mark.skipif(not wrk.available(), reason="wrk is not installed here")),
    pytest.param(socketload.run, id="sockets"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize("generate", _GENERATORS)
def test_a_rate_is_kept_and_every_key_is_another(generate: Callable[[Plan], Outcome], server: Server) -> None:
    """An open loop sends as many as it was told, each valid JSON with a key that no other request has."""
    outcome = generate(_plan(server, rate=200.0, seconds=6))
    assert outcome.refused == outcome.failures == 0
    assert 1_020 <= outcome.requests <= 1_260
    assert len(set(server.keys)) == len(server.keys)
    functions = {json.loads(body)["function"] for body in server.bodies}
    assert functions == {"f", "g"}


@pytest.mark.parametrize("generate", _GENERATORS)
def test_a_stall_is_charged_to_everybody_who_had_to_wait(generate: Callable[[Plan], Outcome]) -> None:
    """Nothing is omitted: after a stall of 0.5 s at 200/s, about a hundred requests count from when they were due."""
    server = Server(stall_after=150)
    generate(_plan(server, rate=200.0, seconds=6))
    server.close()
    waited = [late for late in server.late_ms if late > 50]
    assert len(waited) > 60
    assert percentile(server.late_ms, 50) < 20


@pytest.mark.parametrize("generate", _GENERATORS)
def test_a_bulk_request_holds_as_many_jobs_each_with_a_key(generate: Callable[[Plan], Outcome], server: Server) -> None:
    """A bulk body is valid JSON with that many jobs and no key twice."""
    generate(_plan(server, bulk=20, item_keys=True, seconds=1))
    jobs = json.loads(server.bodies[0])["jobs"]
    assert len({job["idempotency_key"] for job in jobs}) == len(jobs) == 20


def test_the_meter_counts_what_a_child_burns() -> None:
    """The CPU time of a descendant is its root's, during its life and after it."""
    import subprocess
    import sys

    burn = "import subprocess,sys; subprocess.run([sys.executable,'-c','x=0\\nfor i in range(6_000_000): x+=i'])"
    with subprocess.Popen([sys.executable, "-c", burn + "; input()"], stdin=subprocess.PIPE) as process:  # noqa: S603
        with Meter({"burner": [process.pid], "nobody": []}) as meter:
            deadline = time.monotonic() + 20
            while len(tree(process.pid)) < 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            while len(tree(process.pid)) > 1 and time.monotonic() < deadline:
                time.sleep(0.01)
        process.communicate(b"\n")
    assert meter.used["burner"] > 0.05
    assert meter.used["nobody"] == 0


def test_a_report_reads_the_same_in_every_form(tmp_path: Path) -> None:
    """Markdown holds every row with its verdict; the JSON file holds the numbers behind it."""
    rows = [Row("s", "a | b", "1/s", {"per_second": 1.0}, target="≥ 2/s", met=False, cpu={"x": 0.5, "y": 0.004})]
    assert markdown(rows).splitlines()[2] == "| a \\| b | 1/s | ✗ ≥ 2/s | x 50 |  |"
    write_json(tmp_path / "r.json", rows, quick=True)
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept["rows"][0]["figures"] == {"per_second": 1.0}
    assert kept["about"]["quick"] is True
