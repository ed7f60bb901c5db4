"""Submissions are kept in order, once a key, all or nothing where asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from storage.postgres.ledger.ledger import Ledger
from tests.storage.ledger_ground import Ground, Tenant
from waypost.errors import WaypostError
from waypost.ids import new_id
from waypost.job.model import Accepted, Request, Submission
from waypost.route.model import MAX_ROUTES_PER_ENVIRONMENT


async def test_answers_come_in_the_order_of_the_batch(ground: Ground, tenant: Tenant, other_tenant: Tenant) -> None:
    """Also when environments, keys in use and fresh ones are mixed in one batch."""
    known = await tenant.submission(idempotency_key="known")
    await ground.gateway.submit([known])
    batch = [
        await other_tenant.submission(),
        await tenant.submission(idempotency_key="known"),
        await tenant.submission(idempotency_key="fresh"),
        await tenant.submission(idempotency_key="known", request_hash=b"another"),
        await other_tenant.submission(idempotency_key="known"),
    ]
    assert await ground.gateway.submit(batch) == [
        Accepted(batch[0].id),
        Accepted(known.id, replayed=True),
        Accepted(batch[2].id),
        Accepted(known.id, conflict=True),
        Accepted(batch[4].id),  # another environment's key is another key
    ]
    assert await ground.count("job") == 4
    assert await ground.count("ready") == 4


# Of a row of control.job; what all rows of a statement share travels in another way.
FIELDS = (
    "submitted_by",
    "policy",
    "payload",
    "payload_object",
    "concurrency_key",
    "concurrency_limit",
    "traceparent",
    "trigger_id",
)


@pytest.mark.parametrize("order", [(0,), (0, 0), (1, 1), (0, 1), (1, 0), (0, 1, 0, 1), (1, 0, 0)])
async def test_every_row_keeps_what_it_says_whatever_its_neighbours_say(
    ground: Ground, tenant: Tenant, other_tenant: Tenant, order: tuple[int, ...]
) -> None:
    """Values that all rows share are sent once, nulls not at all: none may spill into a row that has none."""
    full = {
        "rank": 2,
        "policy": '{"max_attempts": 7}',
        "payload": b"sealed",
        "concurrency_key": "line",
        "concurrency_limit": 3,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "trigger_id": new_id(),
        "idempotency_scope": "hook",
    }
    batch = []
    for number, kind in enumerate(order):
        sender, more = (tenant, {"rank": 4}) if kind == 0 else (other_tenant, full)
        one = await sender.submission(f"function.{kind}", idempotency_key=f"k{number}", **more)
        batch.append(msgspec.structs.replace(one, submitted_by=f"key:{kind}"))
    assert await ground.gateway.submit(batch) == [Accepted(one.id) for one in batch]
    for one in batch:
        row = await ground.admin.fetchrow("select * from control.job where id = $1", one.id)
        assert (row["environment_id"], row["route"], row["rank"]) == (one.environment_id, one.route, one.rank)
        assert [row[name] for name in FIELDS] == [getattr(one, name) for name in FIELDS]
        key = await ground.admin.fetchrow("select * from control.idempotency where reference = $1", one.id)
        kept = (key["environment_id"], key["scope"], key["key"], key["request_hash"])
        assert kept == (one.environment_id, one.idempotency_scope, one.idempotency_key, one.request_hash)


async def test_a_key_repeated_in_one_batch_makes_one_job(ground: Ground, tenant: Tenant) -> None:
    """The first one wins; the others are its repeats, or conflicts."""
    first, second, third = [await tenant.submission(idempotency_key="k") for _ in range(3)]
    third = msgspec.structs.replace(third, request_hash=b"another")
    other = await tenant.submission()
    answers = await ground.gateway.submit([first, second, other, third])
    assert answers == [
        Accepted(first.id),
        Accepted(first.id, replayed=True),
        Accepted(other.id),
        Accepted(first.id, conflict=True),
    ]
    assert await ground.count("job") == 2


async def test_first_requests_at_the_same_moment_make_one_job(ground: Ground, tenant: Tenant) -> None:
    """Many connections, ten keys in different orders: one job a key, the same id for everybody, no deadlock."""
    keys = [f"k{number}" for number in range(10)]

    async def client(number: int) -> list[Accepted]:
        order = keys[number:] + keys[:number]
        batch = [await tenant.submission(idempotency_key=key) for key in order]
        answers = await ground.gateway.submit(batch)
        return [answers[order.index(key)] for key in keys]

    everybody = await asyncio.gather(*(client(number % 10) for number in range(24)))
    assert len({tuple(answer.id for answer in answers) for answers in everybody}) == 1
    for answers in zip(*everybody, strict=True):
        assert sum(not answer.replayed for answer in answers) == 1
        assert not any(answer.conflict for answer in answers)
    assert await ground.count("job") == 10


async def test_a_key_is_free_again_when_its_time_is_over(ground: Ground, tenant: Tenant) -> None:
    """An expired key makes a new job, whether or not the sweeper came by."""
    first = await tenant.submit(idempotency_key="k")
    await ground.admin.execute("update control.idempotency set expires_at = now() - interval '1 second'")
    second = await tenant.submit(idempotency_key="k")
    assert first != second
    assert await ground.count("idempotency", "reference = $1", second[0]) == 1
    await ground.admin.execute("update control.idempotency set expires_at = now() - interval '1 second'")
    assert await ground.worker.forget_idempotency() == 1
    assert await ground.count("idempotency") == 0


async def test_an_atomic_batch_with_a_conflict_keeps_nothing(ground: Ground, tenant: Tenant) -> None:
    """Neither its other jobs nor their keys; without a conflict it keeps all, repeats included."""
    await tenant.submit(idempotency_key="used")
    good = [await tenant.submission(idempotency_key=f"k{number}") for number in range(3)]
    bad = await tenant.submission(idempotency_key="used", request_hash=b"another")
    answers = await ground.gateway.submit_whole([*good, bad])
    assert [answer.conflict for answer in answers] == [False, False, False, True]
    assert await ground.count("job") == 1
    assert await ground.count("idempotency") == 1
    repeat = await tenant.submission(idempotency_key="used")
    answers = await ground.gateway.submit_whole([*good, repeat])
    assert [answer.replayed for answer in answers] == [False, False, False, True]
    assert await ground.count("job") == 4


async def test_one_record_stands_for_a_bulk_request(ground: Ground, tenant: Tenant) -> None:
    """Twelve at once with one key: one set of jobs, the same for all. Another body under the key keeps nothing."""
    request = Request(tenant.id, "whole", b"body")

    async def client() -> list[Accepted]:
        return await ground.gateway.submit_whole([await tenant.submission() for _ in range(5)], request)

    everybody = await asyncio.gather(*(client() for _ in range(12)))
    assert len({tuple(answer.id for answer in answers) for answers in everybody}) == 1
    assert sorted(answers[0].replayed for answers in everybody) == [False] + [True] * 11
    assert (await ground.count("job"), await ground.count("idempotency")) == (5, 1)
    other = Request(tenant.id, "whole", b"another body")
    answers = await ground.gateway.submit_whole([await tenant.submission()], other)
    assert [answer.conflict for answer in answers] == [True]
    await ground.admin.execute("update control.idempotency set expires_at = now() - interval '1 second'")
    answers = await ground.gateway.submit_whole([await tenant.submission()], other)
    assert [(answer.conflict, answer.replayed) for answer in answers] == [(False, False)]
    assert await ground.count("job") == 6


async def test_a_bulk_request_remembers_the_jobs_that_its_items_keys_stand_for(ground: Ground, tenant: Tenant) -> None:
    """An item whose own key is in use answers the first job, in a repeat of the whole request too."""
    first = await tenant.submit(idempotency_key="k")
    request = Request(tenant.id, "whole", b"body")
    batch = [await tenant.submission(), await tenant.submission(idempotency_key="k")]
    answers = await ground.gateway.submit_whole(batch, request)
    assert [answer.id for answer in answers] == [batch[0].id, first[0]]
    again = await ground.gateway.submit_whole([await tenant.submission(), await tenant.submission()], request)
    assert [(answer.id, answer.replayed) for answer in again] == [(batch[0].id, True), (first[0], True)]


async def test_a_refused_bulk_request_leaves_its_key_free(ground: Ground, tenant: Tenant) -> None:
    """All or nothing holds for the record too."""
    await tenant.submit(idempotency_key="used")
    request = Request(tenant.id, "whole", b"body")
    bad = await tenant.submission(idempotency_key="used", request_hash=b"another")
    assert (await ground.gateway.submit_whole([bad], request))[0].conflict
    answers = await ground.gateway.submit_whole([await tenant.submission()], request)
    assert [(answer.conflict, answer.replayed) for answer in answers] == [(False, False)]


async def test_a_value_that_cannot_be_stored_keeps_nothing(ground: Ground, tenant: Tenant) -> None:
    """The whole statement fails with the row's fault, not the database's."""
    batch = [await tenant.submission(), await tenant.submission(labels='{"a": "\\u0000"}')]
    with pytest.raises(WaypostError, match="unstorable"):
        await ground.gateway.submit(batch)
    assert await ground.count("job") == 0
    await ground.gateway.submit(batch[:1])


async def test_a_job_waits_where_its_specification_says(ground: Ground, tenant: Tenant) -> None:
    """At once: the queue. Later: due. With a concurrency key: the key's line. A `run_at` in the past is at once."""
    past, future = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    placed = {
        "ready": [
            await tenant.submission(),
            await tenant.submission(run_at=past),
            await tenant.submission(delay_seconds=0.0),
        ],
        "due": [
            await tenant.submission(delay_seconds=60.0),
            await tenant.submission(run_at=future),
            await tenant.submission(run_at=future, concurrency_key="c", concurrency_limit=1),
        ],
        "hold": [await tenant.submission(concurrency_key="c", concurrency_limit=1)],
    }
    await ground.gateway.submit([submission for batch in placed.values() for submission in batch])
    for table, batch in placed.items():
        for submission in batch:
            assert await ground.places(submission.id) == [table]


async def test_a_batch_larger_than_a_statement_is_kept_whole(ground: Ground, tenant: Tenant) -> None:
    """4,500 rows, more than two statements' worth."""
    route = await tenant.route()
    batch = [Submission(new_id(), tenant.id, route, 4, "key:test") for _ in range(4_500)]
    assert await ground.gateway.submit(batch) == [Accepted(submission.id) for submission in batch]
    assert await ground.count("ready") == 4_500


async def test_routes_are_made_once_and_not_without_end(ground: Ground, tenant: Tenant) -> None:
    """Concurrent resolving of one route gives one id; the 257th of an environment is refused, known ones go on."""
    answers = await asyncio.gather(
        *(Ledger(ground.databases["gateway"]).resolve_route(tenant.id, "f", ("gpu",)) for _ in range(8))
    )
    assert len(set(answers)) == 1
    for number in range(MAX_ROUTES_PER_ENVIRONMENT - 1):
        await ground.gateway.resolve_route(tenant.id, "f", (f"k={number}",))
    with pytest.raises(WaypostError, match="too_many_routes"):
        await ground.gateway.resolve_route(tenant.id, "f", ("k=one-more",))
    assert await ground.gateway.resolve_route(tenant.id, "f", ("gpu",)) == answers[0]
    routes = await ground.gateway.routes_of(tenant.id)
    assert len(routes) == MAX_ROUTES_PER_ENVIRONMENT
    assert routes[0].selectors == ("gpu",)


@pytest.mark.parametrize("status", ["deleting", "deleted"])
async def test_nothing_is_kept_of_an_environment_that_is_being_deleted(
    status: str, ground: Ground, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Whatever its gateway still believes: neither job nor key, alone or in bulk; its neighbours' jobs are kept."""
    batch = [
        await tenant.submission(idempotency_key="k"),
        await other_tenant.submission(),
        await tenant.submission(),
    ]
    await ground.admin.execute("update control.environment set status = $2 where id = $1", tenant.id, status)
    refused = Accepted(batch[0].id, conflict=True, closed=True)
    answers = await ground.gateway.submit(batch)
    assert answers == [refused, Accepted(batch[1].id), Accepted(batch[2].id, conflict=True, closed=True)]
    whole = await ground.gateway.submit_whole(batch[:1], Request(tenant.id, "k", b"hash"))
    assert whole == [refused]
    assert await ground.count("job") == 1
    assert await ground.count("idempotency") == 0
