"""Counts are kept incrementally and are exact, whatever happened and whoever folds; partitions come ahead of time."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from storage.postgres.ledger.record import queue_counts, read_functions
from storage.postgres.ledger.upkeep import make_partitions
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.ids import first_id_at
from waypost.job.model import End

_WAITS = "select exists (select from pg_locks where relation = 'control.job_end'::regclass and not granted)"


async def test_counts_equal_the_tables_after_everything(ground: Ground, tenant: Tenant) -> None:
    """Submissions, claims, ends, retries, cancels, expiry, losses, while four workers fold all the time."""
    over = asyncio.Event()

    async def folding() -> int:
        folded = 0
        while not over.is_set():
            folded += await ground.worker.fold_counts(5)
            await asyncio.sleep(0)
        return folded

    async def life(function: str) -> None:
        session = await ground.session()
        # Not by chance: three lives that draw from one source, in an order nobody fixes, may leave an end out.
        for end, delay in 2 * list(itertools.product((End.COMPLETED, End.FAILED, End.DEAD_LETTER), (0.0, 600.0))):
            await tenant.submit(3, function)
            (delayed,) = await tenant.submit(1, function, delay_seconds=600.0)
            (waiting,) = await tenant.submit(1, function, expires_in_seconds=600)
            claimed = await tenant.claim(session, 2, function)
            await ground.relay.settle_end(session, [done(c, end) for c in claimed[:1]])
            await ground.relay.settle_retry(session, [again(c, delay) for c in claimed[1:]])
            await ground.gateway.cancel(tenant.id, waiting if delay else delayed, "key:test")
        await ground.lapse(session)

    folders = [asyncio.create_task(folding()) for _ in range(4)]
    await asyncio.gather(*(life(function) for function in ("a", "b", "c")))
    await ground.admin.execute("update control.ready set expires_at = now() where expires_at is not null")
    await ground.worker.expire()
    await ground.worker.sweep_lost()
    over.set()
    await asyncio.gather(*folders)
    async with ground.databases["gateway"].as_environment(tenant.id) as connection:
        before = {count.function: count for count in await queue_counts(connection, tenant.id)}
    while await ground.worker.fold_counts():
        pass
    assert await ground.count("route_delta") == 0
    for function in ("a", "b", "c"):
        route = await tenant.route(function)
        row = await ground.admin.fetchrow("select * from control.route_count where route = $1", route)
        counts = {
            "waiting": await waiting(ground, route),
            "retrying": await waiting(ground, route, "and number > 0"),
            "running": await ground.count("lease", "route = $1", route),
            **{end.name.lower(): await ground.count("job_end", f"route = $1 and state = {end}", route) for end in End},
        }
        assert all(counts[name] for name in counts if name != "running"), counts
        assert {name: row[name] for name in counts} == counts
        assert {name: getattr(before[function], name) for name in counts} == counts  # also before all was folded
        minutes = await ground.admin.fetchrow(
            "select sum(submitted) s, sum(completed) c, sum(failed) f, sum(canceled) d from control.route_minute"
            " where route = $1",
            route,
        )
        failed = counts["failed"] + counts["dead_letter"] + counts["expired"]
        assert tuple(minutes) == (60, counts["completed"], failed, counts["canceled"])


@pytest.mark.parametrize("off", [-7, 7])
async def test_retries_that_an_older_process_miscounted_are_never_more_than_waits(
    ground: Ground, tenant: Tenant, off: int
) -> None:
    """Nor fewer than none: what is queued is the rest."""
    await tenant.submit(3, "a")
    await ground.worker.fold_counts()
    await ground.admin.execute("update control.route_count set retrying = retrying + $1", off)
    async with ground.databases["gateway"].as_environment(tenant.id) as connection:
        (count,) = await queue_counts(connection, tenant.id)
    assert (count.waiting, count.retrying) == (3, 3 if off > 0 else 0)


async def waiting(ground: Ground, route: int, more: str = "") -> int:
    return sum([await ground.count(table, f"route = $1 {more}", route) for table in ("ready", "due", "hold")])


async def test_the_overview_of_functions_knows_the_last_hour(ground: Ground, tenant: Tenant) -> None:
    """Queue, rates and durations by function; the oldest waiting job of any rank."""
    jobs = await tenant.submit(3, "a")
    await tenant.submit(1, "a", rank=0)
    await tenant.route("b")
    session = await ground.session()
    claimed = await tenant.claim(session, 1, "a")
    await ground.relay.settle_end(session, [done(found) for found in claimed])
    await ground.worker.fold_counts()
    async with ground.databases["gateway"].as_environment(tenant.id) as connection:
        a, b = await read_functions(connection, tenant.id)
    assert (a.function, a.waiting, a.running) == ("a", 3, 0)
    assert (a.submitted_last_hour, a.completed_last_hour, a.failed_last_hour) == (4, 1, 0)
    assert a.p50_ms is not None
    assert 0 < a.p50_ms < 60_000
    assert a.oldest_waiting_at is not None
    assert first_id_at(a.oldest_waiting_at).bytes[:6] == jobs[1].bytes[:6]
    assert (b.function, b.waiting, b.oldest_waiting_at, b.p50_ms) == ("b", 0, None, None)


async def test_partitions_of_the_next_weeks_are_made_once(ground: Ground, tenant: Tenant) -> None:
    """By the worker's role, which owns no table. A job of that week lies in its partition, another in the default."""
    later = datetime.now(UTC) + timedelta(weeks=60)
    assert await make_partitions(ground.databases["worker"], later) == 4
    assert await make_partitions(ground.databases["worker"], later) == 0
    route = await tenant.route()
    for instant in (later, later + timedelta(weeks=20)):
        await ground.admin.execute(
            "insert into control.job (id, environment_id, route, rank, submitted_by) values ($1, $2, $3, 4, 'x')",
            first_id_at(instant),
            tenant.id,
            route,
        )
    rows = await ground.admin.fetch("select tableoid::regclass::text as place from control.job order by id")
    monday = later.date() - timedelta(days=later.weekday())
    assert [row["place"] for row in rows] == [f"control.job_w{monday:%Y%m%d}", "control.job_default"]


async def test_whoever_reads_the_ledger_is_in_no_deadlock_with_new_partitions(ground: Ground) -> None:
    """A reader of two tables holds the one that partitions are made of last, and wants the one that they are made of
    first: it gets it, and the partitions come when it is done."""
    later = datetime.now(UTC) + timedelta(weeks=160)
    first, last = ("select from control.job limit 0", "select from control.job_end limit 0")
    async with ground.databases["gateway"].unit() as reader:
        await reader.execute(last)
        making = asyncio.create_task(make_partitions(ground.databases["worker"], later))
        async with asyncio.timeout(10):
            while not await ground.admin.fetchval(_WAITS):  # noqa: ASYNC110 - PostgreSQL tells nobody
                await asyncio.sleep(0.005)
        await reader.execute(first)
        assert not making.done()
    assert await making == 4


async def test_a_week_that_the_default_partition_holds_already_stays_there(ground: Ground, tenant: Tenant) -> None:
    """Partitions that come late make no error and lose no row."""
    later = datetime.now(UTC) + timedelta(weeks=120)
    await ground.admin.execute(
        "insert into control.job (id, environment_id, route, rank, submitted_by) values ($1, $2, $3, 4, 'x')",
        first_id_at(later),
        tenant.id,
        await tenant.route(),
    )
    assert await make_partitions(ground.databases["worker"], later) == 3
    assert await ground.count("job", "id = $1", first_id_at(later)) == 1
