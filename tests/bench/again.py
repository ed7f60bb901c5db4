"""Running jobs again in bulk, and what it costs that handlers log."""

from tests.bench.context import FUNCTION, Bench, now_ns
from tests.bench.fleet import wait_until
from tests.bench.meter import Meter
from tests.bench.report import Row

BULK = 1_000
LINES = 500  # of a job, 100 characters each


def replays(bench: Bench) -> None:
    """One bulk replay of up to 10,000 jobs that have expired: from its beginning to its end in the worker."""
    path, thousands = bench.place.path, 3 if bench.quick else 10
    jobs = [{"function": "bench.again", "payload": {"n": 1}, "expires_in_seconds": 1}] * BULK
    for _ in range(thousands):
        bench.stack.call("POST", f"{path}/jobs/bulk", {"jobs": jobs}, key=bench.place.key)
    count = thousands * BULK
    chosen = {"state": "expired", "function": "bench.again"}
    preview = chosen | {"dry_run": True}
    wait_until(
        lambda: bench.stack.call("POST", f"{path}/jobs/replay", preview, key=bench.place.key)["matched"] == count,
        "jobs expiring",
        120,
        pause_seconds=0.5,
    )
    with Meter(bench.stack.groups()) as meter:
        made = bench.stack.call("POST", f"{path}/jobs/replay", chosen, key=bench.place.key)
        wait_until(lambda: _replay(bench, made["id"])["finished"], "the replay", 120, pause_seconds=0.1)
    found = _replay(bench, made["id"])
    rate = found["replayed"] / found["seconds"]
    cpu_us = {name: used / found["replayed"] * 1e6 for name, used in meter.used.items()}
    bench.rows.append(
        Row(
            "replays",
            f"bulk replay of {count:,} jobs",
            f"{rate:,.0f} jobs/s",
            {"per_second": rate, **{f"{name}_cpu_us": value for name, value in cpu_us.items()}},
            cpu=meter.share,
            note=f"{cpu_us['worker'] + cpu_us['postgres']:.0f} µs of CPU each in worker and PostgreSQL",
        )
    )


def _replay(bench: Bench, replay_id: str) -> dict[str, float]:
    (row,) = bench.stack.query(
        "select replayed, finished_at is not null as finished,"
        " extract(epoch from finished_at - started_at)::float8 as seconds from control.bulk_replay where id = $1",
        replay_id,
    )
    return row


def logs(bench: Bench) -> None:
    """Lines of running handlers: from the first to the last one in a row, and the CPU time of one."""
    count = 100 if bench.quick else 400
    with bench.nodes(processes=1, slots=50) as nodes, Meter({**bench.stack.groups(), "nodes": nodes.pids}) as meter:
        jobs = [{"function": FUNCTION, "payload": {"at": now_ns(), "lines": LINES}}] * count
        began = now_ns()
        bench.stack.call("POST", f"{bench.place.path}/jobs/bulk", {"jobs": jobs}, key=bench.place.key)
        wait_until(lambda: _kept(bench)["closed"] == count, "log lines", 120, pause_seconds=0.1)
        seconds = (now_ns() - began) / 1e9
    found = _kept(bench)
    rate = found["lines"] / seconds
    cpu_us = {name: used / found["lines"] * 1e6 for name, used in meter.used.items()}
    bench.rows.append(
        Row(
            "logs",
            f"log lines of 100 characters, {LINES} a job",
            f"{rate:,.0f} lines/s",
            {
                "per_second": rate,
                "dropped": found["dropped"],
                **{f"{name}_cpu_us": value for name, value in cpu_us.items()},
            },
            cpu=meter.share,
            note=f"{cpu_us['relay'] + cpu_us['postgres']:.1f} µs of CPU each in relay and PostgreSQL, "
            f"{cpu_us['nodes']:.1f} in the node; {found['dropped']:.0f} not kept",
        )
    )


def _kept(bench: Bench) -> dict[str, float]:
    (row,) = bench.stack.query(
        "select count(*) filter (where closed) as closed, coalesce(sum(lines), 0)::float8 as lines,"
        " coalesce(sum(dropped_lines), 0)::float8 as dropped from control.attempt_log where environment_id = $1",
        bench.place.id,
    )
    return row
