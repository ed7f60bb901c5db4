"""What is read of the ledger, and that the database itself keeps environments apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from storage.postgres.ledger import listing, record
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.ids import instant_of, new_id
from waypost.job.model import End, Ending, JobState, Outcome
from waypost.job.record import RELAY_LOST, JobFilter, Place

ROW_SECURED = (
    "job", "job_label", "ready", "due", "hold", "permit", "lease", "job_end", "attempt", "cancel_request", "job_log",
    "route", "route_count", "route_delta", "route_minute", "function_pause",
)  # fmt: skip


@asynccontextmanager
async def _reading(tenant: Tenant) -> AsyncIterator[Any]:
    async with tenant.ground.databases["gateway"].as_environment(tenant.id) as connection:
        yield connection


async def _fill(ground: Ground, tenant: Tenant) -> None:
    """At least one row in each table."""
    await tenant.submit(4, labels='{"order":"A-17"}')
    await tenant.submit(delay_seconds=60.0)
    await tenant.submit(2, concurrency_key="c", concurrency_limit=1)
    await ground.gateway.release_holds([(tenant.id, "c")])
    session = await ground.session()
    first, second, third = await tenant.claim(session, 3)
    await ground.relay.settle_end(session, [done(first)])
    await ground.relay.settle_retry(session, [again(second)])
    await ground.gateway.cancel(tenant.id, third.job_id, "key:test")
    await ground.worker.fold_counts()
    await tenant.submit()
    await ground.admin.execute("insert into control.job_log values ($1, $2, 1, 0, 'x')", tenant.id, first.job_id)
    await ground.admin.execute(
        "insert into control.function_pause (environment_id, function, paused_by) values ($1, 'f', 'x')", tenant.id
    )


async def test_an_environment_sees_its_own_rows_and_no_other(
    ground: Ground, tenant: Tenant, other_tenant: Tenant
) -> None:
    """In every table of the ledger, whatever is asked: the wrong role sees nothing, the right one sees its own only."""
    await _fill(ground, tenant)
    for table in ROW_SECURED:
        everything = f"select environment_id from control.{table}"  # noqa: S608 (names above)
        async with _reading(other_tenant) as connection:
            assert await connection.fetch(everything) == [], table
        async with _reading(tenant) as connection:
            assert {row["environment_id"] for row in await connection.fetch(everything)} == {tenant.id}, table


async def test_reads_as_the_wrong_environment_find_nothing(
    ground: Ground, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Even when the application names the right one: the role decides."""
    await _fill(ground, tenant)
    async with _reading(tenant) as connection:
        (newest, *_), _ = await record.list_jobs(connection, tenant.id, JobFilter(), 10)
    async with _reading(other_tenant) as connection:
        assert await record.read_job(connection, tenant.id, newest.id) is None
        assert await record.list_jobs(connection, tenant.id, JobFilter(), 10) == ([], None)
        assert await record.read_attempts(connection, tenant.id, newest.id) == []
        assert await record.queue_counts(connection, tenant.id) == []
        assert await record.read_standing(connection, tenant.id, newest.id) is None
        assert await record.states_since(connection, tenant.id, datetime(2020, 1, 1, tzinfo=UTC), 10) == []


@pytest.mark.parametrize(
    "statement", ["delete from control.job", "update control.lease set session = 1", "delete from control.ready"]
)
async def test_an_environments_role_changes_nothing(tenant: Tenant, statement: str) -> None:
    """It reads; the ledger is written by the processes only."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with _reading(tenant) as connection:
            await connection.execute(statement)


@pytest.mark.parametrize(
    "statement", ["select * from control.job", "select payload from control.job", "select * from control.attempt"]
)
async def test_the_gateways_own_role_reads_no_job(ground: Ground, statement: str) -> None:
    """Bodies are seen as the environment's role or not at all."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with ground.databases["gateway"].unit() as connection:
            await connection.fetch(statement)


async def test_whatever_waits_is_found_by_its_state(ground: Ground, tenant: Tenant) -> None:
    """Ready, due later, held back by a key: tried before or not."""
    first, second = await tenant.submit(2)
    session = await ground.session()
    for claimed, delay in zip(await tenant.claim(session, 2), (0.0, 600.0), strict=True):
        await ground.relay.settle_retry(session, [again(claimed, delay)])
    tried = {first, second}
    fresh = {*await tenant.submit(), *await tenant.submit(delay_seconds=600.0)}
    fresh.update(await tenant.submit(2, concurrency_key="c", concurrency_limit=1))
    for state, jobs in ((JobState.QUEUED, fresh), (JobState.RETRYING, tried)):
        async with _reading(tenant) as connection:
            found, _ = await record.list_jobs(connection, tenant.id, JobFilter(states=(state,)), 50)
        assert {(one.id, one.state) for one in found} == {(job, state) for job in jobs}


async def test_a_job_shows_its_whole_life(ground: Ground, tenant: Tenant) -> None:
    """Queued, running, retrying with its error, running again, completed without one."""
    (job,) = await tenant.submit(
        payload=b"sealed", labels='{"order":"A-17"}', policy='{"timeout_seconds":9}', traceparent="00-a-b-01"
    )
    session = await ground.session()

    async def read() -> Any:
        async with _reading(tenant) as connection:
            return await record.read_job(connection, tenant.id, job)

    queued = await read()
    assert (queued.state, queued.number, queued.payload, queued.function) == (
        JobState.QUEUED,
        0,
        b"sealed",
        "text.count",
    )
    assert (queued.labels, queued.policy, queued.priority) == ({"order": "A-17"}, '{"timeout_seconds":9}', 5)
    assert queued.updated_at == queued.created_at == instant_of(job)
    (first,) = await tenant.claim(session)
    running = await read()
    assert (running.state, running.number, running.node) == (JobState.RUNNING, 1, first.node)
    assert running.updated_at == running.started_at
    await ground.relay.settle_retry(session, [again(first)])
    retrying = await read()
    assert (retrying.state, retrying.number, retrying.error, retrying.error_number) == (
        JobState.RETRYING,
        1,
        b"error",
        1,
    )
    assert retrying.outcome is Outcome.FAILED
    (second,) = await tenant.claim(session)
    again_running = await read()
    assert (again_running.state, again_running.number, again_running.attempt_id) == (
        JobState.RUNNING,
        2,
        second.attempt_id,
    )
    await ground.gateway.cancel(tenant.id, job, "key:test")
    assert (await read()).cancel_requested_at is not None
    await ground.relay.settle_end(session, [done(second)])
    completed = await read()
    assert (completed.state, completed.number, completed.result) == (JobState.COMPLETED, 2, b"result")
    assert (completed.error, completed.outcome) == (None, Outcome.COMPLETED)
    assert completed.cancel_requested_at is not None
    assert completed.finished_at == completed.updated_at
    async with _reading(tenant) as connection:
        bare = await record.read_job(connection, tenant.id, job, bodies=False)
        attempts = await record.read_attempts(connection, tenant.id, job)
        assert await record.read_job(connection, tenant.id, new_id()) is None
    assert bare is not None
    assert (bare.payload, bare.result, bare.labels) == (None, None, {"order": "A-17"})
    assert [(a.number, a.outcome, a.relay, a.attempt_id) for a in attempts] == [
        (1, Outcome.FAILED, "relay-1", first.attempt_id),
        (2, Outcome.COMPLETED, "relay-1", second.attempt_id),
    ]


async def test_a_lost_attempt_says_so_although_nothing_was_stored(ground: Ground, tenant: Tenant) -> None:
    """The sweeper has no key to seal an error with; its readers know what a lost attempt without one is."""
    (job,) = await tenant.submit(policy='{"retry":{"max_attempts":1}}')
    session = await ground.session()
    await tenant.claim(session)
    await ground.lapse(session)
    await ground.worker.sweep_lost()
    async with _reading(tenant) as connection:
        found = await record.read_job(connection, tenant.id, job)
        (attempt,) = await record.read_attempts(connection, tenant.id, job)
    assert found is not None
    assert (found.state, found.implied_error, attempt.implied_error) == (JobState.DEAD_LETTER, RELAY_LOST, RELAY_LOST)


async def test_a_replay_and_its_origin_know_each_other(ground: Ground, tenant: Tenant) -> None:
    """`replay_of` on the new one, `replayed_by` (the newest) on the old one."""
    (old,) = await tenant.submit()
    await tenant.submit(replay_of=old)
    (newest,) = await tenant.submit(replay_of=old)
    async with _reading(tenant) as connection:
        second, first = await record.read_jobs(connection, tenant.id, [old, newest])
    assert (first.replayed_by, second.replay_of) == (newest, old)


async def test_lists_are_newest_first_and_pages_are_stable(ground: Ground, tenant: Tenant) -> None:
    """Pages of three give every job once, also when new ones come meanwhile."""
    jobs = await tenant.submit(8)
    seen: list[UUID] = []
    before: UUID | None = None
    while True:
        async with _reading(tenant) as connection:
            page, before = await record.list_jobs(connection, tenant.id, JobFilter(), 3, before)
        seen += [found.id for found in page]
        await tenant.submit()
        if before is None:
            break
    assert seen == jobs[::-1]


@pytest.mark.parametrize("few", [listing.FEW, -1])
async def test_filters_of_one_name_are_alternatives_and_names_must_all_hold(
    ground: Ground, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """State (each of them), function, label, trigger, time of creation: alone and together; however many wait."""
    monkeypatch.setattr(record, "FEW", few)
    trigger, session = new_id(), await ground.session()
    jobs: dict[str, UUID] = {}
    for name in ("completed", "failed", "running", "retrying"):
        (jobs[name],) = await tenant.submit(labels='{"kind":"done"}')
    claimed = {found.job_id: found for found in await tenant.claim(session, 4)}
    ending = Ending(jobs["failed"], claimed[jobs["failed"]].attempt_id, End.FAILED, Outcome.FAILED)
    await ground.relay.settle_end(session, [done(claimed[jobs["completed"]]), ending])
    await ground.relay.settle_retry(session, [again(claimed[jobs["retrying"]])])
    (jobs["queued"],) = await tenant.submit(function="other", labels='{"kind":"new","a":"b"}', trigger_id=trigger)

    async def names(**wanted: Any) -> set[str]:
        async with _reading(tenant) as connection:
            found, _ = await record.list_jobs(connection, tenant.id, JobFilter(**wanted), 50)
        by_id = {job: name for name, job in jobs.items()}
        assert all(one.state.value == by_id[one.id] for one in found)
        return {by_id[one.id] for one in found}

    for state in ("queued", "running", "retrying", "completed", "failed"):
        assert await names(states=(JobState(state),)) == {state}
    assert await names(states=(JobState.CANCELED, JobState.DEAD_LETTER)) == set()
    assert await names(states=(JobState.QUEUED, JobState.COMPLETED)) == {"queued", "completed"}
    assert await names(functions=("other",)) == {"queued"}
    assert await names(functions=("text.count", "other")) == set(jobs)
    assert await names(labels={"kind": ("done",)}) == set(jobs) - {"queued"}
    assert await names(labels={"kind": ("done", "new"), "a": ("b",)}) == {"queued"}
    assert await names(labels={"kind": ("done",), "a": ("b",)}) == set()
    assert await names(trigger_ids=(trigger,)) == {"queued"}
    assert await names(labels={"kind": ("done",)}, states=(JobState.RUNNING, JobState.QUEUED)) == {"running"}
    now = datetime.now(UTC)
    assert await names(created_after=now - timedelta(minutes=1)) == set(jobs)
    assert await names(created_after=now + timedelta(minutes=1)) == set()
    assert await names(created_before=now - timedelta(minutes=1)) == set()


async def test_standing_names_the_place(ground: Ground, tenant: Tenant) -> None:
    """Due, in a line, in the queue, running, ended; and whether the function is paused."""
    (due,) = await tenant.submit(delay_seconds=60.0)
    (held,) = await tenant.submit(concurrency_key="c", concurrency_limit=1)
    (ready,) = await tenant.submit(rank=9)
    (retried,) = await tenant.submit(function="other")
    session = await ground.session()
    (claimed,) = await tenant.claim(session, function="other")
    await ground.relay.settle_retry(session, [again(claimed)])
    (leased,) = await tenant.submit(rank=0)
    (ended,) = await tenant.submit(rank=0)
    first, second = await tenant.claim(session, 2, rank=0)
    await ground.relay.settle_end(session, [done(second)])
    places = {}
    for job in (due, held, ready, retried, leased, ended):
        async with _reading(tenant) as connection:
            places[job] = await record.read_standing(connection, tenant.id, job)
        assert places[job] is not None
    assert first.job_id == leased
    assert {job: found.place for job, found in places.items() if found} == {
        due: Place.DUE,
        held: Place.HOLD,
        ready: Place.READY,
        retried: Place.READY,
        leased: Place.LEASE,
        ended: Place.END,
    }
    waiting = places[due]
    assert waiting is not None
    assert waiting.due_at is not None
    assert waiting.since == instant_of(due)
    await ground.admin.execute(
        "insert into control.function_pause (environment_id, function, note, paused_by)"
        " values ($1, 'text.count', 'why', 'key:a')",
        tenant.id,
    )
    async with _reading(tenant) as connection:
        paused = await record.read_standing(connection, tenant.id, ready)
        other = await record.read_standing(connection, tenant.id, retried)
        assert await record.read_standing(connection, tenant.id, new_id()) is None
    assert paused is not None
    assert (paused.paused_note, paused.paused_by) == ("why", "key:a")
    assert other is not None
    assert other.paused_by is None


async def test_changes_since_an_instant_are_all_there_in_order(
    ground: Ground, tenant: Tenant, other_tenant: Tenant
) -> None:
    """What an event stream resumes from: of one job or all, of this environment only."""
    start = datetime.now(UTC) - timedelta(seconds=1)
    (job,), (other,) = await tenant.submit(), await tenant.submit(rank=0)
    await other_tenant.submit()
    session = await ground.session()
    (claimed,) = await tenant.claim(session)
    await ground.relay.settle_retry(session, [again(claimed)])
    (claimed,) = await tenant.claim(session)
    await ground.relay.settle_end(session, [done(claimed)])
    await tenant.claim(session, rank=0)
    async with _reading(tenant) as connection:
        changes = await record.states_since(connection, tenant.id, start, 100)
        mine = await record.states_since(connection, tenant.id, start, 100, job)
        later = await record.states_since(connection, tenant.id, changes[-1].at, 100)
    assert [(c.state, c.number) for c in mine] == [
        (JobState.QUEUED, 0), (JobState.RUNNING, 1), (JobState.RETRYING, 1), (JobState.RUNNING, 2),
        (JobState.COMPLETED, 2),
    ]  # fmt: skip
    assert {(c.job_id, c.state) for c in changes} == {
        *((job, c.state) for c in mine), (other, JobState.QUEUED), (other, JobState.RUNNING)
    }  # fmt: skip
    assert [c.at for c in changes] == sorted(c.at for c in changes)
    assert changes[-1] in later
