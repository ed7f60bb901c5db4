"""Following facts into sums, on a PostgreSQL without other writers."""

import asyncio
import random
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from infra.local.admin.usage import sentence
from jobs.usage import UsageFollower
from storage.postgres.follower import hold_standing
from storage.postgres.usage import roll_up as rows
from storage.postgres.usage.verify import Verified, verify
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.job.model import End
from waypost.usage.model import ROLL_UP


class Usage:
    """The sums as they are, and a follower."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.follower = UsageFollower(ground.databases["worker"])

    async def sums(self, environment_id: UUID, table: str = "usage_hour") -> dict[str, Decimal]:
        rows = await self.ground.admin.fetch(
            f"select meter, sum(quantity) as quantity from control.{table} where environment_id = $1 group by 1",  # noqa: S608 - ours
            environment_id,
        )
        return {row["meter"]: row["quantity"] for row in rows}

    async def tell(
        self, environment_id: UUID, meter: str, quantity: str, name: str, at: datetime | None = None
    ) -> None:
        await self.ground.admin.execute(
            "insert into control.usage_event (environment_id, source, id, meter, quantity, at)"
            " values ($1, 'test', $2, $3, $4::text::numeric, coalesce($5, now()))",
            environment_id, name, meter, quantity, at,
        )  # fmt: skip

    async def verify(self, hours: int = 48) -> Verified:
        async with self.ground.databases["worker"].unit() as connection:
            return await verify(connection, hours)


@pytest.fixture
async def usage(ground: Ground) -> Usage:
    await ground.admin.execute("truncate control.usage_event, control.delivery_attempt")
    one = Usage(ground)
    await one.follower.follow()
    await ground.admin.execute("truncate control.usage_hour, control.usage_day")
    return one


async def test_what_the_ledger_says_is_in_the_sums_once(usage: Usage, tenant: Tenant) -> None:
    """Attempts, run and queue seconds, payload bytes and ends of every kind; following again adds nothing."""
    session = await tenant.ground.session()
    await tenant.submit(2, payload=b"x" * 128)
    await tenant.submit(1, payload_object="jobs/1/payload.70000")
    first, second, third = await tenant.claim(session, 3)
    await tenant.ground.relay.settle_end(session, [done(first), done(third)])
    await tenant.ground.relay.settle_retry(session, [again(second)])
    (second,) = await tenant.claim(session, 1)
    await tenant.ground.relay.settle_end(session, [done(second, End.FAILED)])
    await usage.follower.follow()
    sums = await usage.sums(tenant.id)
    assert sums["job.attempts"] == 4
    assert sums["job.payload_bytes"] == 100 + 100 + 70_000
    assert (sums["job.ended.completed"], sums["job.ended.failed"]) == (2, 1)
    ran = await tenant.ground.admin.fetchval(
        "select sum(extract(epoch from finished_at - started_at)) from ("
        "select started_at, finished_at from control.job_end "
        "union all select started_at, finished_at from control.attempt)"
    )
    assert sums["job.run_seconds"] == ran > 0
    assert sums["job.queue_seconds"] > 0
    await usage.follower.follow()
    assert await usage.sums(tenant.id) == sums == await usage.sums(tenant.id, "usage_day")
    assert (await usage.verify()).intact


async def test_commits_in_any_order_are_added_once_each(usage: Usage, tenant: Tenant, other_tenant: Tenant) -> None:
    """Whatever order transactions begin, write, commit and fail in, and whenever which follower looks: in the end the
    sums are those of what was committed."""
    for seed in range(6):
        await Commotion(usage, (tenant, other_tenant), seed).run()
        for one in (tenant, other_tenant):
            committed = await usage.ground.admin.fetch(
                "select meter, sum(quantity) as quantity from control.usage_event where environment_id = $1 group by 1",
                one.id,
            )
            sums = {row["meter"]: row["quantity"] for row in committed}
            assert await usage.sums(one.id) == sums == await usage.sums(one.id, "usage_day"), seed
    verified = await usage.verify()
    assert verified.intact
    assert verified.hours.facts > 100


class Commotion:
    """Transactions of two tenants, a few open at any time, and three followers, one of them new at every look."""

    OPEN = 5
    STEPS = 60

    def __init__(self, usage: Usage, tenants: tuple[Tenant, ...], seed: int) -> None:
        self.usage, self.tenants, self.seed = usage, tenants, seed
        self.random = random.Random(seed)
        self.followers = [UsageFollower(usage.ground.databases["worker"]) for _ in range(2)]

    async def run(self) -> None:
        server = self.usage.ground.server
        connections = [await asyncpg.connect(server.admin_url("waypost")) for _ in range(self.OPEN)]
        open_: dict[Any, Any] = {}
        for step in range(self.STEPS):
            connection = self.random.choice(connections)
            if connection not in open_:
                open_[connection] = connection.transaction()
                await open_[connection].start()
            chance = self.random.random()
            if chance < 0.5:
                await self._write(connection, f"{self.seed}:{step}")
            elif chance < 0.7:
                await open_.pop(connection).commit()
            elif chance < 0.8:
                await open_.pop(connection).rollback()
            else:
                await self._look()
        for transaction in open_.values():
            await transaction.commit()
        await self._look()
        for connection in connections:
            await connection.close()

    async def _write(self, connection: Any, name: str) -> None:
        await connection.execute(
            "insert into control.usage_event (environment_id, source, id, meter, quantity, at)"
            " values ($1, 'test', $2, $3, $4, now() - $5 * interval '1 hour')",
            self.random.choice(self.tenants).id, name, self.random.choice(("a", "b")),
            Decimal(self.random.randrange(10**12)).scaleb(-6), self.random.choice((0, 1, 30)),
        )  # fmt: skip

    async def _look(self) -> None:
        one = self.random.choice([*self.followers, UsageFollower(self.usage.ground.databases["worker"])])
        assert await one.follow() is not None


async def test_a_transaction_of_many_minutes_is_added_when_it_is_over(usage: Usage, tenant: Tenant) -> None:
    """Also what others committed meanwhile, by a follower that knows nothing of before."""
    admin = usage.ground.admin
    await admin.execute("update control.follower set at = now() - interval '20 minutes' where name = 'usage.roll_up'")
    old = (
        "insert into control.usage_event (environment_id, source, id, meter, quantity, at, ingested_at)"
        " values ($1, 'test', $2, 'm', $3, now() - interval '15 minutes', now() - interval '15 minutes')"
    )
    async with admin.acquire() as long:
        transaction = long.transaction()
        await transaction.start()
        await long.execute(old, tenant.id, "long", 1)
        await admin.execute(old, tenant.id, "short", 2)
        for _ in range(3):
            await UsageFollower(usage.ground.databases["worker"]).follow()
        assert await usage.sums(tenant.id) == {}
        await transaction.commit()
    await UsageFollower(usage.ground.databases["worker"]).follow()
    assert await usage.sums(tenant.id) == {"m": 3}


async def test_the_usage_of_an_environment_that_goes_is_closed_at_once(
    usage: Usage, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Transactions in progress are not waited for; what it had is in the sums, once; what comes later is not."""
    await usage.tell(tenant.id, "m", "5", "before")
    async with usage.ground.admin.acquire() as long:
        transaction = long.transaction()
        await transaction.start()
        await long.execute("select pg_current_xact_id()")
        await usage.tell(tenant.id, "m", "7", "behind")
        await usage.tell(other_tenant.id, "m", "1", "other")
        for expected in (True, False):
            async with asyncio.timeout(15), usage.ground.databases["worker"].unit() as connection:
                assert await rows.close_environment(connection, tenant.id) is expected
        assert await usage.sums(tenant.id) == {"m": 12}
        await usage.tell(tenant.id, "m", "100", "after")
        await transaction.commit()
    await usage.follower.follow()
    assert await usage.sums(tenant.id) == {"m": 12} == await usage.sums(tenant.id, "usage_day")
    assert await usage.sums(other_tenant.id) == {"m": 1}
    assert (await usage.verify()).intact


async def test_closing_waits_a_second_at_most_for_who_adds(usage: Usage, tenant: Tenant) -> None:
    """Somebody who adds a long backlog: the deletion is told to come again."""
    async with usage.ground.databases["worker"].unit() as adding:
        assert await hold_standing(adding, ROLL_UP) is not None
        with pytest.raises(rows.BusyError):
            async with asyncio.timeout(15), usage.ground.databases["worker"].unit() as connection:
                await rows.close_environment(connection, tenant.id)


async def test_attempts_of_deliveries_are_counted(usage: Usage, tenant: Tenant) -> None:
    """Each attempt, delivered or not."""
    await usage.ground.admin.execute(
        "insert into control.delivery_attempt"
        " (environment_id, subscription_id, delivery_id, number, started_at, duration_ms, status)"
        " select $1, gen_random_uuid(), gen_random_uuid(), 1, now(), 1, 500 from generate_series(1, 3)",
        tenant.id,
    )
    assert await usage.follower.follow() == 3
    assert await usage.sums(tenant.id) == {"webhook.deliveries": 3}
    assert (await usage.verify()).intact


async def test_two_followers_take_turns(usage: Usage, tenant: Tenant) -> None:
    """While one adds, another does nothing; nothing is added twice."""
    await usage.tell(tenant.id, "m", "5", "one")
    async with usage.ground.databases["worker"].unit() as connection:
        standing = await hold_standing(connection, ROLL_UP)
        assert standing is not None
        assert await usage.follower.follow() is None
    assert await usage.follower.follow() == 1
    assert await usage.follower.follow() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("update control.usage_hour set quantity = quantity + 0.000001 where meter = 'm'", "hour"),
        ("delete from control.usage_hour where meter = 'm'", "hour"),
        ("delete from control.usage_event", "hour"),
        ("update control.usage_event set quantity = quantity * 2", "hour"),
        ("update control.usage_day set facts = facts + 1 where meter = 'm'", "day"),
        ("delete from control.usage_day where meter = 'm'", "day"),
    ],
)
async def test_the_first_sum_that_is_wrong_is_named(usage: Usage, tenant: Tenant, change: str, words: str) -> None:
    """A sum that was changed, that is gone, or whose facts are."""
    await usage.tell(tenant.id, "m", "5.5", "one")
    await usage.follower.follow()
    assert (await usage.verify()).intact
    await usage.ground.admin.execute(change)
    seen = await usage.verify()
    found = (seen.hours if words == "hour" else seen.days).first
    assert found is not None
    assert (found.environment_id, found.meter) == (tenant.id, "m")
    assert f"m of {tenant.id} in the {words} of " in sentence(seen)


async def test_events_are_forgotten_when_a_repeat_would_be_too_old(usage: Usage, tenant: Tenant) -> None:
    """Not before; the platform's own after eight days. The sums stay, and are right."""
    for name, source, days in (("a", "test", 31), ("b", "test", 33), ("c", "urn:waypost:gateway", 9), ("d", "test", 9)):
        await usage.ground.admin.execute(
            "insert into control.usage_event (environment_id, source, id, meter, quantity, at, ingested_at)"
            " values ($1, $2, $3, 'm', 1, now() - $4 * interval '1 day', now() - $4 * interval '1 day')",
            tenant.id, source, name, days,
        )  # fmt: skip
    await usage.ground.admin.execute(
        "update control.follower set at = now() - interval '40 days' where name = 'usage.roll_up'"
    )
    await UsageFollower(usage.ground.databases["worker"]).follow()
    async with usage.ground.databases["worker"].unit() as connection:
        assert not await rows.prune_events(connection)
        assert not await rows.prune_hours(connection)
    left = await usage.ground.admin.fetch("select id from control.usage_event order by id")
    assert [row["id"] for row in left] == ["a", "d"]
    assert await usage.sums(tenant.id) == {"m": 4}
    assert (await usage.verify()).intact
