"""Schedules that are due, ticked by several: each due time makes one job, whatever dies, and only due ones are read."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import schedule as machine
from jobs.wake import CancelJob, decode_environment
from storage.postgres.ledger.ledger import Ledger
from storage.postgres.trigger import schedule as rows
from tests.storage.ledger_ground import Ground, Tenant, done
from tests.storage.schedule_ground import ScheduleGround
from waypost.job.model import End
from waypost.trigger import due as decision
from waypost.trigger.due import MAX_CATCH_UP
from waypost.trigger.model import Trigger

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def schedules(ground: Ground, tenant: Tenant) -> AsyncIterator[ScheduleGround]:
    yield ScheduleGround(ground, tenant)
    await ground.admin.execute("truncate control.trigger, control.trigger_secret, control.schedule, control.firing")


# --- one job for each due time ---------------------------------------------------------------------------------------


async def test_a_due_time_makes_one_job_whoever_ticks(schedules: ScheduleGround) -> None:
    """Three at once, several times over: every due time once; each firing is called what its job is called."""
    made = [await schedules.make(schedule={"every_seconds": 1}, catch_up="all") for _ in range(30)]
    for one in made:
        await schedules.since(one, timedelta(seconds=20))
    tickers = [schedules.ticker(batch=7) for _ in range(3)]
    for _ in range(10):
        await asyncio.gather(*(ticker.tick() for ticker in tickers))
    for one in made:
        due = await schedules.jobs(one)
        assert len(due) >= 18
        assert len(set(due)) == len(due)
        firings = await schedules.firings(one)
        assert [firing["outcome"] for firing in firings] == ["accepted"] * len(due)
        assert all(firing["id"] == firing["job_id"] for firing in firings)


async def test_who_dies_between_claim_and_commit_leaves_everything_to_the_next(schedules: ScheduleGround) -> None:
    """Neither job nor firing nor a step ahead: the row is due as it was, and the next tick makes its job."""
    one = await schedules.make_hourly()

    class Dying(Ledger):
        async def resolve_route(self, *_: Any) -> int:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await schedules.come(one, 1, schedules.ticker(Dying(schedules.ground.databases["worker"])))
    assert (await schedules.place(one))["next_at"] <= datetime.now(UTC)
    assert (await schedules.jobs(one), await schedules.firings(one)) == ([], [])
    await asyncio.gather(*(schedules.ticker().tick() for _ in range(2)))
    assert len(await schedules.jobs(one)) == 1
    assert (await schedules.place(one))["next_at"] > datetime.now(UTC)


async def test_a_row_that_was_put_back_makes_no_second_job(schedules: ScheduleGround) -> None:
    """The due time is the job's idempotency key: its firing says duplicate, with the first job's id."""
    one = await schedules.make_hourly()
    await schedules.come(one, 1)
    await schedules.ground.admin.execute(
        "update control.schedule set last_due_at = last_due_at - interval '1 second', next_at = now()"
        " where trigger_id = $1",
        one.id,
    )
    await schedules.ticker().tick()
    assert len(await schedules.jobs(one)) == 1
    first, again = await schedules.firings(one)
    assert (first["outcome"], again["outcome"]) == ("accepted", "duplicate")
    assert again["job_id"] == first["job_id"]


async def test_a_process_killed_at_the_due_time_neither_loses_nor_doubles(schedules: ScheduleGround) -> None:
    """Three processes tick, one is killed with -9 while it holds due rows: every due time has exactly one job."""
    made = [await schedules.make(schedule={"every_seconds": 1}, catch_up="all") for _ in range(40)]
    placed = {one.id: (await schedules.place(one))["last_due_at"] for one in made}  # what was due before never is
    url = schedules.ground.server.url("waypost_worker")
    first, *others = [await _ticking(url, 5), await _ticking(url), await _ticking(url)]
    try:
        async with asyncio.timeout(60):
            for _ in range(5):  # in the midst of a batch, which it holds from then on
                assert await first.stdout.readline() == b"held\n"
            assert await schedules.ground.count("schedule", "next_at <= now()") > 0
            first.kill()
            await first.wait()
            await _decided(schedules, made, datetime.now(UTC) + SECOND)
    finally:
        for process in (first, *others):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    await _over(schedules)
    for one in made:
        due = [datetime.fromisoformat(text) for text in await schedules.jobs(one)]
        decided = (await schedules.place(one))["last_due_at"]
        count = round((decided - one.created_at).total_seconds())
        anchor = one.created_at.replace(microsecond=one.created_at.microsecond // 1000 * 1000)  # as due times are
        come = [anchor + n * SECOND for n in range(1, count + 1)]
        assert due == [instant for instant in come if instant > placed[one.id]]
        assert {firing["outcome"] for firing in await schedules.firings(one)} == {"accepted"}


async def _decided(schedules: ScheduleGround, made: list[Trigger], until: datetime) -> None:
    """Return when every due time up to `until` is decided."""
    while min([(await schedules.place(one))["last_due_at"] for one in made]) < until:  # noqa: ASYNC110 (rows tell nobody)
        await asyncio.sleep(0.1)


async def _over(schedules: ScheduleGround) -> None:
    """Return when the killed processes' sessions are over: until then a commit that they had sent may come."""
    async with asyncio.timeout(30):
        while await schedules.ground.admin.fetchval(  # noqa: ASYNC110 (a session's end is told to nobody)
            "select count(*) from pg_stat_activity where application_name = 'tick'"
        ):
            await asyncio.sleep(0.02)


async def _ticking(url: str, *stop_after: int) -> Any:
    command = [sys.executable, "-P", "-m", "tests.storage.tick_process", url, *map(str, stop_after)]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=1 << 24)


# --- what was missed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "jobs", "missed"), [("none", 1, 1439), ("last", 1, 1439), ("all", 1001, 439)])
async def test_a_day_of_missed_minutes_is_made_good_as_configured(
    schedules: ScheduleGround, how: str, jobs: int, missed: int
) -> None:
    """One firing tells of all that were left out; the newest thousand are made good, and the one that is only late."""
    one = await schedules.make(catch_up=how)
    await schedules.since(one, timedelta(days=1))
    ticker = schedules.ticker()
    assert await ticker.tick() == 0.0
    due = await schedules.jobs(one)
    assert abs(len(due) - jobs) <= 1  # a minute may just have come, and runs
    assert len(set(due)) == len(due) <= MAX_CATCH_UP + 1
    (told,) = [firing for firing in await schedules.firings(one) if firing["outcome"] == "missed"]
    said = int(re.match(r"\d+", told["detail"])[0])  # type: ignore[index]  # else it fails as it should
    assert abs(said - missed) <= 1
    assert f"catch_up is {how}" in told["detail"]
    place = await schedules.place(one)
    assert place["next_at"] > datetime.now(UTC) - MINUTE
    if due:
        assert due[-1] == max(due)
        assert datetime.fromisoformat(due[-1]) > datetime.now(UTC) - 2 * MINUTE
    await ticker.tick()
    assert len(await schedules.jobs(one)) - len(due) <= 1


async def test_an_environment_that_takes_no_work_loses_nothing_by_it(schedules: ScheduleGround) -> None:
    """While it is suspended nothing is decided; resumed, what came meanwhile was missed and is made good."""
    one = await schedules.make(catch_up="last")
    await schedules.since(one, timedelta(minutes=10))
    set_status = "update control.environment set status = $2 where id = $1"
    await schedules.ground.admin.execute(set_status, one.environment_id, "suspended")
    before = (await schedules.place(one))["last_due_at"]
    await schedules.ticker().tick()
    held = await schedules.place(one)
    assert (held["last_due_at"], await schedules.firings(one)) == (before, [])
    assert held["next_at"] > datetime.now(UTC) + MINUTE
    await schedules.ground.admin.execute(set_status, one.environment_id, "ready")
    async with schedules.ground.databases["worker"].unit() as connection:
        await rows.look_again(connection, one.environment_id)
    await schedules.ticker().tick()
    assert len(await schedules.jobs(one)) == 1


# --- overlap ---------------------------------------------------------------------------------------------------------


async def test_overlapping_jobs_are_allowed_unless_it_says_otherwise(schedules: ScheduleGround) -> None:
    """`allow`: every due time has its job, however many wait."""
    one = await schedules.make_hourly()
    for hour in (1, 2, 3):
        await schedules.come(one, hour)
    assert [firing["outcome"] for firing in await schedules.firings(one)] == ["accepted"] * 3
    assert len(await schedules.jobs(one)) == 3


async def test_skip_makes_no_job_while_one_has_not_ended(schedules: ScheduleGround) -> None:
    """Its firing names the job that is in the way; when that has ended the next due time runs."""
    one = await schedules.make_hourly(overlap="skip")
    for hour in (1, 2):
        await schedules.come(one, hour)
    first, skipped = await schedules.firings(one)
    assert (first["outcome"], skipped["outcome"], skipped["job_id"]) == ("accepted", "skipped_overlap", None)
    assert str(first["job_id"]) in skipped["detail"]
    session = await schedules.ground.session()
    (claimed,) = await schedules.tenant.claim(session, function="clock.tick")
    await schedules.come(one, 3)
    assert len(await schedules.jobs(one)) == 1  # one that runs is in the way too
    await schedules.ground.relay.settle_end(session, [done(claimed)])
    await schedules.come(one, 4)
    assert len(await schedules.jobs(one)) == 2


async def test_cancel_running_ends_the_one_before(schedules: ScheduleGround) -> None:
    """A job that waits is canceled in the same transaction; one that runs is asked to stop, and its relay told."""
    one = await schedules.make_hourly(overlap="cancel_running")
    for hour in (1, 2):
        await schedules.come(one, hour)
    first, second = [firing["job_id"] for firing in await schedules.firings(one)]
    assert await schedules.ground.ends() == {first: End.CANCELED}
    (claimed,) = await schedules.tenant.claim(await schedules.ground.session(), function="clock.tick")
    assert claimed.job_id == second
    await schedules.come(one, 3)
    assert await schedules.ground.count("cancel_request", "job_id = $1", second) == 1
    assert CancelJob(second) in [decode_environment(payload) for _, payload in schedules.heard.messages]
    assert len(await schedules.jobs(one)) == 3


# --- what cannot become a job ----------------------------------------------------------------------------------------


async def test_one_that_cannot_be_kept_takes_no_neighbour_along(schedules: ScheduleGround) -> None:
    """A zone that this machine does not know: refused with the reason and put off; the other one runs."""
    good, bad = [await schedules.make(schedule={"cron": "* * * * *", "timezone": "Europe/Helsinki"}) for _ in range(2)]
    await schedules.ground.admin.execute(
        "update control.trigger set settings = jsonb_set(settings, '{schedule,timezone}', '\"Mars/Olympus\"')"
        " where id = $1",
        bad.id,
    )
    for one in (good, bad):
        await schedules.since(one, MINUTE)
    await schedules.ticker().tick()
    assert len(await schedules.jobs(good)) + len(await schedules.firings(good)) >= 1
    (refused,) = await schedules.firings(bad)
    assert refused["outcome"] == "refused"
    assert "Mars/Olympus" in refused["detail"]
    assert (await schedules.place(bad))["next_at"] > datetime.now(UTC) + 30 * MINUTE


async def test_a_full_environment_refuses_and_says_so(schedules: ScheduleGround) -> None:
    """Over the limit of waiting jobs there is no job and no repeat: the firing has the reason."""
    await schedules.ground.admin.execute(
        "update control.environment set limits = $2 where id = $1", schedules.tenant.id, json.dumps({"waiting_jobs": 1})
    )
    await schedules.tenant.submit(2)
    one = await schedules.make_hourly()
    await schedules.come(one, 1)
    assert await schedules.jobs(one) == []
    (refused,) = await schedules.firings(one)
    assert refused["outcome"] == "refused"
    assert (await schedules.place(one))["next_at"] > datetime.now(UTC)


# --- a hundred thousand ----------------------------------------------------------------------------------------------


async def test_of_a_hundred_thousand_schedules_only_the_due_ones_are_touched(
    schedules: ScheduleGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty are due: fifty rows are read along the index, fifty change; a tick with nothing due reads one."""
    monkeypatch.setattr(machine, "JUDGE_SECONDS", 60.0)  # all fifty in one tick, however slow
    monkeypatch.setattr(decision, "LATE", timedelta(minutes=10))  # and none of them missed
    admin = schedules.ground.admin
    due = [await schedules.make_hourly() for _ in range(50)]
    async with admin.acquire() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")  # rows without their triggers do
        await connection.execute(
            """
            insert into control.schedule (trigger_id, environment_id, next_at, last_due_at)
            select gen_random_uuid(), $1, now() + n * interval '1 second', now() from generate_series(1000, 101000) n
            """,
            schedules.tenant.id,
        )
    await admin.execute("analyze control.schedule, control.trigger")
    nothing = await _plan(schedules, rows._TAKE, 500)
    assert _read(nothing, "schedule") == 0
    for one in due:
        await schedules.since(one, timedelta(seconds=3601))
    plan = await _plan(schedules, rows._TAKE, 500)
    assert "schedule_next" in json.dumps(plan)
    assert "Seq Scan" not in json.dumps(plan)
    assert (_read(plan, "schedule"), _read(plan, "trigger")) == (50, 50)
    assert _read(await _plan(schedules, rows._NEXT), "schedule") == 1
    changed = "select count(*) from control.schedule where xmin::text::bigint > $1"
    mark = int(await admin.fetchval("select pg_current_xact_id()::text"))
    assert await schedules.ticker().tick() == 0.0
    assert await admin.fetchval(changed, mark) == 50
    assert await schedules.ground.count("firing", "outcome = 'accepted'") == 50


async def _plan(schedules: ScheduleGround, text: str, *values: Any) -> Any:
    """What a statement reads when a worker runs it; rolled back."""
    async with schedules.ground.databases["worker"].hot() as connection:
        transaction = connection.transaction()
        await transaction.start()
        found = await connection.fetchval(f"explain (analyze, buffers, format json) {text}", *values)
        await transaction.rollback()
    return json.loads(found)[0]["Plan"]


def _read(node: Any, table: str) -> int:
    """Rows that any scan of the table gave or threw away."""
    own = 0
    if node.get("Relation Name") == table:
        own = int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    return own + sum(_read(child, table) for child in node.get("Plans", ()))
