"""Deliveries on their way: one dead endpoint delays nobody, whatever dies nothing is lost or recorded twice."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from functions.webhook.deliver import deliverer
from functions.webhook.send import Answered, Sender
from jobs import delivery as machine
from jobs.delivery import Deliveries, settlement
from jobs.endpoint import AT_ONCE
from jobs.fan_out import FanOut
from storage.postgres.subscription import queue
from tests.receiver import Receiver, answer, break_off, hang
from tests.storage.delivery_ground import DeliveryGround, OpenKeys, failed, good, settled
from tests.storage.ledger_ground import Ground, Tenant, done
from waypost import clock
from waypost.job.model import End
from waypost.subscription.model import DELAYS_SECONDS, FAILING_FOR, JITTER, Claimed, Outcome, Verdict

RECORDED = timedelta(seconds=10)  # that a busy machine may take from an answer to its record, where the delay begins


@pytest.fixture
async def deliveries(ground: Ground, tenant: Tenant) -> AsyncIterator[DeliveryGround]:
    made = DeliveryGround(ground, tenant)
    yield made
    await made.close()


@asynccontextmanager
async def running(worker: Deliveries) -> AsyncIterator[Deliveries]:
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await task


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """What a worker has written down is told to nobody."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# --- nobody is delayed ------------------------------------------------------------------------------------------------


class Patient:
    """A sender to whom no answer comes too late."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answered:
        return await self._sender.post(url, headers, body, seconds=120)


async def test_dead_endpoints_delay_nobody(deliveries: DeliveryGround, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty that hang with much to get, five that refuse: two that live get all of theirs while the dead still hang,
    and a dead one is never asked for more than one at a time."""
    monkeypatch.setattr(machine, "STOP_SECONDS", 0.1)
    deliver = deliverer(OpenKeys(), Patient(deliveries.ways._sender))  # type: ignore[arg-type]  # what is used of them
    async with Receiver(behave=hang) as dead, Receiver() as live, Receiver() as closed:
        nobody = closed.url
        await closed.__aexit__()
        for url in (*[dead.url] * 20, *[nobody] * 5):
            await deliveries.queue(await deliveries.subscribe(url), 50)
        for _ in range(2):
            await deliveries.queue(await deliveries.subscribe(live.url), 100)
        async with running(deliveries.worker(deliver)):
            await live.until(200, seconds=60)
            assert len({one.id for one in live.requests}) == 200
            assert len(dead.requests) == 20  # none of them has answered yet


async def test_no_endpoint_gets_more_because_it_has_more(deliveries: DeliveryGround) -> None:
    """A claim takes of each what there is room for; one with a thousand waiting takes no place of one with two."""
    many, few = await deliveries.subscribe("http://a/"), await deliveries.subscribe("http://b/")
    await deliveries.queue(many, 1_000)
    await deliveries.queue(few, 2)
    claimed = await queue.claim(deliveries.database, {many: 5}, room=2, limit=100, seconds=30)
    of = [one.subscription_id for one in claimed]
    assert (of.count(many), of.count(few)) == (5, 2)
    assert await queue.claim(deliveries.database, {many: 0, few: 0}, room=2, limit=100, seconds=30) == []


async def test_a_healthy_endpoint_is_opened_up_to_its_limit(deliveries: DeliveryGround) -> None:
    """Never more than AT_ONCE of one endpoint under way in one worker."""
    now = most = 0

    async def deliver(_: Claimed) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return good()

    wanted = await deliveries.queue(await deliveries.subscribe("http://a/"), 150)
    async with running(deliveries.worker(deliver)):
        await until(lambda: _none_waits(deliveries))
    assert most == AT_ONCE
    assert [len(await deliveries.attempts(one)) for one in wanted] == [1] * 150


async def test_two_workers_send_nothing_twice(deliveries: DeliveryGround) -> None:
    """Rows arbitrate: each delivery is one worker's."""
    async with Receiver() as live:
        for _ in range(4):
            await deliveries.queue(await deliveries.subscribe(live.url), 50)
        async with running(deliveries.worker()), running(deliveries.worker()):
            await live.until(200)
            await until(lambda: _none_waits(deliveries))
        assert len({one.id for one in live.requests}) == len(live.requests) == 200


async def _none_waits(deliveries: DeliveryGround) -> bool:
    return await deliveries.ground.count("delivery_queue") == 0


# --- nothing is lost, nothing is recorded twice -----------------------------------------------------------------------


async def test_a_worker_killed_between_send_and_record_loses_nothing(deliveries: DeliveryGround) -> None:
    """The endpoint has it, the worker dies before it can write that down: another sends it again, with the same
    webhook-id and body, and one attempt is recorded."""
    async with Receiver(behave=hang) as receiver:
        subscription = await deliveries.subscribe(receiver.url)
        (delivery,) = await deliveries.queue(subscription)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "tests.storage.deliver_process"),
            deliveries.ground.server.url("waypost_worker"),
        )
        await receiver.until(1, seconds=30)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        receiver.behave = answer(200)
        await deliveries.come(delivery)  # its lease is over
        async with running(deliveries.worker()):
            await receiver.until(2)
            await until(lambda: _none_waits(deliveries))
        first, second = receiver.requests
        assert (first.id, first.body) == (second.id, second.body)
        second.verify(deliveries.secrets[subscription])
    (attempt,) = await deliveries.attempts(delivery)
    assert (attempt["number"], attempt["status"]) == (2, 200)
    assert (await deliveries.row(delivery))["state"] == "delivered"


async def test_a_late_outcome_changes_nothing(deliveries: DeliveryGround) -> None:
    """The first claim ran out and another has it: what the first brings is recorded neither before nor after."""
    (delivery,) = await deliveries.queue(await deliveries.subscribe("http://a/"))
    (first,) = await deliveries.claim(seconds=0.0)
    (second,) = await deliveries.claim(seconds=30.0)
    await queue.settle(deliveries.database, [settled(first, Verdict.FAILED)])
    assert (await deliveries.row(delivery))["state"] == "pending"
    for _ in range(2):  # the same outcome again: no second record
        await queue.settle(deliveries.database, [settled(second)])
    await queue.settle(deliveries.database, [settled(first, Verdict.FAILED)])
    assert [one["number"] for one in await deliveries.attempts(delivery)] == [2]
    row = await deliveries.row(delivery)
    assert (row["state"], row["attempts"], row["status"]) == ("delivered", 2, 200)


async def test_the_function_runs_twice_and_sends_the_same(deliveries: DeliveryGround) -> None:
    """webhook.deliver: the same id and body each time; of two outcomes of one claim one counts."""
    async with Receiver() as receiver:
        (delivery,) = await deliveries.queue(await deliveries.subscribe(receiver.url))
        (claimed,) = await deliveries.claim()
        outcomes = [await deliveries.ways.deliver(claimed) for _ in range(2)]
        for outcome in outcomes:
            await queue.settle(deliveries.database, [settlement(claimed, outcome)])
        first, second = receiver.requests
        assert (first.id, first.body) == (second.id, second.body)
    assert len(await deliveries.attempts(delivery)) == 1


async def test_a_failure_of_ours_is_no_attempt(deliveries: DeliveryGround) -> None:
    """Nothing was sent: nothing is recorded, the claim runs out, and it is sent after that."""
    (delivery,) = await deliveries.queue(await deliveries.subscribe("http://a/"))
    tries = []

    async def deliver(claimed: Claimed) -> Outcome:
        tries.append(claimed.number)
        if len(tries) == 1:
            raise RuntimeError("a fault")
        return good()

    async with running(deliveries.worker(deliver, lease_seconds=0.1)):
        await until(lambda: _none_waits(deliveries))
    assert len(await deliveries.attempts(delivery)) == 1


# --- when it is tried again -------------------------------------------------------------------------------------------


async def test_ten_attempts_by_the_schedule_and_then_it_has_failed(deliveries: DeliveryGround) -> None:
    """Each waits as long as the contract says, spread by the jitter; asked for again, the round begins anew."""
    subscription = await deliveries.subscribe("http://a/")
    (delivery,) = await deliveries.queue(subscription)
    for wait in (*DELAYS_SECONDS[1:], None):
        (claimed,) = await deliveries.claim()
        before = clock.now()
        await queue.settle(deliveries.database, [settlement(claimed, failed())])
        after = clock.now()
        if wait is not None:
            assert await deliveries.claim() == []
            due = await deliveries.come(delivery)
            assert due - before >= timedelta(seconds=wait)
            assert due - after <= timedelta(seconds=wait * (1 + JITTER))
    row = await deliveries.row(delivery)
    assert (row["state"], row["attempts"], row["status"], row["error"]) == ("failed", 10, 500, "http_status")
    assert await _none_waits(deliveries)
    assert [one["number"] for one in await deliveries.attempts(delivery)] == list(range(1, 11))


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honoured(deliveries: DeliveryGround, form: str) -> None:
    """429 with seconds and with a date: that delivery is not tried before, and nothing else goes to the endpoint."""
    date = (clock.now() + timedelta(seconds=121)).replace(microsecond=0)
    text = "120" if form == "seconds" else format_datetime(date, usegmt=True)
    async with Receiver(behave=answer(429, retry_after=text)) as receiver:
        subscription = await deliveries.subscribe(receiver.url)
        wanted = await deliveries.queue(subscription, 3)
        async with running(deliveries.worker()):
            await receiver.until(1)
            await until(lambda: _attempted(deliveries, 1))
            await asyncio.sleep(0.5)  # time enough for the others, if they were sent
        assert len(receiver.requests) == 1
    (tried,) = [one for one in wanted if (await deliveries.row(one))["attempts"]]
    due, answered = await deliveries.come(tried), await _answered(deliveries, tried)
    assert due >= (answered + timedelta(seconds=120) if form == "seconds" else date)
    assert due <= answered + timedelta(seconds=121 * (1 + JITTER)) + RECORDED


async def _answered(deliveries: DeliveryGround, delivery: UUID) -> datetime:
    """When its only attempt was over, and no later: what it took is rounded to milliseconds."""
    (attempt,) = await deliveries.attempts(delivery)
    began: datetime = attempt["started_at"]
    return began + timedelta(milliseconds=attempt["duration_ms"] - 1)


async def _attempted(deliveries: DeliveryGround, count: int) -> bool:
    return await deliveries.ground.count("delivery_attempt") == count


# --- disabling --------------------------------------------------------------------------------------------------------


async def test_gone_disables_and_the_others_are_told(deliveries: DeliveryGround) -> None:
    """410: disabled with its reason, an entry in the audit, an event for other subscriptions, and what waits is given
    up."""
    async with Receiver(behave=answer(410)) as gone, Receiver() as other:
        subscription = await deliveries.subscribe(gone.url)
        told = await deliveries.subscribe(other.url, "subscription.disabled")
        wanted = await deliveries.queue(subscription, 5)
        worker = deliveries.worker()
        fan_out = FanOut(deliveries.database, OpenKeys(), worker.wake)  # type: ignore[arg-type]  # keys that seal nothing
        async with running(worker):
            await until(lambda: _is_disabled(deliveries, subscription))
            await worker.abandon()
            await fan_out.tick()
            (event,) = await other.until(1)
        event.verify(deliveries.secrets[told])
        assert event.event["type"] == "subscription.disabled"
        assert event.event["data"] == {
            "environment_id": str(deliveries.tenant.id),
            "reason": "gone",
            "failing_since": event.event["data"]["failing_since"],
            "subscription_id": str(subscription),
        }
        assert len(gone.requests) == 1
    assert (await deliveries.subscription(subscription))["disabled_reason"] == "gone"
    rows = [await deliveries.row(one) for one in wanted]
    assert {row["state"] for row in rows} == {"failed"}
    assert sorted(row["error"] for row in rows) == ["http_status"] + ["subscription_disabled"] * 4
    audit = await deliveries.ground.admin.fetch(
        "select * from control.audit where target = $1", f"subscription:{subscription}"
    )
    assert [(one["action"], one["actor"]) for one in audit] == [("subscription.disable", "system")]


async def _is_disabled(deliveries: DeliveryGround, subscription: UUID) -> bool:
    return (await deliveries.subscription(subscription))["disabled_at"] is not None


async def test_five_days_of_failing_disable_and_a_success_begins_anew(deliveries: DeliveryGround) -> None:
    """The first failure after a success is where the days begin; a minute less is not enough."""
    subscription = await deliveries.subscribe("http://a/")

    async def one(verdict: Verdict) -> Any:
        await deliveries.queue(subscription)
        (claimed,) = await deliveries.claim()
        await queue.settle(deliveries.database, [settled(claimed, verdict)])
        return await deliveries.subscription(subscription)

    async def since(ago: timedelta) -> None:
        await deliveries.ground.admin.execute(
            "update control.subscription set failing_since = now() - $2::interval where id = $1", subscription, ago
        )

    began = (await one(Verdict.FAILED))["failing_since"]
    assert (await one(Verdict.FAILED))["failing_since"] == began
    await since(FAILING_FOR - timedelta(minutes=1))
    assert (await one(Verdict.FAILED))["disabled_at"] is None
    assert (await one(Verdict.DELIVERED))["failing_since"] is None
    assert (await one(Verdict.FAILED))["disabled_at"] is None
    await since(FAILING_FOR)
    row = await one(Verdict.FAILED)
    assert (row["disabled_reason"], row["row_version"]) == ("failing", 2)
    (event,) = await deliveries.ground.admin.fetch("select type, data from control.environment_event")
    assert (event["type"], msgspec.json.decode(event["data"])["reason"]) == ("subscription.disabled", "failing")
    await deliveries.queue(subscription)
    assert await deliveries.claim() == []


async def test_nothing_goes_out_of_an_environment_that_is_going(deliveries: DeliveryGround) -> None:
    """From the request of its deletion on: what waits is not sent, what ends makes no delivery; never unsigned."""
    subscription = await deliveries.subscribe("http://a/")
    await deliveries.queue(subscription)
    (claimed,) = await deliveries.claim(seconds=0.0)
    outcome = await deliveries.ways.deliver(msgspec.structs.replace(claimed, secrets=()))
    assert (outcome.status, outcome.error) == (None, "unreadable")
    follower = FanOut(deliveries.database, OpenKeys(), lambda: None)  # type: ignore[arg-type]
    await follower.tick()
    await deliveries.ground.admin.execute(
        "update control.environment set status = 'deleting' where id = $1", deliveries.tenant.id
    )
    session = await deliveries.ground.session()
    await deliveries.tenant.submit()
    await deliveries.ground.relay.settle_end(session, [done(one) for one in await deliveries.tenant.claim(session)])
    await follower.tick()
    assert await deliveries.claim() == []
    assert await deliveries.ground.count("delivery") == 1


# --- who gets what ----------------------------------------------------------------------------------------------------


async def test_each_end_is_queued_once_whoever_follows(deliveries: DeliveryGround) -> None:
    """Three followers at once, over and over: every job that ended makes one delivery for each subscription."""
    for _ in range(2):
        await deliveries.subscribe("http://a/", "job.*")
    followers = [FanOut(deliveries.database, OpenKeys(), lambda: None) for _ in range(3)]  # type: ignore[arg-type]
    await asyncio.gather(*(one.tick() for one in followers))
    session = await deliveries.ground.session()
    ended: set[UUID] = set()
    for _ in range(5):
        await deliveries.tenant.submit(20)
        claimed = await deliveries.tenant.claim(session, 20)
        await asyncio.gather(
            deliveries.ground.relay.settle_end(session, [done(one) for one in claimed]),
            *(one.tick() for one in followers),
        )
        ended |= {one.job_id for one in claimed}
    await asyncio.gather(*(one.tick() for one in followers))
    rows = await deliveries.ground.admin.fetch("select subscription_id, event_id, event from control.delivery")
    assert len(rows) == 200
    assert {row["event_id"] for row in rows} == ended
    assert {row["event"] for row in rows} == {"job.completed"}


async def test_an_end_that_commits_late_is_not_missed(deliveries: DeliveryGround) -> None:
    """A transaction that began before others and commits after them: followed when it is over, not passed by."""
    await deliveries.subscribe("http://a/", "job.*")
    follower = FanOut(deliveries.database, OpenKeys(), lambda: None)  # type: ignore[arg-type]
    await follower.tick()
    session = await deliveries.ground.session()
    await deliveries.tenant.submit(2)
    late, soon = await deliveries.tenant.claim(session, 2)
    async with deliveries.ground.admin.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "insert into control.job_end (job_id, environment_id, route, state, number)"
            " select id, environment_id, route, 1, 1 from control.job where id = $1",
            late.job_id,
        )
        await deliveries.ground.relay.settle_end(session, [done(soon, End.FAILED)])
        await follower.tick()
        await transaction.commit()
    await follower.tick()
    rows = await deliveries.ground.admin.fetch("select event_id from control.delivery")
    assert {row["event_id"] for row in rows} == {late.job_id, soon.job_id}


async def test_a_broken_connection_is_tried_again_at_its_time(deliveries: DeliveryGround) -> None:
    """What fails without an answer waits five seconds like any failure, and its attempt says why."""
    async with Receiver(behave=break_off) as receiver:
        (delivery,) = await deliveries.queue(await deliveries.subscribe(receiver.url))
        async with running(deliveries.worker()):
            await until(lambda: _attempted(deliveries, 1))
    (attempt,) = await deliveries.attempts(delivery)
    assert attempt["status"] is None
    assert attempt["error"] in ("bad_answer", "connection_lost")
    away = await deliveries.come(delivery) - await _answered(deliveries, delivery)
    assert timedelta(seconds=5) <= away <= timedelta(seconds=5 * (1 + JITTER)) + RECORDED


async def test_a_long_transaction_is_followed_by_a_worker_that_has_just_begun(deliveries: DeliveryGround) -> None:
    """Minutes long: others moved on as far as they could meanwhile, and remember what the new one cannot know."""
    await deliveries.subscribe("http://a/", "job.*")
    await deliveries.ground.admin.execute("update control.follower set at = now() - interval '4 minutes'")
    await deliveries.ground.admin.execute("update control.subscription set created_at = now() - interval '4 minutes'")
    session = await deliveries.ground.session()
    await deliveries.tenant.submit(2)
    late, soon = await deliveries.tenant.claim(session, 2)
    async with deliveries.ground.admin.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "insert into control.job_end (job_id, environment_id, route, state, number, finished_at)"
            " select id, environment_id, route, 1, 1, now() - interval '3 minutes' from control.job where id = $1",
            late.job_id,
        )
        await deliveries.ground.relay.settle_end(session, [done(soon, End.FAILED)])
        follower = FanOut(deliveries.database, OpenKeys(), lambda: None)  # type: ignore[arg-type]
        for _ in range(3):
            await follower.tick()
        await transaction.commit()
    await FanOut(deliveries.database, OpenKeys(), lambda: None).tick()  # type: ignore[arg-type]
    rows = await deliveries.ground.admin.fetch("select event_id from control.delivery")
    assert {row["event_id"] for row in rows} == {late.job_id, soon.job_id}
