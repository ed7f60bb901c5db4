"""Webhooks out: jobs end, and their events are delivered to a receiver on this machine that fails one time in ten.

The whole way is measured: the jobs expire, the fan-out follows the ledger, workers claim, sign, send and record.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench.context import Bench
from tests.bench.fleet import wait_until
from tests.bench.meter import Meter
from tests.bench.report import Row, milliseconds

TARGET = 500  # deliveries a second
BULK = 1_000


def deliveries(bench: Bench) -> None:
    """How late a lone delivery is; attempts a second to one endpoint and to ten, and the CPU time of one."""
    with _receiver() as (port, pid):
        _alone(bench, port)
        for endpoints, jobs in ((1, 4), (10, 1)):
            _measure(bench, port, pid, endpoints, jobs if bench.quick else 2 * jobs)


def _alone(bench: Bench, port: int) -> None:
    path, count = bench.place.path, 40 if bench.quick else 200
    body = {"url": f"http://127.0.0.1:{port}/alone", "events": ["job.canceled"]}
    subscription = bench.stack.call("POST", f"{path}/subscriptions", body)["id"]
    for _ in range(count):
        job = bench.stack.call("POST", f"{path}/jobs", {"function": "bench.canceled"}, key=bench.place.key)["id"]
        bench.stack.call("POST", f"{path}/jobs/{job}/cancel", {}, key=bench.place.key)
        time.sleep(0.05)  # one after the other, at no beat of the worker's
    wait_until(lambda: _first_attempts(bench, [subscription])["n"] >= count, "deliveries", 60, pause_seconds=0.1)
    (row,) = bench.stack.query(
        """
        select percentile_disc(array[0.5, 0.99]) within group (
            order by extract(epoch from a.started_at - e.finished_at)::float8 * 1000
        ) as ms
        from control.delivery_attempt a
        join control.delivery d on d.subscription_id = a.subscription_id and d.id = a.delivery_id
        join control.job_end e on e.job_id = d.event_id
        where a.subscription_id = $1 and a.number = 1
        """,
        subscription,
    )
    p50, p99 = row["ms"]
    bench.rows.append(
        Row(
            "deliveries",
            "end of a job → sent, one at a time",
            milliseconds(p50=p50, p99=p99),
            {"p50_ms": p50, "p99_ms": p99},
        )
    )
    bench.stack.call("DELETE", f"{path}/subscriptions/{subscription}")


def _measure(bench: Bench, port: int, pid: int, endpoints: int, thousands: int) -> None:
    path = bench.place.path
    made = [
        bench.stack.call(
            "POST", f"{path}/subscriptions", {"url": f"http://127.0.0.1:{port}/{number}", "events": ["job.expired"]}
        )["id"]
        for number in range(endpoints)
    ]
    jobs = [{"function": "bench.expired", "expires_in_seconds": 1}] * BULK
    wanted = endpoints * thousands * BULK
    with Meter({**bench.stack.groups(), "receiver": [pid]}) as meter:
        for _ in range(thousands):
            bench.stack.call("POST", f"{path}/jobs/bulk", {"jobs": jobs}, key=bench.place.key)
        wait_until(lambda: _first_attempts(bench, made)["n"] >= wanted, "deliveries", 180, pause_seconds=0.2)
    found = _first_attempts(bench, made)
    rate = found["n"] / found["seconds"]
    cpu_ms = {name: used / found["n"] * 1000 for name, used in meter.used.items()}
    ours = sum(cpu_ms.get(name, 0.0) for name in ("worker", "postgres"))
    bench.rows.append(
        Row(
            "deliveries",
            f"deliveries to {endpoints} endpoint{'s' * (endpoints > 1)}, one attempt in ten failing",
            f"{rate:,.0f}/s",
            {
                "per_second": rate,
                "attempts": found["n"],
                "failed": found["failed"],
                "p50_ms": found["p50"],
                **{f"{name}_cpu_ms": value for name, value in cpu_ms.items()},
            },
            target=f"≥ {TARGET}/s",
            met=rate >= TARGET,
            cpu=meter.share,
            note=f"{ours:.2f} ms of CPU each in worker and PostgreSQL; answered in p50 {found['p50']:.0f} ms; "
            f"{found['failed'] / found['n']:.1%} failed",
        )
    )
    for subscription in made:
        bench.stack.call("DELETE", f"{path}/subscriptions/{subscription}")


def _first_attempts(bench: Bench, subscriptions: list[str]) -> dict[str, float]:
    (row,) = bench.stack.query(
        """
        select count(*)::float8 as n, count(*) filter (where status <> 200)::float8 as failed,
            extract(epoch from max(finished_at) - min(started_at))::float8 as seconds,
            percentile_disc(0.5) within group (order by duration_ms)::float8 as p50
        from control.delivery_attempt where subscription_id = any ($1::uuid[]) and number = 1
        """,
        subscriptions,
    )
    return row


@contextlib.contextmanager
def _receiver() -> Iterator[tuple[int, int]]:
    """Its port and pid."""
    process = subprocess.Popen([sys.executable, "-P", "-m", "tests.bench.receiving"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(10)
