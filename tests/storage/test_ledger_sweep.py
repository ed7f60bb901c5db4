"""What time does: due jobs are queued, late ones expire, dead relays' jobs are tried again, by Postgres' clock."""

import asyncio
from typing import Any
from uuid import UUID

from storage.postgres.ledger.sweep import Swept
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.job.model import End, JobState, Outcome


async def test_a_job_is_queued_when_its_time_has_come_and_not_before(ground: Ground, tenant: Tenant) -> None:
    """`next_due_seconds` says when; a job with a concurrency key goes into its line, not into the queue."""
    assert await ground.worker.next_due_seconds() is None
    (plain,) = await tenant.submit(delay_seconds=60.0)
    (keyed,) = await tenant.submit(delay_seconds=60.0, concurrency_key="c", concurrency_limit=1)
    (later,) = await tenant.submit(delay_seconds=120.0)
    assert await ground.worker.promote_due() == Swept()
    due = await ground.worker.next_due_seconds()
    assert due is not None
    assert 50 < due <= 60
    await ground.admin.execute("update control.due set due_at = due_at - interval '61 seconds'")
    swept = await ground.worker.promote_due()
    assert swept.woken == ((tenant.id, await tenant.route(), 4),)
    assert swept.lines == ((tenant.id, "c"),)
    assert [await ground.places(job) for job in (plain, keyed, later)] == [["ready"], ["hold"], ["due"]]


async def test_several_sweepers_at_once_move_each_job_once(ground: Ground, tenant: Tenant) -> None:
    """Due jobs and late ones, taken by four workers in small bites."""
    await tenant.submit(100, delay_seconds=60.0)
    await tenant.submit(100, expires_in_seconds=60)
    await ground.admin.execute("update control.due set due_at = now() - interval '1 second'")
    await ground.admin.execute("update control.ready set expires_at = now() - interval '1 second'")

    async def sweep() -> tuple[int, int]:
        promoted = [(await ground.worker.promote_due(7)).count for _ in range(20)]
        expired = [(await ground.worker.expire(7)).count for _ in range(20)]
        return sum(promoted), sum(expired)

    totals = await asyncio.gather(*(sweep() for _ in range(4)))
    assert sum(promoted for promoted, _ in totals) == 100
    assert sum(expired for _, expired in totals) == 100
    assert await ground.count("ready") == 100
    assert await ground.count("job_end", "state = $1", End.EXPIRED) == 100


async def test_a_job_expires_wherever_it_waits_but_not_once_it_was_started(ground: Ground, tenant: Tenant) -> None:
    """In the queue, due, in a line; a job that is being tried again does not expire."""
    more: tuple[dict[str, Any], ...] = ({}, {"delay_seconds": 3600.0}, {"concurrency_key": "c", "concurrency_limit": 1})
    waiting = [(await tenant.submit(expires_in_seconds=60, **kind))[0] for kind in more]
    (started,) = await tenant.submit(function="other", expires_in_seconds=60)
    session = await ground.session()
    (claimed,) = await tenant.claim(session, function="other")
    await ground.relay.settle_retry(session, [again(claimed)])
    assert (await ground.worker.expire()).count == 0
    for table in ("ready", "due", "hold"):
        late = f"update control.{table} set expires_at = expires_at - interval '2 minutes'"  # noqa: S608 (names above)
        await ground.admin.execute(late)
    swept = await ground.worker.expire()
    assert {(job, state) for _, job, state, _ in swept.changes} == {(job, JobState.EXPIRED) for job in waiting}
    assert await ground.ends() == dict.fromkeys(waiting, End.EXPIRED)
    assert await ground.places(started) == ["ready"]


async def test_a_session_that_ran_out_loses_its_jobs_and_cannot_be_renewed(ground: Ground, tenant: Tenant) -> None:
    """They are queued again at once, a lost attempt recorded; the relay that comes back is refused everywhere."""
    jobs = await tenant.submit(3)
    session, healthy = await ground.session(), await ground.session()
    claimed = await tenant.claim(session, 2)
    await tenant.claim(healthy, 1)
    assert await ground.relay.renew_session(session, 60.0)
    assert (await ground.worker.sweep_lost()).count == 0
    await ground.lapse(session)
    assert not await ground.relay.renew_session(session, 60.0)
    swept = await ground.worker.sweep_lost()
    assert swept.woken == ((tenant.id, await tenant.route(), 4),)
    assert {(job, state, number) for _, job, state, number in swept.changes} == {
        (job, JobState.RETRYING, 1) for job in jobs[:2]
    }
    assert await ground.relay.settle_end(session, [done(found) for found in claimed]) == []
    assert await ground.count("attempt", "outcome = $1", Outcome.LOST) == 2
    assert await ground.places(jobs[2]) == ["lease"]
    assert {found.number for found in await tenant.claim(healthy, 5)} == {2}


async def test_a_job_that_was_lost_as_often_as_it_may_be_tried_is_a_dead_letter(ground: Ground, tenant: Tenant) -> None:
    """`max_attempts` counts lost attempts; the end says that the last one was lost."""
    (job,) = await tenant.submit(policy='{"retry":{"max_attempts":2}}')
    for _ in range(2):
        session = await ground.session()
        assert len(await tenant.claim(session)) == 1
        await ground.lapse(session)
        assert (await ground.worker.sweep_lost()).count == 1
    assert await ground.ends() == {job: End.DEAD_LETTER}
    assert await ground.count("job_end", "outcome = $1 and number = 2", Outcome.LOST) == 1


async def test_a_job_to_be_canceled_whose_relay_dies_is_canceled(ground: Ground, tenant: Tenant) -> None:
    """It is not tried again only to be canceled later."""
    (job,) = await tenant.submit()
    session = await ground.session()
    await tenant.claim(session)
    await ground.gateway.cancel(tenant.id, job, "key:test")
    await ground.lapse(session)
    swept = await ground.worker.sweep_lost()
    assert [(found, state) for _, found, state, _ in swept.changes] == [(job, JobState.CANCELED)]
    assert await ground.ends() == {job: End.CANCELED}


async def test_a_closed_session_loses_its_jobs_soon_and_an_old_one_to_the_thorough_look(
    ground: Ground, tenant: Tenant
) -> None:
    """Leases of a session that ended long ago (a claim that came through late) are found by the thorough look."""
    (first,), (second,) = await tenant.submit(), await tenant.submit()
    session = await ground.session()
    await tenant.claim(session)
    await ground.relay.close_session(session)
    assert (await ground.worker.sweep_lost()).count == 1
    late = await ground.session()
    await tenant.claim(late, 1)
    await ground.admin.execute("update control.session set ended_at = now() - interval '1 hour' where id = $1", late)
    assert (await ground.worker.sweep_lost()).count == 0
    assert (await ground.worker.sweep_lost(thorough=True)).count == 1
    assert await ground.count("lease") == 0
    assert {tuple(await ground.places(job)) for job in (first, second)} == {("ready",)}


async def test_several_sweepers_take_each_lease_once(ground: Ground, tenant: Tenant) -> None:
    """Four workers, one dead relay: every job is queued again once, with one attempt behind it."""
    jobs: list[UUID] = await tenant.submit(200)
    session = await ground.session()
    await tenant.claim(session, 200)
    await ground.lapse(session)
    swept = await asyncio.gather(*(ground.worker.sweep_lost() for _ in range(4)))
    assert sum(found.count for found in swept) == len(jobs)
    assert await ground.count("ready", "number = 1") == len(jobs)
    assert await ground.count("attempt") == len(jobs)
