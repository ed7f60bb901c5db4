"""Platform jobs: a hint can be lost or doubled, the row decides; every job ends once or is dead-lettered."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from dramatiq import Message
from dramatiq.brokers.redis import MAINTENANCE_SCALE

from jobs.platform import ACTOR, HINTS_PER_ENVIRONMENT, Hints, PlatformRunner, describe, make_broker
from storage.postgres.database import Database
from storage.postgres.ledger.session import close_session, open_session, renew_session
from storage.postgres.platform import job as rows
from storage.postgres.platform.job import PlatformJob
from waypost import ids
from waypost.errors import WaypostError, conflict, unavailable

KIND = "test.kind"


@pytest.fixture(scope="session")
async def database(platform: Any) -> AsyncIterator[Database]:
    opened = await Database.open(platform.database_url("waypost_worker"), name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def session(database: Database) -> AsyncIterator[int]:
    opened = await open_session(database, "worker-test", "worker", "", 1, 600.0)
    yield opened
    await close_session(database, opened)


# The platform's own worker does not know the kind, so the jobs are hidden from its sweep: it is told that they were
# hinted just now, in the far future.
_HIDE = "update control.platform_job set hinted_at = now() + interval '1 day' where id = any ($1::uuid[])"
# One that failed may be hinted again as soon as its delay is over, so it is hidden in the same statement.
_COME = "update control.platform_job set run_at = now(), hinted_at = now() + interval '1 day' where id = $1"
_PUT_OFF = """
update control.platform_job set run_at = run_at + interval '1 hour', hinted_at = now() + interval '1 day' where id = $1
returning run_at - interval '1 hour' as run_at, clock_timestamp() as read_at
"""


async def queue(database: Database, count: int = 1, environment: UUID | None = None) -> list[UUID]:
    made = [ids.new_id() for _ in range(count)]
    async with database.unit() as connection:
        for job_id in made:
            await rows.insert_platform_job(connection, job_id, KIND, environment, ids.new_id())
        await connection.execute(_HIDE, made)
    return made


async def read(database: Database, job_id: UUID) -> PlatformJob:
    async with database.unit() as connection:
        job = await rows.read_platform_job(connection, job_id)
    assert job is not None
    return job


class Handler:
    """Counts its runs and raises the given errors one after the other."""

    def __init__(self, *errors: Exception) -> None:
        self.runs: list[PlatformJob] = []
        self.ends: list[str] = []
        self._errors = list(errors)

    async def __call__(self, job: PlatformJob) -> None:
        self.runs.append(job)
        if self._errors:
            raise self._errors.pop(0)

    async def ended(self, job: PlatformJob, error: str) -> None:
        self.ends.append(error)

    def runner(self, database: Database, session: int) -> PlatformRunner:
        return PlatformRunner(database, {KIND: self}, {KIND: self.ended}, lambda: session)


async def test_a_job_runs_once_however_often_it_is_hinted(database: Database, session: int) -> None:
    """Ten hints at once and one more later: one run, and `completed`."""
    [job_id] = await queue(database)
    handler = Handler()
    runner = handler.runner(database, session)
    assert sum(await asyncio.gather(*(runner.run(job_id) for _ in range(10)))) == 1
    assert not await runner.run(job_id)
    assert len(handler.runs) == 1
    assert (await read(database, job_id)).state == "completed"


async def test_a_hint_for_nothing_is_ignored(database: Database, session: int) -> None:
    """Valkey may hold ids of a database that was restored since."""
    assert not await Handler().runner(database, session).run(ids.new_id())


async def test_a_failure_is_tried_again_later_and_said(database: Database, session: int) -> None:
    """Back in the queue with the error, not before a while; then it completes."""
    [job_id] = await queue(database)
    handler = Handler(unavailable("The object store"))
    runner = handler.runner(database, session)
    async with database.unit() as connection:
        before: datetime = await connection.fetchval("select clock_timestamp()")
    assert await runner.run(job_id)
    async with database.unit() as connection:
        put_off = await connection.fetchrow(_PUT_OFF, job_id)
    assert put_off["run_at"] - before >= timedelta(seconds=0.8)
    assert put_off["run_at"] - put_off["read_at"] <= timedelta(seconds=1.2)
    job = await read(database, job_id)
    assert (job.state, job.number) == ("queued", 1)
    assert "object store" in (job.error or "")
    assert not await runner.run(job_id)  # not due yet
    async with database.unit() as connection:
        await connection.execute(_COME, job_id)
    assert await runner.run(job_id)
    assert (await read(database, job_id)).state == "completed"
    assert handler.ends == []


async def test_attempts_used_up_end_in_dead_letter(database: Database, session: int) -> None:
    """After five, with whoever answers for the kind told once."""
    [job_id] = await queue(database)
    handler = Handler(*(ValueError(f"fault {number}") for number in range(9)))
    runner = handler.runner(database, session)
    for _ in range(7):
        await runner.run(job_id)
        async with database.unit() as connection:
            await connection.execute(_COME, job_id)
    job = await read(database, job_id)
    assert (job.state, job.number, len(handler.runs)) == ("dead_letter", 5, 5)
    assert handler.ends == ["ValueError: fault 4"]


async def test_an_error_that_no_retry_can_help_ends_it_at_once(database: Database, session: int) -> None:
    """`failed` after one attempt."""
    [job_id] = await queue(database)
    handler = Handler(conflict("gone", "It is gone."))
    await handler.runner(database, session).run(job_id)
    assert (await read(database, job_id)).state == "failed"
    assert handler.ends == ["It is gone."]


async def test_a_job_of_a_lost_worker_is_taken_over_and_its_late_end_refused(database: Database, session: int) -> None:
    """While the first worker's lease lives nobody takes it; afterwards the attempt id fences the first one out."""
    [job_id] = await queue(database)
    lost = await open_session(database, "worker-lost", "worker", "", 1, 600.0)
    async with database.unit() as connection:
        first = await rows.claim_platform_job(connection, job_id, lost, 1)
        assert first is not None
        assert await rows.claim_platform_job(connection, job_id, session, 2) is None
    await close_session(database, lost)
    assert not await renew_session(database, lost, 60.0)
    handler = Handler()
    assert await handler.runner(database, session).run(job_id)
    assert handler.runs[0].number == 2
    async with database.unit() as connection:
        assert not await rows.complete_platform_job(connection, job_id, 1)
        assert not await rows.retry_platform_job(connection, job_id, 1, "late", 0.0)
    assert (await read(database, job_id)).state == "completed"


async def test_a_job_that_kills_its_worker_each_time_is_given_up(database: Database, session: int) -> None:
    """Five lost attempts are all it gets: it is not run a sixth time."""
    [job_id] = await queue(database)
    for attempt in range(5):
        lost = await open_session(database, "worker-lost", "worker", "", 1, 600.0)
        async with database.unit() as connection:
            assert await rows.claim_platform_job(connection, job_id, lost, attempt) is not None
        await close_session(database, lost)
    handler = Handler()
    assert not await handler.runner(database, session).run(job_id)
    assert handler.runs == []
    assert (await read(database, job_id)).state == "dead_letter"
    assert len(handler.ends) == 1


async def test_few_hints_of_one_environment_are_out_at_a_time(database: Database) -> None:
    """An environment with many jobs does not stand in front of another with one; all of them get their turn."""
    crowded, quiet = ids.new_id(), ids.new_id()
    many, one = await queue(database, 3 * HINTS_PER_ENVIRONMENT, crowded), await queue(database, 1, quiet)
    async with database.unit() as connection:
        await connection.execute(
            "update control.platform_job set hinted_at = null where id = any ($1::uuid[])", many + one
        )
        first = set(await rows.take_hints(connection, stale_seconds=60, per_environment=HINTS_PER_ENVIRONMENT))
        assert len(first & set(many)) == HINTS_PER_ENVIRONMENT
        assert set(one) <= first
        again = set(await rows.take_hints(connection, stale_seconds=60, per_environment=HINTS_PER_ENVIRONMENT))
        assert not again & {*many, *one}
        await connection.execute(
            "delete from control.platform_job where id = any ($1::uuid[])", list(first & set(many))
        )
        second = set(await rows.take_hints(connection, stale_seconds=60, per_environment=HINTS_PER_ENVIRONMENT))
        assert len(second & set(many)) == HINTS_PER_ENVIRONMENT
        await connection.execute("delete from control.platform_job where id = any ($1::uuid[])", many + one)


async def test_a_hint_that_led_nowhere_is_sent_again(database: Database) -> None:
    """Valkey emptied, a worker dead with its prefetch: the sweep takes it as soon as the last hint is stale."""
    [job_id] = await queue(database)
    async with database.unit() as connection:
        await connection.execute(
            "update control.platform_job set hinted_at = now() - interval '20 s' where id = $1", job_id
        )
        assert job_id not in await rows.take_hints(connection, stale_seconds=30, per_environment=4)
        assert job_id in await rows.take_hints(connection, stale_seconds=15, per_environment=4)
        await connection.execute("delete from control.platform_job where id = $1", job_id)


async def test_a_hint_carries_the_id_alone() -> None:
    """Whatever the job is about is read from the ledger when it runs."""
    hints, sent, job_id = Hints("valkey://127.0.0.1:1"), [], ids.new_id()
    hints._broker = SimpleNamespace(enqueue=sent.append)  # type: ignore[assignment]  # what is used of one
    await hints.send([job_id])
    (message,) = sent
    assert (message.args, message.kwargs, message.options) == ((str(job_id),), {}, {})


async def test_what_dead_workers_had_fetched_is_looked_for_without_an_error(platform: Any) -> None:
    """Dramatiq does that now and then while it fetches; refused, its consumer would rest for seconds each time."""
    queue, url = f"test{ids.new_id().hex}", platform.valkey_url("worker")
    dead, living = make_broker(url), make_broker(url)
    dead.enqueue(Message(queue, ACTOR, ("first",), {}, {}))
    assert len(dead.do_fetch(queue, 1)) == 1
    living.heartbeat_timeout, living.maintenance_chance = -1, MAINTENANCE_SCALE  # whoever was seen before is dead
    assert len(living.do_fetch(queue, 1)) == 1
    living.do_purge(queue)


async def test_a_broker_that_is_away_is_no_error() -> None:
    """The caller has committed already; the sweep comes again."""
    await Hints("unix:///nowhere/valkey.sock").send([ids.new_id()])


async def test_one_of_a_kind_and_subject_is_open_at_a_time(database: Database) -> None:
    """The database refuses a second one until the first has ended."""
    subject = ids.new_id()

    async def twice() -> None:
        async with database.unit() as connection:
            for _ in range(2):
                await rows.insert_platform_job(connection, ids.new_id(), KIND, None, subject)

    with pytest.raises(Exception, match="platform_job_once"):
        await twice()


def test_an_error_is_described_for_people() -> None:
    """Our own sentence; else class and message, within a bound."""
    assert describe(conflict("x", "A sentence.")) == "A sentence."
    assert describe(ValueError("x" * 9999)).startswith("ValueError: xxx")
    assert len(describe(ValueError("x" * 9999))) == 500
    assert isinstance(conflict("x", "y"), WaypostError)
