"""Canceling: at once where a job waits, by request where it runs, exactly one end in every race."""

import asyncio
from typing import Any

import pytest

from storage.postgres.ledger.cancel import CancelResult
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.ids import new_id
from waypost.job.model import End, Ending, JobState, Outcome


@pytest.mark.parametrize(
    ("place", "more"),
    [
        ("ready", {}),
        ("due", {"delay_seconds": 60.0}),
        ("hold", {"concurrency_key": "c", "concurrency_limit": 1}),
    ],
)
async def test_a_waiting_job_ends_at_once(ground: Ground, tenant: Tenant, place: str, more: dict[str, Any]) -> None:
    """Wherever it waits; a second cancel finds it ended."""
    (job,) = await tenant.submit(**more)
    assert await ground.places(job) == [place]
    answer = await ground.gateway.cancel(tenant.id, job, "key:test")
    assert (answer.result, answer.state) == (CancelResult.ENDED, JobState.CANCELED)
    assert await ground.places(job) == ["job_end"]
    answer = await ground.gateway.cancel(tenant.id, job, "key:test")
    assert (answer.result, answer.state) == (CancelResult.ALREADY_ENDED, JobState.CANCELED)


@pytest.mark.parametrize("delay_seconds", [0.0, 60.0])
async def test_a_job_that_waits_for_its_next_attempt_ends_at_once(
    ground: Ground, tenant: Tenant, delay_seconds: float
) -> None:
    """It is found by the key of its last retry."""
    (job,) = await tenant.submit()
    session = await ground.session()
    (claimed,) = await tenant.claim(session)
    await ground.relay.settle_retry(session, [again(claimed, delay_seconds)])
    answer = await ground.gateway.cancel(tenant.id, job, "key:test")
    assert (answer.result, answer.number) == (CancelResult.ENDED, 1)
    assert await ground.places(job) == ["job_end"]


async def test_a_running_job_gets_one_request_and_an_answer_before_it_stands(ground: Ground, tenant: Tenant) -> None:
    """Asking again changes nothing; the answer that arrives before the grace is over is the end."""
    (job,) = await tenant.submit()
    session = await ground.session()
    (claimed,) = await tenant.claim(session)
    for _ in range(2):
        answer = await ground.gateway.cancel(tenant.id, job, "key:test")
        assert (answer.result, answer.session, answer.attempt_id) == (CancelResult.ASKED, session, claimed.attempt_id)
    assert await ground.count("cancel_request") == 1
    assert await ground.relay.cancel_requested([job, new_id()]) == {job}
    assert len(await ground.relay.settle_end(session, [done(claimed)])) == 1
    assert await ground.ends() == {job: End.COMPLETED}
    assert await ground.count("cancel_request") == 0
    assert await ground.count("job_end", "cancel_requested_at is not null") == 1


async def test_a_canceled_job_is_not_tried_again(ground: Ground, tenant: Tenant) -> None:
    """Its attempt fails after the request: it ends canceled instead of waiting for the next one."""
    (job,) = await tenant.submit()
    session = await ground.session()
    (claimed,) = await tenant.claim(session)
    await ground.gateway.cancel(tenant.id, job, "key:test")
    (settled,) = await ground.relay.settle_retry(session, [again(claimed, 30.0)])
    assert settled.canceled
    assert await ground.ends() == {job: End.CANCELED}
    assert await ground.places(job) == ["job_end"]
    assert await ground.count("attempt") == 0


async def test_what_is_not_there_or_of_somebody_else_cannot_be_canceled(
    ground: Ground, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Both are unknown, and the other's job runs on."""
    jobs = await tenant.submit(2)
    await tenant.claim(await ground.session())
    for job in (*jobs, new_id()):
        assert (await ground.gateway.cancel(other_tenant.id, job, "x")).result is CancelResult.UNKNOWN
    assert await ground.places(jobs[0]) == ["lease"]
    assert await ground.places(jobs[1]) == ["ready"]
    assert await ground.count("cancel_request") == 0


async def test_cancel_and_claim_at_the_same_moment_make_one_end(ground: Ground, tenant: Tenant) -> None:
    """Each job is either ended by its cancel or runs with a request: never both, never neither."""
    jobs = await tenant.submit(150)
    session = await ground.session()

    async def cancels() -> list[CancelResult]:
        answers = [await ground.gateway.cancel(tenant.id, job, "key:test") for job in jobs]
        return [answer.result for answer in answers]

    async def claims() -> list[Ending]:
        found = []
        while await ground.count("ready"):
            found += await tenant.claim(session, 5)
        return [Ending(c.job_id, c.attempt_id, End.CANCELED, Outcome.CANCELED) for c in found]

    results, running = await asyncio.gather(cancels(), claims())
    assert set(results) <= {CancelResult.ENDED, CancelResult.ASKED}
    assert results.count(CancelResult.ASKED) == len(running) == await ground.count("cancel_request")
    settled = await ground.relay.settle_end(session, running)
    assert len(settled) == len(running)
    assert await ground.ends() == dict.fromkeys(jobs, End.CANCELED)


async def test_the_sweeper_ends_what_its_relay_should_have_ended(ground: Ground, tenant: Tenant) -> None:
    """Long after the grace; the relay's own later answer is refused. A young request is left alone."""
    old, young = await tenant.submit(2)
    session = await ground.session()
    claimed = await tenant.claim(session, 2)
    for job in (old, young):
        await ground.gateway.cancel(tenant.id, job, "key:test")
    await ground.admin.execute(
        "update control.cancel_request set requested_at = now() - interval '1 minute' where job_id = $1", old
    )
    swept = await ground.worker.sweep_canceled()
    assert swept.changes == ((tenant.id, old, JobState.CANCELED, 1),)
    assert await ground.ends() == {old: End.CANCELED}
    late = [done(found) for found in claimed]
    assert [found.job_id for found in await ground.relay.settle_end(session, late)] == [young]


async def test_the_sweeper_catches_a_job_that_went_back_into_its_queue_meanwhile(
    ground: Ground, tenant: Tenant
) -> None:
    """A request that came while the attempt was being settled ends the job where it waits."""
    (job,) = await tenant.submit()
    await ground.admin.execute(
        "insert into control.cancel_request (job_id, environment_id, requested_by, requested_at)"
        " values ($1, $2, 'key:test', now() - interval '1 minute')",
        job,
        tenant.id,
    )
    swept = await ground.worker.sweep_canceled()
    assert swept.count == 1
    assert await ground.ends() == {job: End.CANCELED}
    assert await ground.count("cancel_request") == 0
