"""Firings, deliveries and bulk replays of one environment that are too old. A statement takes a bounded bite."""

from datetime import datetime
from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.ledger.retention.statement import indexed
from waypost.ids import first_id_at

LIMIT = 1_000

_FIRINGS = """
delete from control.firing where ctid = any (array(
    select ctid from control.firing where environment_id = $1 and at < $2 limit $3 for update skip locked
)) returning 1
"""
# A delivery is not younger than its id. Of every subscription that there ever was: deleted ones have deliveries, too.
_DELIVERIES = """
with old as materialized (
    select d.subscription_id, d.id from control.subscription s cross join lateral (
        select subscription_id, id from control.delivery
        where environment_id = $1 and subscription_id = s.id and id < $4::uuid and state <> 'pending'
            and finished_at < $2
        order by id limit $3 for update skip locked
    ) d where s.environment_id = $1 limit $3
), attempts as (
    delete from control.delivery_attempt a using old
    where a.environment_id = $1 and a.subscription_id = old.subscription_id and a.delivery_id = old.id
)
delete from control.delivery d using old
where d.environment_id = $1 and d.subscription_id = old.subscription_id and d.id = old.id
returning 1
"""
_REPLAYS = """
delete from control.bulk_replay where environment_id = $1 and id = any (array(
    select id from control.bulk_replay where environment_id = $1 and id < $4::uuid and finished_at < $2
    order by id limit $3 for update skip locked
)) returning 1
"""


async def delete_firings(database: Database, environment_id: UUID, before: datetime) -> int:
    """Of an instant before this one; how many. `LIMIT`: there may be more."""
    async with indexed(database) as connection:
        return len(await connection.fetch(_FIRINGS, environment_id, before, LIMIT))


async def delete_deliveries(database: Database, environment_id: UUID, before: datetime) -> int:
    """With their attempts; those that ended before this instant."""
    async with indexed(database) as connection:
        return len(await connection.fetch(_DELIVERIES, environment_id, before, LIMIT, first_id_at(before)))


async def delete_replays(database: Database, environment_id: UUID, before: datetime) -> int:
    """Bulk replays that ended before this instant; the jobs that they made are jobs like others."""
    async with indexed(database) as connection:
        return len(await connection.fetch(_REPLAYS, environment_id, before, LIMIT, first_id_at(before)))
