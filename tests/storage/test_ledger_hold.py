"""Concurrency keys: never more than the limit at once, in order, and nobody forgotten."""

import asyncio
from typing import Any

from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.job.model import End

KEYED: dict[str, Any] = {"concurrency_key": "customer-42", "concurrency_limit": 3}


async def _release(ground: Ground, tenant: Tenant) -> int:
    before = await ground.count("permit")
    await ground.worker.release_holds([(tenant.id, "customer-42")])
    return await ground.count("permit") - before


async def test_a_line_moves_up_to_its_limit_in_order(ground: Ground, tenant: Tenant) -> None:
    """Higher priority first, then first come, first served; another key is another line."""
    jobs = await tenant.submit(5, **KEYED)
    (urgent,) = await tenant.submit(rank=0, **KEYED)
    (other,) = await tenant.submit(concurrency_key="other", concurrency_limit=1)
    route = await tenant.route()
    woken = await ground.gateway.release_holds([(tenant.id, "customer-42"), (tenant.id, "other")])
    assert woken == [(tenant.id, route, 0), (tenant.id, route, 4)]
    ready = [row["job_id"] for row in await ground.admin.fetch("select job_id from control.ready order by rank, key")]
    assert ready == [urgent, *jobs[:2], other]
    assert await _release(ground, tenant) == 0
    assert await ground.worker.held_lines() == [(tenant.id, "customer-42")]


async def test_a_permit_comes_back_however_the_job_leaves(ground: Ground, tenant: Tenant) -> None:
    """Completed, tried again later, canceled while ready, expired while ready, lost: each lets the next one in."""
    await tenant.submit(10, concurrency_key="customer-42", concurrency_limit=1, expires_in_seconds=600)
    session = await ground.session()
    assert await _release(ground, tenant) == 1

    (claimed,) = await tenant.claim(session)
    (settled,) = await ground.relay.settle_end(session, [done(claimed)])
    assert settled.concurrency_key == "customer-42"
    assert await _release(ground, tenant) == 1

    (claimed,) = await tenant.claim(session)
    (settled,) = await ground.relay.settle_retry(session, [again(claimed, 60.0)])
    assert settled.concurrency_key == "customer-42"
    assert await _release(ground, tenant) == 1

    job = await ground.admin.fetchval("select job_id from control.ready")
    answer = await ground.gateway.cancel(tenant.id, job, "key:test")
    assert answer.concurrency_key == "customer-42"
    assert await _release(ground, tenant) == 1

    await ground.admin.execute("update control.ready set expires_at = now() - interval '1 second'")
    assert (await ground.worker.expire()).lines == ((tenant.id, "customer-42"),)
    assert await _release(ground, tenant) == 1

    await tenant.claim(session)
    await ground.lapse(session)
    swept = await ground.worker.sweep_lost()
    assert swept.lines == ((tenant.id, "customer-42"),)
    assert swept.woken == ()
    assert await _release(ground, tenant) == 1


async def test_the_limit_is_never_exceeded_whoever_releases(ground: Ground, tenant: Tenant) -> None:
    """Releases from everywhere at once while jobs end: at most three hold a permit at any instant, all end."""
    jobs = await tenant.submit(60, **KEYED)
    session = await ground.session()
    line, most, ended = (tenant.id, "customer-42"), 0, 0

    async def releaser() -> None:
        while ended < len(jobs):
            await ground.worker.release_holds([line])

    async def runner() -> None:
        nonlocal ended
        while ended < len(jobs):
            claimed = await tenant.claim(session, 2)
            settled = await ground.relay.settle_end(session, [done(found) for found in claimed])
            ended += len(settled)

    async def watcher() -> None:
        nonlocal most
        while ended < len(jobs):
            most = max(most, await ground.count("permit"))

    async with asyncio.timeout(60):
        await asyncio.gather(*(releaser() for _ in range(4)), runner(), runner(), watcher())
    assert most == 3
    assert await ground.ends() == dict.fromkeys(jobs, End.COMPLETED)
    assert await ground.count("permit") == 0


async def test_a_smaller_limit_at_the_head_holds_the_line(ground: Ground, tenant: Tenant) -> None:
    """The limit is that of the job that wants to start; a later, more generous one does not pass it."""
    await tenant.submit(2, **KEYED)
    (narrow,) = await tenant.submit(concurrency_key="customer-42", concurrency_limit=1)
    (wide,) = await tenant.submit(concurrency_key="customer-42", concurrency_limit=100)
    assert await _release(ground, tenant) == 2
    assert [await ground.places(job) for job in (narrow, wide)] == [["hold"], ["hold"]]
