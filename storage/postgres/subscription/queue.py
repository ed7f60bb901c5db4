"""The queue of deliveries: claimed by any worker, settled under the claim's fence, given up when nobody may send it.

Refuses: more of one endpoint at once than it was given room for, whatever waits.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection, Database
from storage.postgres.sql import load
from waypost import ids
from waypost.audit.model import AuditEntry
from waypost.subscription.model import FAILING_FOR, Claimed, DisabledReason, Outcome, Verdict

_PACKAGE = "storage.postgres.subscription"
BITE = 5_000

_GOOD = """
update control.subscription set failing_since = null where id = any ($1::uuid[]) and failing_since is not null
"""
_BAD = """
update control.subscription set failing_since = now() where id = any ($1::uuid[]) and failing_since is null
"""
_DISABLE = """
update control.subscription s
set disabled_at = now(), disabled_reason = case when s.id = any ($2::uuid[]) then 'gone' else 'failing' end,
    row_version = s.row_version + 1, updated_at = now()
from control.environment e
where e.id = s.environment_id and s.id = any ($1::uuid[]) and s.disabled_at is null and s.deleted_at is null
    and (s.id = any ($2::uuid[]) or s.failing_since <= now() - $3::interval)
returning s.id, s.environment_id, s.disabled_reason, s.failing_since, e.organization_id, e.project_id
"""
_TELL = """
insert into control.environment_event (environment_id, type, data) values ($1, 'subscription.disabled', $2)
"""
_ABANDON = """
with over as (
    select q.ctid as at, q.environment_id, q.subscription_id, q.delivery_id
    from control.subscription s join control.delivery_queue q on q.subscription_id = s.id
    where s.deleted_at is not null or s.disabled_at is not null
    limit $1 for update of q skip locked
), gone as (
    delete from control.delivery_queue where ctid = any (array(select at from over))
), told as (
    update control.delivery d set state = 'failed', error = 'subscription_disabled', finished_at = clock_timestamp()
    from over o
    where d.environment_id = o.environment_id and d.subscription_id = o.subscription_id and d.id = o.delivery_id
)
select count(*) from over
"""


class Settlement(msgspec.Struct, frozen=True):
    """One attempt and what follows from it. `delay_seconds` is of a retry."""

    claimed: Claimed
    outcome: Outcome
    verdict: Verdict
    delay_seconds: float = 0.0


async def claim(
    database: Database, rooms: Mapping[UUID, int], *, room: int, limit: int, seconds: float
) -> list[Claimed]:
    """Deliveries that are due: of each endpoint as many as `rooms` says, else `room`; `limit` in all.

    They are this caller's for `seconds`. Commits asynchronously: a claim that a crash of PostgreSQL forgets is claimed
    again, and its first outcome finds the fence changed.
    """
    token = ids.new_attempt_id()
    statement = load(_PACKAGE, "claim")
    async with database.hot(synchronous_commit=False) as connection:
        rows = await connection.fetch(statement, list(rooms), list(rooms.values()), room, limit, seconds, token)
    return [_claimed(row, token) for row in rows]


def _claimed(row: Any, token: int) -> Claimed:
    return Claimed(
        environment_id=row["environment_id"],
        subscription_id=row["subscription_id"],
        delivery_id=row["delivery_id"],
        number=row["number"],
        tries=row["tries"],
        claim=token,
        url=row["url"],
        event_id=row["event_id"],
        body=bytes(row["body"]),
        secrets=tuple(bytes(sealed) for sealed in row["secrets"]),
    )


async def settle(database: Database, batch: Sequence[Settlement]) -> None:
    """Record attempts; an outcome whose claim is not current is left out. Endpoints that answered 410, or have failed
    for FAILING_FOR, are disabled in the same transaction, with an audit entry and an event for the others."""
    ordered = sorted(batch, key=lambda one: one.claimed.delivery_id)
    async with database.unit() as connection:
        rows = await connection.fetch(load(_PACKAGE, "settle"), *_columns(ordered))
        good = [row["subscription_id"] for row in rows if row["delivered"]]
        bad = [row["subscription_id"] for row in rows if not row["delivered"]]
        if good:
            await connection.execute(_GOOD, good)
        if bad:
            gone = [row["subscription_id"] for row in rows if row["gone"]]
            await connection.execute(_BAD, bad)
            await _disable(connection, sorted({*bad, *gone}), gone)
        elif gone := [row["subscription_id"] for row in rows if row["gone"]]:
            await _disable(connection, gone, gone)


async def _disable(connection: Connection, asked: list[UUID], gone: list[UUID]) -> None:
    for row in await connection.fetch(_DISABLE, asked, gone, FAILING_FOR):
        reason, failing = row["disabled_reason"], row["failing_since"]
        data = {"subscription_id": row["id"], "reason": reason, "failing_since": failing}
        await connection.execute(_TELL, row["environment_id"], msgspec.json.encode(data).decode())
        entry = AuditEntry(
            id=ids.new_id(),
            organization_id=row["organization_id"],
            project_id=row["project_id"],
            environment_id=row["environment_id"],
            actor="system",
            action="subscription.disable",
            target=f"subscription:{row['id']}",
            details={"reason": DisabledReason(reason).value},
        )
        await insert_audit(connection, entry)


def _columns(batch: Sequence[Settlement]) -> tuple[list[Any], ...]:
    claimed, outcomes = [one.claimed for one in batch], [one.outcome for one in batch]
    return (
        [one.environment_id for one in claimed],
        [one.delivery_id for one in claimed],
        [one.claim for one in claimed],
        [one.number for one in claimed],
        [one.delay_seconds for one in batch],
        [one.verdict.value for one in batch],
        [one.status for one in outcomes],
        [one.error for one in outcomes],
        [one.started_at for one in outcomes],
        [one.duration_ms for one in outcomes],
        [one.response for one in outcomes],
    )


async def abandon(database: Database) -> int:
    """Take out of the queue what belongs to subscriptions that are disabled or deleted, up to BITE; how many."""
    async with database.unit() as connection:
        return int(await connection.fetchval(_ABANDON, BITE))
