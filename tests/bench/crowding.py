"""Scenarios of size: a million waiting jobs, a hundred environments, a snapshot held open, thousands of idle nodes."""

import asyncio
import threading
import time
from typing import NamedTuple

import asyncpg

from tests.bench import fleet
from tests.bench.context import PARKED, Bench, Nodes
from tests.bench.fleet import NodeProcess, wait_until
from tests.bench.meter import Meter, cpu_seconds, pss_bytes, tree
from tests.bench.report import Row, milliseconds
from tests.bench.running import at_rate, idle_lateness, idle_row

MILLION = 1_000_000
PROBE_RATE = 2_500
JOB_SIDE = ("gateway", "relay", "postgres")  # what a job costs is their CPU time


def million(bench: Bench) -> None:
    """What a job costs, and how soon it starts, before and behind a million waiting ones."""
    goal = 100_000 if bench.quick else MILLION
    seconds = bench.seconds(10, 4)
    before = at_rate(bench, PROBE_RATE, seconds=seconds)
    filled = _fill(bench, goal)
    after = at_rate(bench, PROBE_RATE, seconds=seconds)
    costs = [sum(result["cost_us"].get(kind, 0.0) for kind in JOB_SIDE) for result in (before, after)]
    database = [result["cost_us"].get("postgres", 0.0) for result in (before, after)]
    ratio = costs[1] / costs[0]
    bench.rows.append(
        Row(
            "million",
            f"a job's cost behind {filled:,} waiting ones, at {PROBE_RATE:,}/s",
            f"× {ratio:.2f} ({costs[0]:.0f} → {costs[1]:.0f} µs CPU)",
            {
                "waiting": filled,
                "ratio": ratio,
                "postgres_ratio": database[1] / database[0],
                "cost_before_us": costs[0],
                "cost_after_us": costs[1],
                **{f"{kind}_before_us": cost for kind, cost in before["cost_us"].items()},
                **{f"{kind}_after_us": cost for kind, cost in after["cost_us"].items()},
                "start_p99_before_ms": before["p99"],
                "start_p99_after_ms": after["p99"],
            },
            target="≤ × 1.25",
            met=ratio <= 1.25,
            cpu=after["cpu"],
            note=f"gateway + relay + PostgreSQL; PostgreSQL alone × {database[1] / database[0]:.2f}; start p99 "
            f"{before['p99']:.1f} → {after['p99']:.1f} ms",
        )
    )
    late, cpu = idle_lateness(bench, rounds=200 if bench.quick else 800)
    bench.rows.append(idle_row("million", f"idle start behind {filled:,} waiting jobs", late, cpu))


def _fill(bench: Bench, goal: int) -> int:
    """Submit in bulk, through the API, until so many wait that no node serves."""
    for round_number in range(60):
        waiting = bench.stack.query("select count(*) as n from control.ready")[0]["n"]
        if waiting >= goal:
            return int(waiting)
        bench.load(bench.plan(2, connections=4, bulk=1000, function=f"{PARKED}_crowd{round_number % 4}"))
    raise RuntimeError(f"only {waiting} jobs wait, {goal} were wanted")


def environments(bench: Bench) -> None:
    """Work for many environments at once, each with its own node and 50 routes."""
    count = 10 if bench.quick else 100
    places = tuple(bench.stack.new_environments(count))
    groups = range(10)
    functions = [f"bench.f{number}" for number in groups]
    selectors = ("", ',"tags":["gpu"]', ',"tags":["mem_gb>=16"]', ',"tags":["gpu","zone=a"]', ',"tags":["!spot"]')
    specs = tuple(f'{{"function":"{name}"{chosen}' for name in functions for chosen in selectors)
    nodes = [
        {
            "token": bench.stack.token(bench.stack.credential(place)),
            "tags": ["gpu", "mem_gb=24", "zone=a"],
            "functions": functions,
            "max_in_flight": 100,
            "count": 1,
        }
        for place in places
    ]
    fleet_process = NodeProcess.lean(bench.folder, "environments", bench.stack.relay_address, nodes)
    targets = bench.as_administrator(places)
    seconds = bench.seconds(20, 4)
    while _routes(bench) < count * len(specs):  # a route is made at its first job
        bench.load(bench.plan(seconds / 4, connections=64, places=targets, specs=specs))
    wait_until(lambda: _left(bench) == 0, "the warm-up ending", 60)
    began = time.time_ns()
    with Meter({**bench.stack.groups(), "nodes": [fleet_process.pid]}) as meter:
        plan = bench.plan(seconds, connections=64, rate=PROBE_RATE, places=targets, specs=specs)
        outcome, cpu = bench.load(plan)
    wait_until(lambda: _left(bench) == 0, "the queue running empty", 60)
    late = fleet_process.stop().late_ms(after_ns=began + int(1e9))
    found = fleet.quantiles(late)
    bench.rows.append(
        Row(
            "environments",
            f"{count} environments × {len(specs)} routes at {PROBE_RATE:,}/s",
            milliseconds(**found),
            {"environments": count, "routes": len(specs), "started": len(late), **found},
            target="p99 ≤ 30 ms",
            met=found["p99"] <= 30,
            cpu=meter.share | {"load": cpu["load"]},
            note=f"{outcome.generator}; {count} lean nodes in one process",
        )
    )


def _routes(bench: Bench) -> int:
    return int(bench.stack.query("select count(*) as n from control.route where function like 'bench.f_'")[0]["n"])


def _left(bench: Bench) -> int:
    """Waiting or running jobs of the functions that the many environments use."""
    rows = bench.stack.query(
        """
        select (select count(*) from control.ready where route = any (r.ids))
             + (select count(*) from control.lease where route = any (r.ids)) as n
        from (select array_agg(id) as ids from control.route where function like 'bench.f_') r
        """
    )
    return int(rows[0]["n"])


def snapshot(bench: Bench) -> None:
    """PostgreSQL's cost of a job while a transaction holds an old snapshot, so that nothing can be vacuumed."""
    seconds = bench.seconds(60, 10)
    with bench.nodes(processes=2, slots=500) as nodes, _held_snapshot(bench.stack.database_url(), seconds * 2 + 30):
        parts: list[_Part] = []
        sampler = threading.Thread(target=_sample, args=(bench.stack.groups()["postgres"], seconds, parts))
        sampler.start()
        result = at_rate(bench, PROBE_RATE, seconds=seconds, nodes=nodes)
        sampler.join()
    costs = [part.cpu_seconds / max(1, _started(nodes, part)) * 1e6 for part in parts]
    starts = [fleet.quantiles(nodes.late_ms(after_ns=part.began_ns, before_ns=part.until_ns)) for part in parts]
    ratio = costs[-1] / costs[0]
    bench.rows.append(
        Row(
            "snapshot",
            f"a snapshot held open for {seconds:.0f} s at {PROBE_RATE:,}/s",
            f"× {ratio:.2f} PostgreSQL's CPU a job ({costs[0]:.0f} → {costs[-1]:.0f} µs)",
            {
                "ratio": ratio,
                **{f"cost_{number}_us": cost for number, cost in enumerate(costs)},
                **{f"start_p99_{number}_ms": found["p99"] for number, found in enumerate(starts)},
            },
            target="≤ × 1.5",
            met=ratio <= 1.5,
            cpu=result["cpu"],
            note="first sixth against last; start p99 {:.1f} → {:.1f} ms".format(starts[0]["p99"], starts[-1]["p99"]),
        )
    )


class _Part(NamedTuple):
    """A span of the run, and the CPU time of PostgreSQL in it."""

    began_ns: int
    until_ns: int
    cpu_seconds: float


def _sample(pids: list[int], seconds: float, parts: list[_Part]) -> None:
    """Six spans by the clock; the first second, in which the load begins, and the last are left out."""
    start = time.monotonic() + 1
    began_ns, before = 0, 0.0
    for number in range(7):
        time.sleep(max(0.0, start + number * (seconds - 2) / 6 - time.monotonic()))
        now_ns, used = time.time_ns(), cpu_seconds([member for pid in pids for member in tree(pid)])
        if number:
            parts.append(_Part(began_ns, now_ns, used - before))
        began_ns, before = now_ns, used


def _started(nodes: Nodes, part: _Part) -> int:
    """How many handlers began in that span."""
    return sum(
        part.began_ns <= due + late < part.until_ns
        for noted in nodes.notes
        for due, late in zip(noted.due_ns, noted.late_ns, strict=True)
    )


class _held_snapshot:  # noqa: N801 - reads as a statement
    """A transaction in another thread that has taken its snapshot and sits on it."""

    def __init__(self, url: str, limit_seconds: float) -> None:
        self._url, self._limit = url, limit_seconds
        self._taken, self._release = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()))

    async def _hold(self) -> None:
        connection = await asyncpg.connect(self._url)
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval("select count(*) from control.environment")
            self._taken.set()
            await asyncio.to_thread(self._release.wait, self._limit)
        await connection.close()

    def __enter__(self) -> None:
        self._thread.start()
        if not self._taken.wait(20):
            raise RuntimeError("the snapshot was not taken")

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._thread.join()


def idle_nodes(bench: Bench) -> None:
    """Connected nodes without work: memory of the relays and their CPU, each node with a connection of its own."""
    token = bench.stack.token(bench.stack.credential(bench.place))
    for count in (200, 1000) if bench.quick else (1000, 10_000):
        relays = bench.stack.groups()["relay"]
        before = pss_bytes([pid for relay in relays for pid in tree(relay)])
        node = {"token": token, "tags": ["idle"], "functions": ["bench.idle"], "max_in_flight": 1}
        halves = [count // 2, count - count // 2]
        began = time.monotonic()
        processes = [
            NodeProcess.lean(bench.folder, f"idle-{count}-{index}", bench.stack.relay_address, [node | {"count": half}])
            for index, half in enumerate(halves)
        ]
        joined = time.monotonic() - began
        time.sleep(5)
        with Meter({**bench.stack.groups(), "nodes": [process.pid for process in processes]}) as meter:
            time.sleep(bench.seconds(20, 5))
        after = pss_bytes([pid for relay in relays for pid in tree(relay)])
        each = (after - before) / count / 1024
        for process in processes:
            process.stop(60)
        wait_until(lambda: _connected(bench) == 0, "the relays forgetting the idle nodes", 60)
        share = meter.share["relay"]
        bench.rows.append(
            Row(
                "nodes",
                f"{count:,} idle nodes, a connection each",
                f"{each:.1f} KB a stream · relays {share * 100:.0f} % of a core",
                {"nodes": count, "kb_each": each, "relay_share": share, "join_per_second": count / joined},
                target="≤ 35 KB, ≤ 15 %" if count == 10_000 else "",
                met=(each <= 35 and share <= 0.15) if count == 10_000 else None,
                cpu=meter.share,
                note=f"joined at {count / joined:,.0f}/s; raw HTTP/2 nodes",
            )
        )


def _connected(bench: Bench) -> int:
    rows = bench.stack.query(
        "select count(*) as n from control.node where disconnected_at is null and functions @> $1::jsonb",
        '[{"name": "bench.idle"}]',
    )
    return int(rows[0]["n"])
