"""Following the ledger for subscriptions: what ended, in whole transactions, each exactly once (decision 31).

`control.follower` is how far it was followed; whoever holds its row until the commit goes on from there. What is
inserted and how far it is followed are one transaction, so a crash loses and doubles nothing. Refuses: to look at what
a transaction in progress might still add to.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.sql import load

NAME = "subscription.fan_out"
BATCH = 2_000

_STANDING = """
select f.xact::text as xact, f.at, pg_snapshot_xmin(s.snapshot)::text as low,
    pg_snapshot_xmax(s.snapshot)::text as high, clock_timestamp() as now
from control.follower f, (select pg_current_snapshot() as snapshot) s where f.name = $1
"""
_SUBSCRIBED = """
select id, environment_id, events, created_at from control.subscription where disabled_at is null and deleted_at is null
"""
_OTHERS_WAIT = "select exists (select from control.environment_event)"
_OTHERS = """
delete from control.environment_event where number = any (array(
    select number from control.environment_event order by number limit $1
)) returning environment_id, type, data, at
"""
# Never back: its row may have been read before another follower's commit.
_MOVE = """
update control.follower set xact = greatest(xact, $2::text::xid8), at = clock_timestamp() where name = $1
"""


class Standing(msgspec.Struct, frozen=True):
    """How far it was followed (`xact`, exclusive, at the instant `at`), and the transactions as they stand: all before
    `low` are over, none from `high` on had begun at `now`."""

    xact: int
    at: datetime
    low: int
    high: int
    now: datetime


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
    """An event that is not a job's; `data` is JSON."""

    environment_id: UUID
    type: str
    data: bytes
    at: datetime


async def read_standing(connection: Connection, *, hold: bool = False) -> Standing | None:
    """As it is now; with `hold` until the commit, None when another holds it."""
    statement = f"{_STANDING} for update of f skip locked" if hold else _STANDING
    row = await connection.fetchrow(statement, NAME)
    return None if row is None else Standing(int(row["xact"]), row["at"], int(row["low"]), int(row["high"]), row["now"])


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
    """Events that are not jobs', oldest first, gone with the commit."""
    rows: list[Any] = await connection.fetch(_OTHERS, limit)
    found = [Other(row["environment_id"], row["type"], row["data"].encode(), row["at"]) for row in rows]
    return sorted(found, key=lambda other: other.at)


async def move_on(connection: Connection, xact: int) -> None:
    """Everything of transactions before `xact` is done."""
    await connection.execute(_MOVE, NAME, str(xact))
