"""kill -9 of PostgreSQL under submissions and settlements: what was acknowledged is there (a server of its own)."""

import asyncio
from uuid import UUID

from tests.own_postgres import OwnPostgres
from tests.storage.ledger_ground import Ground, Tenant, done
from waypost.errors import Category, WaypostError


async def test_everything_acknowledged_survives_the_death_of_the_server() -> None:
    """Twice killed under load: every acknowledged submission and every accepted end is there, a job has one place, a
    client that repeats with its key has one job, and claims go on with fences that refuse answers from before.
    """
    server = OwnPostgres()
    await server.create()
    ground = await Ground(server).open()
    try:
        tenant = await Tenant(ground).create()
        await tenant.route()
        for _ in range(2):
            await _killed_under_load(ground, tenant)
    finally:
        await ground.close()
        await server.stop()


async def _killed_under_load(ground: Ground, tenant: Tenant) -> None:
    acknowledged: dict[UUID, str] = {}
    unknown: list[str] = []
    accepted: set[UUID] = set()
    faults: set[Category] = set()
    enough = asyncio.Event()

    async def submitter(name: int) -> None:
        for number in range(100_000):
            key = f"{ground.server.home.name}-{id(acknowledged)}-{name}-{number}"
            try:
                (job,) = await tenant.submit(idempotency_key=key)
            except WaypostError as error:
                faults.add(error.category)
                unknown.append(key)
                return
            acknowledged[job] = key
            if len(acknowledged) >= 400 and len(accepted) >= 50:
                enough.set()

    async def relay() -> None:
        try:
            session = await ground.session()
            while True:
                claimed = await tenant.claim(session, 5)
                settled = await ground.relay.settle_end(session, [done(found) for found in claimed])
                accepted.update(found.job_id for found in settled)
        except WaypostError as error:
            faults.add(error.category)

    tasks = [asyncio.create_task(submitter(number)) for number in range(8)] + [asyncio.create_task(relay())]
    async with asyncio.timeout(60):
        await enough.wait()
        ground.server.kill()
        await asyncio.gather(*tasks)
        await ground.server.start()
    assert faults == {Category.UNAVAILABLE}
    rows = await ground.admin.fetch(
        "select job_id, count(*) as places from (select job_id from control.ready union all"
        " select job_id from control.lease union all select job_id from control.job_end) p group by job_id"
    )
    places = {row["job_id"]: row["places"] for row in rows}
    assert {places.get(job) for job in acknowledged} == {1}
    ends = await ground.ends()
    assert accepted <= set(ends)
    assert len(unknown) == 8
    for key in unknown:
        first, again = await tenant.submit(idempotency_key=key), await tenant.submit(idempotency_key=key)
        assert first == again
    assert await ground.count("job") == await ground.count("idempotency")
    async with asyncio.timeout(60):
        await _finish(ground, tenant)
    assert await ground.count("job_end") == await ground.count("job")


async def _finish(ground: Ground, tenant: Tenant) -> None:
    """A new relay runs what is left; what the dead claims held comes back by the sweeper."""
    await ground.admin.execute("update control.session set ended_at = now() where ended_at is null")
    await ground.worker.sweep_lost(thorough=True)
    session = await ground.session()
    while claimed := await tenant.claim(session, 100):
        await ground.relay.settle_end(session, [done(found) for found in claimed])
