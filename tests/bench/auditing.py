"""What the audit adds to a write: API keys made through two gateways on the same servers, one of which writes no entry.

The two take turns of a second each, in the order A B B A, so that neighbours and caches weigh on both alike; the ratio
is of the medians of the turns.
"""

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil

from tests.bench.context import Bench
from tests.bench.fleet import wait_until
from tests.bench.report import Row
from tests.bench.socketload import Connection, post

TARGET = 1.05  # time of a write with its entry, against one without
TURN_SECONDS = 1.0


def cost(bench: Bench) -> None:
    """Keys a second, alone and eight at once."""
    bench.stack.query(
        "update control.organization set limits = limits || '{\"environment_keys\": 1000000}' returning id"
    )
    with _gateway(bench, "gateway") as audited, _gateway(bench, "tests.bench.unaudited") as bare:
        for connections in (1, 8):
            with_entry, without = _turns(bench, audited, bare, connections, turns=int(bench.seconds(12, 4)))
            ratio = without / with_entry
            bench.rows.append(
                Row(
                    "audit",
                    f"a key made with its audit entry, against without, {connections} at once",
                    f"{ratio:.3f}×",
                    {"ratio": ratio, "per_second": with_entry, "per_second_without": without},
                    target=f"≤ {TARGET:.2f}×",
                    met=ratio <= TARGET,
                    note=f"{with_entry:,.0f} and {without:,.0f} keys/s",
                )
            )


@contextlib.contextmanager
def _gateway(bench: Bench, module: str) -> Iterator[int]:
    """A gateway of that module with the settings of the platform's own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = psutil.Process(bench.stack.pids()["gateway-1"]).environ()
    environment |= {"WAYPOST_HTTP_PORT": str(port), "WAYPOST_PROCESS_NAME": f"bench-{module[:7]}"}
    environment.pop("WAYPOST_READY_FD", None)
    process = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-P", "-m", module],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: _answers(port), f"the gateway {module}")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        connection = Connection("127.0.0.1", port)
        status, _ = connection.exchange(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.close()
        return status == 200
    return False


def _turns(bench: Bench, audited: int, bare: int, connections: int, *, turns: int) -> tuple[float, float]:
    """Keys a second with and without the entry: medians over the turns."""
    rates: dict[int, list[float]] = {audited: [], bare: []}
    for port in (audited, bare):
        _turn(bench, port, connections, 0.5)  # connections, plans
    for number in range(turns):
        for port in (audited, bare) if number % 2 == 0 else (bare, audited):
            rates[port].append(_turn(bench, port, connections, TURN_SECONDS))
    return statistics.median(rates[audited]), statistics.median(rates[bare])


def _turn(bench: Bench, port: int, connections: int, seconds: float) -> float:
    """Keys a second of one gateway, in an environment that has few: making one counts them, for the quota."""
    bench.stack.query("delete from control.api_key where name = 'bench' returning id")
    token = bench.stack.about["admin_key"]
    request = post(f"{bench.place.path}/keys", "127.0.0.1", token, json.dumps({"name": "bench"}).encode())
    made: list[int] = []
    end = time.perf_counter() + seconds

    def drive() -> None:
        line, count = Connection("127.0.0.1", port), 0
        while time.perf_counter() < end:
            status, body = line.exchange(request)
            if status != 201:
                raise RuntimeError(f"making a key answered {status}: {body[:200]!r}")
            count += 1
        line.close()
        made.append(count)

    threads = [threading.Thread(target=drive) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(made) < connections:
        raise RuntimeError("not every key was made")
    return sum(made) / seconds
