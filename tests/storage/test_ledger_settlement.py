"""Settlements: the fence lets exactly one answer through, whoever answers how often (decision 12a)."""

import asyncio
import random
from uuid import UUID

import asyncpg
import msgspec
import pytest

from storage.postgres.ledger.refused import note_refused
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.clock import now
from waypost.ids import new_attempt_id, new_id
from waypost.job.model import Claimed, End, Ending, Outcome, RefusedAnswer


async def test_only_the_session_and_attempt_of_the_lease_may_settle(ground: Ground, tenant: Tenant) -> None:
    """Another session, another attempt: refused, nothing changed; then the right one is accepted."""
    (job,) = await tenant.submit()
    session, stranger = await ground.session(), await ground.session()
    (claimed,) = await tenant.claim(session)
    stale = msgspec.structs.replace(claimed, attempt_id=new_attempt_id())
    for wrong_session, wrong in ((stranger, claimed), (session, stale)):
        assert await ground.relay.settle_end(wrong_session, [done(wrong)]) == []
        assert await ground.relay.settle_retry(wrong_session, [again(wrong)]) == []
    assert await ground.places(job) == ["lease"]
    (settled,) = await ground.relay.settle_end(session, [done(claimed)])
    assert (settled.job_id, settled.environment_id, settled.number) == (job, tenant.id, 1)
    assert await ground.places(job) == ["job_end"]


async def test_a_second_answer_changes_nothing(ground: Ground, tenant: Tenant) -> None:
    """Neither in a later batch nor twice in one; the first result stands."""
    (job,) = await tenant.submit()
    session = await ground.session()
    (claimed,) = await tenant.claim(session)
    twice = [done(claimed, result=b"first"), done(claimed, End.FAILED, result=b"second")]
    assert len(await ground.relay.settle_end(session, twice)) == 1
    assert await ground.relay.settle_end(session, [done(claimed, result=b"third")]) == []
    assert await ground.relay.settle_retry(session, [again(claimed)]) == []
    assert await ground.admin.fetchval("select result from control.job_end where job_id = $1", job) == b"first"


async def test_late_answers_are_noted_where_the_platform_had_given_up(ground: Ground, tenant: Tenant) -> None:
    """A lost attempt: any answer. One out of time: a result. Nothing for what its node ended, nor from elsewhere."""
    jobs = await tenant.submit(4)
    session = await ground.session()
    lost, late, slow, own = await tenant.claim(session, 4)
    outcomes = ((lost, Outcome.LOST), (late, Outcome.TIMED_OUT), (slow, Outcome.TIMED_OUT), (own, Outcome.COMPLETED))
    told = [RefusedAnswer(tenant.id, one.job_id, one.attempt_id, one is not slow, now()) for one, _ in outcomes]
    assert await note_refused(ground.databases["relay"], told) == set()  # they run: nothing is known yet
    endings = [Ending(one.job_id, one.attempt_id, End.DEAD_LETTER, outcome) for one, outcome in outcomes[:2]]
    await ground.relay.settle_end(session, [*endings, done(own)])
    again_slow = msgspec.structs.replace(again(slow), outcome=Outcome.TIMED_OUT)
    await ground.relay.settle_retry(session, [again_slow])
    foreign = [msgspec.structs.replace(answer, environment_id=new_id()) for answer in told]
    assert await note_refused(ground.databases["relay"], foreign) == set()
    assert await note_refused(ground.databases["relay"], told) == {one.attempt_id for one, _ in outcomes}
    noted = """
        select attempt_id from control.attempt where job_id = any ($1) and answer_refused_at is not null
        union all
        select attempt_id from control.job_end where job_id = any ($1) and answer_refused_at is not null
    """
    found = await ground.admin.fetch(noted, jobs)
    assert {row["attempt_id"] for row in found} == {lost.attempt_id, late.attempt_id}


async def test_a_relay_may_note_a_refusal_and_change_nothing_else_of_an_end(ground: Ground, tenant: Tenant) -> None:
    """An end is final: the database refuses the relay's own login."""
    await tenant.submit()
    session = await ground.session()
    (claimed,) = await tenant.claim(session)
    await ground.relay.settle_end(session, [done(claimed)])
    for change in ("state = 1", "result = null", "finished_at = now()"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with ground.databases["relay"].unit() as connection:
                await connection.execute(f"update control.job_end set {change}")  # noqa: S608 (named above)


async def test_a_stale_answer_beside_the_current_one_does_not_hide_it(ground: Ground, tenant: Tenant) -> None:
    """Both attempts of one job in one batch, the stale one first: the current one is accepted."""
    await tenant.submit()
    session = await ground.session()
    (first,) = await tenant.claim(session)
    assert len(await ground.relay.settle_retry(session, [again(first)])) == 1
    (second,) = await tenant.claim(session)
    settled = await ground.relay.settle_end(session, [done(first), done(second)])
    assert [found.number for found in settled] == [2]


async def test_a_retry_waits_out_its_delay_and_goes_to_the_end_of_its_queue(ground: Ground, tenant: Tenant) -> None:
    """With a delay it is due later; without one it is ready, behind those that came before."""
    jobs = await tenant.submit(3)
    session = await ground.session()
    first, second = await tenant.claim(session, 2)
    settled = await ground.relay.settle_retry(session, [again(first, 30.0), again(second)])
    assert {found.job_id for found in settled} == set(jobs[:2])
    assert await ground.places(first.job_id) == ["due"]
    assert await ground.places(second.job_id) == ["ready"]
    assert [(found.job_id, found.number) for found in await tenant.claim(session, 3)] == [(jobs[2], 1), (jobs[1], 2)]


async def test_an_attempt_that_did_not_end_its_job_is_recorded(ground: Ground, tenant: Tenant) -> None:
    """Number, fence, outcome, error: one row an attempt."""
    await tenant.submit()
    session = await ground.session()
    for number in (1, 2, 3):
        (claimed,) = await tenant.claim(session)
        assert claimed.number == number
        await ground.relay.settle_retry(session, [again(claimed)])
    rows = await ground.admin.fetch("select number, outcome, error from control.attempt order by number")
    assert [tuple(row) for row in rows] == [(number, Outcome.FAILED, b"error") for number in (1, 2, 3)]


async def test_settling_nothing_is_nothing(ground: Ground) -> None:
    """An empty batch asks no statement."""
    assert await ground.relay.settle_end(1, []) == []
    assert await ground.relay.settle_retry(1, []) == []
    assert await ground.relay.claim(1, []) == []


async def test_every_job_ends_once_whoever_races(ground: Ground, tenant: Tenant) -> None:
    """Four finishers that answer twice, late and under dead sessions, a sweeper that takes sessions away, cancels:
    every job reaches exactly one end, and an answer was accepted exactly when it made that end.
    """
    jobs = set(await tenant.submit(400, policy='{"retry":{"max_attempts":100}}'))
    accepted: dict[UUID, int] = {}
    refused, lost = 0, 0
    old: list[tuple[int, Claimed]] = []
    chance = random.Random(7)
    swept: list[UUID] = []

    async def finisher() -> None:
        nonlocal refused
        session = await ground.session()
        while len(accepted) + len(swept) < len(jobs):
            claimed = await tenant.claim(session, 7)
            if not claimed:
                if not await ground.relay.renew_session(session, 60.0):
                    session = await ground.session()
                await asyncio.sleep(0.002)
                continue
            if chance.random() < 0.3:  # this relay stalls past its lease, answers when it is too late
                await ground.lapse(session)
                old.extend((session, found) for found in claimed)
                session = await ground.session()
                continue
            answers: list[Ending] = [done(found) for found in claimed] * 2
            settled = await ground.relay.settle_end(session, answers)
            for found in settled:
                accepted[found.job_id] = accepted.get(found.job_id, 0) + 1
            refused += len(claimed) - len(settled)
            if old:
                late_session, late = old.pop(chance.randrange(len(old)))
                for found in await ground.relay.settle_end(late_session, [done(late)]):
                    accepted[found.job_id] = accepted.get(found.job_id, 0) + 1

    async def sweeper() -> None:
        nonlocal lost
        while len(accepted) + len(swept) < len(jobs):
            found = await ground.worker.sweep_lost()
            lost += found.count
            swept.extend(job for _, job, state, _ in found.changes if state.value == "canceled")
            await asyncio.sleep(0.005)

    async def canceler() -> None:
        for job in chance.sample(sorted(jobs), 40):
            answer = await ground.gateway.cancel(tenant.id, job, "key:test")
            if answer.result.value == "ended":
                swept.append(job)
            await asyncio.sleep(0.002)

    async with asyncio.timeout(90):
        await asyncio.gather(*(finisher() for _ in range(4)), sweeper(), sweeper(), canceler())
    ends = await ground.ends()
    assert set(ends) == jobs
    assert set(accepted.values()) == {1}
    assert {job for job, end in ends.items() if end is End.COMPLETED} == set(accepted)
    assert lost > 0
    for session, late in old:
        assert await ground.relay.settle_end(session, [done(late)]) == []
    assert [await ground.count(table) for table in ("ready", "lease", "due", "hold")] == [0, 0, 0, 0]
