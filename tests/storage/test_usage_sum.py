"""Following facts into sums, on a PostgreSQL without other writers."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import pytest

from jobs.usage import UsageFollower
from tests.storage.ledger_ground import Ground, Tenant, again, done
from waypost.job.model import End


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


@pytest.fixture
async def usage(ground: Ground) -> Usage:
    await ground.admin.execute("truncate control.usage_event, control.usage_hour, control.usage_day")
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
