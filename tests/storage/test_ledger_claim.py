"""Claims: no job twice, in order, by a plan that cannot flip."""

import asyncio
import re

import asyncpg
import pytest

from storage.postgres.database import _PINNED
from storage.postgres.sql import load
from tests.storage.ledger_ground import Ground, Tenant, done
from waypost.ids import NIL, new_id
from waypost.job.model import Ask, Claimed

HOT = ("submit", "claim", "settle_end", "settle_retry")


async def test_no_job_is_claimed_twice(ground: Ground, tenant: Tenant) -> None:
    """Eight sessions claim 600 jobs of six queues as fast as they can: each job once, none left."""
    functions = [f"f{number}" for number in range(6)]
    jobs = {job for function in functions for job in await tenant.submit(100, function)}
    routes = [await tenant.route(function) for function in functions]

    async def relay() -> list[Claimed]:
        session = await ground.session()
        mine: list[Claimed] = []
        while True:
            asks = [Ask(route, 4, NIL, tuple(new_id() for _ in range(3))) for route in routes]
            got = await ground.relay.claim(session, asks)
            if not got and not await ground.count("ready"):
                return mine
            mine += got

    claimed = [found for mine in await asyncio.gather(*(relay() for _ in range(8))) for found in mine]
    assert sorted(found.job_id for found in claimed) == sorted(jobs)
    assert len({found.attempt_id for found in claimed}) == len(jobs)
    assert await ground.count("lease") == len(jobs)


async def test_a_queue_is_first_in_first_out_and_nodes_get_their_jobs_in_order(ground: Ground, tenant: Tenant) -> None:
    """The i-th job of an ask goes to its i-th node; another rank is another queue."""
    jobs = await tenant.submit(5)
    urgent = await tenant.submit(1, rank=0)
    session, nodes = await ground.session(), tuple(new_id() for _ in range(3))
    route = await tenant.route()
    claimed = await ground.relay.claim(session, [Ask(route, 0, NIL, nodes[:2]), Ask(route, 4, NIL, nodes)])
    by_job = {found.job_id: found for found in claimed}
    assert set(by_job) == {*urgent, *jobs[:3]}
    assert [by_job[job].node for job in jobs[:3]] == list(nodes)
    assert by_job[urgent[0]].node == nodes[0]
    assert {found.number for found in claimed} == {1}


async def test_asks_of_one_queue_in_one_claim_are_joined(ground: Ground, tenant: Tenant) -> None:
    """A statement would take a row twice for two asks; together they get what both asked for."""
    jobs = await tenant.submit(4)
    route, session = await tenant.route(), await ground.session()
    asks = [Ask(route, 4, jobs[1], (new_id(), new_id())), Ask(route, 4, NIL, (new_id(),))]
    assert sorted(found.job_id for found in await ground.relay.claim(session, asks)) == jobs[:3]


async def test_a_low_mark_hides_what_is_before_it(ground: Ground, tenant: Tenant) -> None:
    """Only keys at or after the mark are looked at; without a mark everything is."""
    jobs = await tenant.submit(4)
    session = await ground.session()
    assert [found.job_id for found in await tenant.claim(session, 9, low=jobs[2])] == jobs[2:]
    assert [found.job_id for found in await tenant.claim(session, 9)] == jobs[:2]


async def test_a_claim_carries_what_the_node_needs(ground: Ground, tenant: Tenant) -> None:
    """Sealed payload, policy, trace; nothing of a job that has none."""
    await tenant.submit(payload=b"sealed", policy='{"timeout_seconds":9}', traceparent="00-a-b-01")
    await tenant.submit(payload_object="jobs/x/payload")
    first, second = await tenant.claim(await ground.session(), 2)
    assert (first.payload, first.policy, first.traceparent) == (b"sealed", '{"timeout_seconds":9}', "00-a-b-01")
    assert (second.payload, second.payload_object, second.policy) == (None, "jobs/x/payload", None)


async def test_an_ended_session_claims_nothing(ground: Ground, tenant: Tenant) -> None:
    """Nor does one that never was."""
    await tenant.submit()
    session = await ground.session()
    await ground.relay.close_session(session)
    assert await tenant.claim(session) == []
    assert await tenant.claim(999_999) == []


async def test_a_job_that_expired_is_not_claimed(ground: Ground, tenant: Tenant) -> None:
    """Even when the sweeper has not come by yet."""
    await tenant.submit(expires_in_seconds=60)
    await ground.admin.execute("update control.ready set expires_at = now() - interval '1 second'")
    assert await tenant.claim(await ground.session()) == []


async def test_the_slow_poll_finds_exactly_the_queues_that_hold_work(ground: Ground, tenant: Tenant) -> None:
    """Every (route, rank) with a job, of the routes asked for only."""
    for function, rank in (("a", 0), ("a", 9), ("b", 4), ("c", 4)):
        await tenant.submit(2, function, rank)
    a, b, c, empty = [await tenant.route(function) for function in ("a", "b", "c", "empty")]
    assert sorted(await ground.relay.waiting_routes([a, b, empty])) == sorted([(a, 0), (a, 9), (b, 4)])
    await tenant.claim(await ground.session(), 2, "c")
    assert await ground.relay.waiting_routes([c, empty]) == []


@pytest.mark.parametrize("rows", [0, 100_000])
async def test_the_plans_of_the_hot_statements_do_not_depend_on_how_full_the_tables_are(
    ground: Ground, tenant: Tenant, rows: int
) -> None:
    """On empty, vacuumed tables (where the natural plan is a sequential scan) and behind a long queue alike: rows are
    reached by primary key or by ctid, nothing grows with the queue.
    """
    route = await tenant.route()
    await ground.admin.execute(
        "insert into control.ready (route, rank, key, job_id, environment_id)"
        " select $1, 4, k, k, $2 from (select gen_random_uuid() as k from generate_series(1, $3)) s",
        route,
        tenant.id,
        rows,
    )
    for table in ("ready", "lease", "job", "permit", "cancel_request", "idempotency"):
        await ground.admin.execute(f"vacuum analyze control.{table}")
    plans = {name: await _plan(ground, name) for name in HOT}
    for plan in plans.values():
        assert "Seq Scan" not in plan
        assert "Bitmap" not in plan
        assert "Hash Join" not in plan
    assert "Index Scan using ready_pkey" in plans["claim"]
    assert "Tid Scan on ready" in plans["claim"]
    for name in ("settle_end", "settle_retry"):
        assert "Index Scan using lease_pkey" in plans[name]
        assert "Tid Scan on lease" in plans[name]
    condition = re.search(r"ready_pkey on ready\s+Index Cond: (.*)", plans["claim"])
    assert condition is not None
    assert "key >= a.low" in condition.group(1)


async def test_the_hot_connections_run_with_the_pinned_planner(ground: Ground) -> None:
    """What the plan test assumes is what claims and settlements really run with."""
    for durable in (True, False):
        async with ground.databases["relay"].hot(synchronous_commit=durable) as connection:
            settings = {name: await connection.fetchval("select current_setting($1)", name) for name in _PINNED}
            assert settings == _PINNED
            commit = await connection.fetchval("select current_setting('synchronous_commit')")
            assert commit == ("on" if durable else "off")


async def test_settled_work_leaves_the_queue_tables_empty(ground: Ground, tenant: Tenant) -> None:
    """Queue and lease hold what waits and runs, nothing of what is over."""
    jobs = await tenant.submit(50)
    session = await ground.session()
    claimed = await tenant.claim(session, 50)
    settled = await ground.relay.settle_end(session, [done(found) for found in claimed])
    assert sorted(found.job_id for found in settled) == jobs
    assert [await ground.count(table) for table in ("ready", "lease", "due", "hold")] == [0, 0, 0, 0]


async def _plan(ground: Ground, name: str) -> str:
    text = load("storage.postgres.ledger", name)
    parameters = ", ".join(["null"] * max(int(number) for number in re.findall(r"\$(\d+)", text)))
    role = "waypost_gateway" if name == "submit" else "waypost_relay"
    connection = await asyncpg.connect(ground.server.url(role), server_settings=_PINNED)
    try:
        await connection.execute(f"prepare plan as {text}")
        rows = await connection.fetch(f"explain (costs off) execute plan ({parameters})")
    finally:
        await connection.close()
    return "\n".join(row[0] for row in rows)
