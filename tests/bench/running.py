"""Scenarios of the whole way: submit → tagged node → durable result, at saturation, at a rate, and idle."""

import json
import random
import time
import uuid

from tests.bench import fleet
from tests.bench.context import FUNCTION, Bench, Nodes, now_ns
from tests.bench.meter import Meter
from tests.bench.report import Row, milliseconds
from tests.bench.socketload import Connection, post

TARGET_SATURATION = 10_000
RATES = ((2_500, 10.0), (6_000, 30.0))  # jobs a second, start p99 in ms


def saturation(bench: Bench) -> None:
    """As many as go: from the first submission to the last durable end, load and draining together."""
    with bench.nodes(processes=2, slots=500) as nodes:
        plan = bench.plan(bench.seconds(12, 3), connections=64)
        began = time.time()
        with Meter({**bench.stack.groups(), "nodes": nodes.pids}) as meter:
            outcome, cpu = bench.load(plan)
            submitted = time.time()
            bench.wait_drained()
        ends = bench.ends_between(began, time.time() + 5)
    rate = ends["ends"] / (ends["last"] - began)
    bench.rows.append(
        Row(
            "saturation",
            "submit → node → durable result, saturation",
            f"{rate:,.0f} jobs/s",
            {
                "per_second": rate,
                "jobs": ends["ends"],
                "submitted_per_second": outcome.per_second,
                "drained_after_seconds": ends["last"] - submitted,
                "end_p50_ms": ends["p50"],
                "end_p99_ms": ends["p99"],
            },
            target=f"≥ {TARGET_SATURATION:,}/s",
            met=rate >= TARGET_SATURATION,
            cpu=meter.share | {"load": cpu["load"] * outcome.seconds / meter.seconds},
            note=f"{outcome.generator}, 2 SDK nodes × 500; {ends['ends']:,.0f} jobs accepted at "
            f"{outcome.per_second:,.0f}/s, the last end {ends['last'] - submitted:+.1f} s after the last request",
        )
    )


def sustained(bench: Bench) -> None:
    """Open loop at a fixed rate; lateness counts from when a request was due."""
    for rate, target in RATES:
        row = at_rate(bench, rate, seconds=bench.seconds(30, 4))
        p99 = float(row["p99"])
        bench.rows.append(
            Row(
                "sustained",
                f"sustained {rate:,}/s, submission → handler start",
                milliseconds(p50=row["p50"], p99=p99, p99_9=row["p99_9"]),
                row["figures"],
                target=f"p99 ≤ {target:.0f} ms",
                met=p99 <= target and row["achieved"] >= rate * 0.99,
                cpu=row["cpu"],
                note=f"{row['achieved']:,.0f}/s ended; submission → durable end "
                + milliseconds(p50=row["figures"]["end_p50_ms"], p99=row["figures"]["end_p99_ms"]),
            )
        )


def at_rate(bench: Bench, rate: float, *, seconds: float, nodes: Nodes | None = None) -> dict:  # type: ignore[type-arg]
    """One open-loop run: start quantiles, rate of ends, CPU; the first second is not judged.

    With `nodes` given, they go on afterwards and the start quantiles are for the caller to take from their notes.
    """
    if nodes is None:
        with bench.nodes(processes=2, slots=500) as own:
            result = at_rate(bench, rate, seconds=seconds, nodes=own)
        late = fleet.quantiles(own.late_ms(after_ns=result["judged_ns"], before_ns=result["until_ns"]))
        return result | late | {"figures": result["figures"] | {f"start_{name}_ms": ms for name, ms in late.items()}}
    began_ns = now_ns()
    with Meter({**bench.stack.groups(), "nodes": nodes.pids}) as meter:
        outcome, cpu = bench.load(bench.plan(seconds, connections=64, rate=rate))
    until_ns = began_ns + int(seconds * 1e9)
    bench.wait_drained()
    judged_ns = began_ns + int(1e9)
    ends = bench.ends_between(judged_ns / 1e9, until_ns / 1e9)
    achieved = ends["ends"] / (seconds - 1)
    jobs = max(1, outcome.requests)
    return {
        "achieved": achieved,
        "judged_ns": judged_ns,
        "until_ns": until_ns,
        "cpu": meter.share | {"load": cpu["load"]},
        "cost_us": {name: used / jobs * 1e6 for name, used in meter.used.items()},
        "figures": {
            "rate": rate,
            "submitted_per_second": outcome.per_second,
            "ends_per_second": achieved,
            "end_p50_ms": ends["p50"],
            "end_p99_ms": ends["p99"],
            **{f"{kind}_us_per_job": used / jobs * 1e6 for kind, used in meter.used.items()},
            **{f"submit_{name}_ms": value for name, value in outcome.latency_ms.items()},
        },
    }


def idle(bench: Bench) -> None:
    """One job at a time to an idle node, with pauses of 5 to 25 ms."""
    late, cpu = idle_lateness(bench, rounds=300 if bench.quick else 1500)
    bench.rows.append(idle_row("idle", "submission → handler start, idle node", late, cpu))


def idle_lateness(bench: Bench, *, rounds: int) -> tuple[list[float], dict[str, float]]:
    """Milliseconds from just before the request is sent until the handler runs, and the CPU shares."""
    with bench.nodes(processes=1, slots=100) as nodes:
        lone(bench, rounds=30)  # connections, caches, prepared statements
        began = now_ns()
        with Meter({**bench.stack.groups(), "nodes": nodes.pids}) as meter:
            lone(bench, rounds=rounds)
        bench.wait_drained()
    late = nodes.late_ms(after_ns=began)
    if len(late) != rounds:
        raise RuntimeError(f"{rounds} jobs were sent, {len(late)} handlers started")
    return late, meter.share


def lone(bench: Bench, *, rounds: int) -> None:
    """Submit jobs one after another over one connection, each after its answer and a random pause."""
    connection = Connection(bench.stack.host, bench.stack.port)
    path, token = f"{bench.place.path}/jobs", bench.place.key
    for _ in range(rounds):
        key = uuid.uuid4().hex
        body = json.dumps({"function": FUNCTION, "payload": {"at": now_ns()}}).encode()
        status, answer = connection.exchange(post(path, bench.stack.host, token, body, key))
        if status != 202:
            raise RuntimeError(f"a submission was answered {status}: {answer[:300]!r}")
        time.sleep(random.uniform(0.005, 0.025))
    connection.close()


def idle_row(scenario: str, what: str, late: list[float], cpu: dict[str, float], note: str = "") -> Row:
    found = fleet.quantiles(late)
    return Row(
        scenario,
        what,
        milliseconds(**found),
        {"samples": len(late), **{f"start_{name}_ms": value for name, value in found.items()}},
        target="p50 ≤ 3, p99 ≤ 8 ms",
        met=found["p50"] <= 3 and found["p99"] <= 8,
        cpu=cpu,
        note=note,
    )
