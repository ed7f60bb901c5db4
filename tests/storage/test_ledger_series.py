"""The last minutes of an environment: exact counts, times from a sample, at a cost that does not grow with the jobs."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from storage.postgres.ledger.series import read_series
from storage.postgres.sql import load
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.ids import first_id_at
from waypost.job.model import End
from waypost.job.series import MINUTE, SLICE_ENDS, Minute, Times, slices

MANY = 100_000
EVER = datetime(2020, 1, 1, tzinfo=UTC)


async def look(ground: Ground, tenant: Tenant, function: str | None = None, minutes: int = 60) -> list[Minute]:
    now: datetime = await ground.admin.fetchval("select now()")
    async with ground.databases["gateway"].as_environment(tenant.id) as connection:
        return await read_series(connection, tenant.id, now, minutes, function)


def sums(found: list[Minute]) -> dict[str, int]:
    names = ("submitted", "started", "completed", "failed")
    return {name: sum(getattr(minute, name) for minute in found) for name in names}


async def test_minutes_tell_what_happened_before_and_after_folding(ground: Ground, tenant: Tenant) -> None:
    """Submissions, starts (each attempt one), ends; what waits and runs at the end; of all functions, or of one."""
    await tenant.submit(4, "a")
    await tenant.submit(2, "b")
    session = await ground.session()
    first, second, third = await tenant.claim(session, 3, "a")
    await ground.relay.settle_end(session, [done(first), done(second, End.FAILED)])
    await ground.relay.settle_retry(session, [again(third)])
    await tenant.claim(session, 1, "b")
    unfolded = await look(ground, tenant)
    await ground.worker.fold_counts()
    for found in (unfolded, await look(ground, tenant)):
        assert len(found) == 60
        assert [minute.at for minute in found] == [found[0].at + n * timedelta(minutes=1) for n in range(60)]
        assert sums(found) == {"submitted": 6, "started": 4, "completed": 1, "failed": 1}
        assert (found[-1].waiting, found[-1].running) == (3, 1)
        assert (found[0].waiting, found[0].running) == (0, 0)
    only = await look(ground, tenant, "b", minutes=5)
    assert len(only) == 5
    assert sums(only) == {"submitted": 2, "started": 1, "completed": 0, "failed": 0}
    assert (only[-1].waiting, only[-1].running) == (1, 1)


def _minute(ago: int) -> datetime:
    """The beginning of the minute so many minutes ago."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - ago * MINUTE


async def _ended(
    ground: Ground, tenant: Tenant, function: str, submitted: datetime, waited_ms: int, ran_ms: int
) -> UUID:
    """A job that was submitted then, waited and ran."""
    (job,) = await tenant.submit(1, function)
    session = await ground.session()
    await ground.relay.settle_end(session, [done(one) for one in await tenant.claim(session, 1, function)])
    older = UUID(int=first_id_at(submitted).int | (job.int & 0xFFFF_FFFF))
    started = submitted + timedelta(milliseconds=waited_ms)
    await ground.admin.execute("update control.job set id = $1 where id = $2", older, job)
    await ground.admin.execute(
        "update control.job_end set job_id = $1, started_at = $3, finished_at = $4 where job_id = $2",
        *(older, job, started, started + timedelta(milliseconds=ran_ms)),
    )
    return older


async def test_times_are_told_of_the_minute_in_which_they_were_over(ground: Ground, tenant: Tenant) -> None:
    """A start in the minute in which it came, a run in that in which it ended; another function's are not counted."""
    submitted = _minute(10)  # one for all, though a minute may pass between them
    for waited_ms in (100, 200, 300):
        await _ended(ground, tenant, "a", submitted, waited_ms, 70_000)
    await _ended(ground, tenant, "b", submitted, 5_000, 10)
    first, second = [minute.times for minute in await look(ground, tenant, "a") if minute.times != Times()]
    assert (first.starts, first.start_p50_ms, first.runs, first.run_p50_ms) == (3, 200.0, 0, None)
    assert first.start_p99_ms is not None
    assert 290 < first.start_p99_ms <= 300
    assert (second.starts, second.runs, second.run_p50_ms, second.run_p99_ms) == (0, 3, 70_000.0, 70_000.0)
    assert sum(minute.times.starts for minute in await look(ground, tenant)) == 4


async def test_a_job_for_later_waits_from_then_on(ground: Ground, tenant: Tenant) -> None:
    """`run_at` is no waiting time, and what lay for half a day is found."""
    half_a_day = 12 * 60
    job = await _ended(ground, tenant, "a", _minute(half_a_day), (half_a_day - 2) * 60_000, 1_000)
    started = await ground.admin.fetchval("select started_at from control.job_end")
    await ground.admin.execute("update control.job set run_at = $2 where id = $1", job, started - MINUTE)
    found = [minute.times for minute in await look(ground, tenant) if minute.times.starts]
    assert [times.start_p50_ms for times in found] == [60_000.0]


async def test_of_few_jobs_every_time_is_told(ground: Ground, tenant: Tenant) -> None:
    """A function that ran seldom has its times, however many of another came in the same moment."""
    await tenant.submit(60, "a")
    await tenant.submit(3, "b")
    session = await ground.session()
    for function, count in (("a", 60), ("b", 3)):
        await ground.relay.settle_end(session, [done(one) for one in await tenant.claim(session, count, function)])
        assert sum(minute.times.runs for minute in await look(ground, tenant, function)) == count
    assert sum(minute.times.starts for minute in await look(ground, tenant)) == 63


async def test_many_jobs_cost_what_few_do(ground: Ground, tenant: Tenant) -> None:
    """Of a hundred thousand ends a bounded number is read, by primary key, from every minute."""
    made = """
        select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000'
            || lpad(to_hex(n), 12, '0'))::uuid as id, at
        from (select n, now() - interval '1 hour' * (n::float8 / $3) as at from generate_series(1, $3::int) n) one"""
    await ground.admin.execute(
        f"""with made as materialized ({made}), jobs as (
            insert into control.job (id, environment_id, route, rank, submitted_by) select id, $1, $2, 4, 'x' from made
        )
        insert into control.job_end (job_id, environment_id, route, state, number, started_at, finished_at)
        select id, $1, $2, 1, 1, at + interval '100 ms', at + interval '1 second' from made""",  # noqa: S608
        *(tenant.id, await tenant.route("a"), MANY),
    )
    await ground.admin.execute(
        "insert into control.route_delta (environment_id, route, completed) values ($1, $2, $3)",
        *(tenant.id, await tenant.route("a"), MANY),
    )
    await ground.admin.execute("analyze control.job_end; analyze control.job")
    found = await look(ground, tenant)
    assert sum(minute.times.runs for minute in found) <= len(slices(datetime.now(UTC), MANY)) * SLICE_ENDS < MANY
    assert all(minute.times.runs > 50 and 99 < (minute.times.start_p50_ms or 0) < 102 for minute in found[1:-1])
    assert sum(minute.times.runs for minute in await look(ground, tenant, "none")) == 0
    read = _rows_read((await _plan(ground, tenant))["Plan"])
    assert read["job_end"] + read["job"] <= 2 * len(slices(datetime.now(UTC), MANY)) * SLICE_ENDS


async def _plan(ground: Ground, tenant: Tenant) -> dict[str, Any]:
    spans = [(first_id_at(low), first_id_at(high), most) for low, high, most in slices(datetime.now(UTC), MANY)]
    statement = f"explain (analyze, format json) {load('storage.postgres.ledger', 'series_times')}"
    async with ground.databases["gateway"].as_environment(tenant.id) as connection:
        answer = await connection.fetchval(statement, tenant.id, None, EVER, *zip(*spans, strict=True))
    return dict(json.loads(answer)[0])


def _rows_read(plan: dict[str, Any]) -> Counter[str]:
    """Rows that were read of each table, whether or not they were used."""
    read: Counter[str] = Counter()
    if "Relation Name" in plan:
        table = plan["Relation Name"].partition("_w20")[0]
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read[table] = round(rows * plan["Actual Loops"])
    for below in plan.get("Plans", []):
        read += _rows_read(below)
    return read
