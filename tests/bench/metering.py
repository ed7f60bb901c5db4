"""What metering costs: adding up a million events and a million ended jobs, and the main job with and without it.

With and without take turns in the order A B B A; without means that nobody adds up (the follower's row goes by another
name), what is counted in the gateway's memory stays. What counts is CPU time per job: the rate of a turn is mostly the
neighbours'.
"""

import asyncio
import statistics
import time

from jobs.usage import UsageFollower
from storage.postgres.database import Database
from tests.bench.context import FUNCTION, Bench
from tests.bench.meter import cpu_seconds, tree
from tests.bench.report import Row

TARGET_SECONDS = 20.0
TARGET_SHARE = 1.10
MILLION = 1_000_000

_HIDE = "update control.follower set name = 'usage.off' where name = 'usage.roll_up' returning name"
_SHOW = """
update control.follower set name = 'usage.roll_up', xact = pg_snapshot_xmin(pg_current_snapshot()), at = now()
where name = 'usage.off' returning name
"""
_SHOW_AS_IT_WAS = "update control.follower set name = 'usage.roll_up' where name = 'usage.off' returning name"
_EVENTS = """
with made as (
    insert into control.usage_event (environment_id, source, id, meter, quantity, at)
    select $1::uuid, 'bench', $2::text || n, 'bench.m' || n % 50, n / 1000.0, now() - n % 48 * interval '1 hour'
    from generate_series(1, $3::integer) n returning 1
) select count(*) as n from made
"""
_JOBS = """
with ids as materialized (
    select uuidv7() as id, n from generate_series(1, $2::integer) n
), jobs as (
    insert into control.job (id, environment_id, route, rank, submitted_by, payload)
    select i.id, r.environment_id, r.id, 4, 'bench', decode(repeat('00', 128), 'hex')
    from ids i, (select id, environment_id from control.route where environment_id = $1::uuid limit 1) r
), ends as (
    insert into control.job_end (job_id, environment_id, route, state, number, attempt_id, outcome, started_at)
    select i.id, r.environment_id, r.id, 1, 1, i.n, 1, clock_timestamp()
    from ids i, (select id, environment_id from control.route where environment_id = $1::uuid limit 1) r
    returning 1
) select count(*) as n from ends
"""


def cost(bench: Bench) -> None:
    """First the main job, then the millions: they leave tables behind that are no part of it."""
    _main_job(bench)
    count = MILLION if not bench.quick else MILLION // 10
    for what, sql, arguments in (
        ("usage events", _EVENTS, (bench.place.id, f"{time.time_ns()}-", count)),
        ("ended jobs", _JOBS, (bench.place.id, count)),
    ):
        bench.stack.query(_HIDE)
        bench.stack.query(sql, *arguments)
        bench.stack.query(_SHOW_AS_IT_WAS)
        postgres = bench.stack.groups()["postgres"]
        before = cpu_seconds([pid for one in postgres for pid in tree(one)])
        seconds, facts = asyncio.run(_follow(bench.stack.database_url()))
        used = cpu_seconds([pid for one in postgres for pid in tree(one)]) - before
        scaled = seconds * MILLION / count
        bench.rows.append(
            Row(
                "usage",
                f"roll-up of {count:,} {what}",
                f"{seconds:.1f} s",
                {"seconds": seconds, "facts": facts, "cpu_seconds": used},
                target=f"≤ {TARGET_SECONDS:.0f} s a million",
                met=scaled <= TARGET_SECONDS,
                note=f"one statement; {used / count * 1e6:.1f} µs of PostgreSQL's CPU each",
            )
        )


async def _follow(url: str) -> tuple[float, int]:
    """Seconds that adding up what waits takes, and of how many facts it is."""
    database = await Database.open(url, name="bench-usage")
    try:
        while True:
            began = time.perf_counter()
            facts = await UsageFollower(database).follow()
            if facts:
                return time.perf_counter() - began, facts
            await asyncio.sleep(0.05)  # a worker is at it, or a transaction is not over
    finally:
        await database.close()


def _main_job(bench: Bench) -> None:
    turns: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with bench.nodes(processes=2, slots=500):
        _turn(bench, 2.0)  # connections, plans
        for metered in [True, False, False, True] * (1 if bench.quick else 2):
            if not metered:
                bench.stack.query(_HIDE)
            turns[metered].append(_turn(bench, bench.seconds(21, 11)))
            if not metered:
                bench.stack.query(_SHOW)
    rate = {metered: statistics.median(rate for rate, _ in some) for metered, some in turns.items()}
    cpu = {metered: statistics.median(each for _, each in some) for metered, some in turns.items()}
    share = cpu[True] / cpu[False]
    bench.rows.append(
        Row(
            "usage",
            "the main job with metering, against without: CPU per job",
            f"{share:.3f}×",
            {
                "ratio": share,
                "cpu_microseconds": cpu[True] * 1e6,
                "cpu_microseconds_without": cpu[False] * 1e6,
                "per_second": rate[True],
                "per_second_without": rate[False],
            },
            target=f"≤ {TARGET_SHARE:.2f}×",
            met=share <= TARGET_SHARE,
            note=f"{cpu[True] * 1e6:,.0f} and {cpu[False] * 1e6:,.0f} µs; {rate[True]:,.0f} and {rate[False]:,.0f} "
            f"jobs/s of {FUNCTION}",
        )
    )


def _turn(bench: Bench, seconds: float) -> tuple[float, float]:
    """Jobs a second and CPU seconds of the whole platform per job, to the last durable end."""
    pids = [pid for some in bench.stack.groups().values() for pid in some]
    before, began = cpu_seconds(pids), time.time()
    bench.load(bench.plan(seconds, connections=64))
    bench.wait_drained()
    used = cpu_seconds(pids) - before
    ends = bench.ends_between(began, time.time() + 5)
    return ends["ends"] / (ends["last"] - began), used / ends["ends"]
