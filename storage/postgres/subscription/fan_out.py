"""Following the ledger for subscriptions: what ended, in whole transactions, each exactly once (decision 31).

What is inserted and how far it is followed (storage.postgres.follower) are one transaction, so a crash loses and
doubles nothing. Refuses: to look at what a transaction in progress might still add to.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import msgspec

from storage.postgres.database import Connection
from storage.postgres.follower import Standing
from storage.postgres.sql import load

NAME = "subscription.fan_out"
BATCH = 2_000
KEPT = timedelta(hours=25)  # a live stream resumes up to a day later
FORGOTTEN_AT_ONCE = 50

_SUBSCRIBED = """
select s.id, s.environment_id, s.events, s.created_at
from control.subscription s
join control.environment e on e.id = s.environment_id and e.status not in ('deleting', 'deleted')
where s.disabled_at is null and s.deleted_at is null
"""
_OTHERS_WAIT = "select exists (select from control.environment_event where taken_at is null)"
_OTHERS = """
update control.environment_event set taken_at = now() where number = any (array(
    select number from control.environment_event where taken_at is null order by number limit $1
)) returning number, environment_id, type, data, at
"""
# Of the oldest few: so a look costs the same however many there are.
_FORGET = """
delete from control.environment_event where number = any (array(
    select number from (select number, taken_at from control.environment_event order by number limit $1) o
    where taken_at < now() - $2::interval
))
"""


class Subscribed(msgspec.Struct, frozen=True):
    """A subscription that takes events since `created_at`."""

    id: UUID
    environment_id: UUID
    events: tuple[str, ...]
    created_at: datetime


class Ended(msgspec.Struct, frozen=True):
    """A job that ended. `error` is sealed."""

    environment_id: UUID
    job_id: UUID
    error: bytes | None
    xact: int


class Other(msgspec.Struct, frozen=True):
    """An event that is not a job's; `id` is its `webhook-id`, `data` JSON."""

    id: UUID
    environment_id: UUID
    type: str
    data: bytes
    at: datetime


async def read_subscribed(connection: Connection) -> list[Subscribed]:
    """Every subscription that takes events now."""
    return [
        Subscribed(row["id"], row["environment_id"], tuple(row["events"]), row["created_at"])
        for row in await connection.fetch(_SUBSCRIBED)
    ]


async def read_ended(
    connection: Connection,
    standing: Standing,
    since: datetime,
    environments: Sequence[UUID],
    limit: int = BATCH,
) -> list[Ended]:
    """Of the transactions from `standing.xact` to before `standing.low`; fewer than `limit`: there are no more."""
    statement = load("storage.postgres.subscription", "ended")
    bounds = str(standing.xact), str(standing.low)
    rows = await connection.fetch(statement, *bounds, since, list(environments), limit)
    return [Ended(row["environment_id"], row["job_id"], row["error"], int(row["xact"])) for row in rows]


async def others_wait(connection: Connection) -> bool:
    """Whether there are events that are not jobs'."""
    return bool(await connection.fetchval(_OTHERS_WAIT))


async def take_others(connection: Connection, limit: int = BATCH) -> list[Other]:
    """Events that are not jobs' and were not taken, oldest first. Old ones are forgotten on the way."""
    await connection.execute(_FORGET, FORGOTTEN_AT_ONCE, KEPT)
    rows: list[Any] = await connection.fetch(_OTHERS, limit)
    return sorted(map(other_of, rows), key=lambda other: other.at)


def other_of(row: Any) -> Other:
    """A row of an event; its id is the same whoever reads it."""
    environment_id: UUID = row["environment_id"]
    event_id = uuid5(environment_id, f"event {row['number']}")
    return Other(event_id, environment_id, row["type"], row["data"].encode(), row["at"])
