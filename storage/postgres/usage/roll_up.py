"""Adding up facts by hour and day: of whole transactions, each exactly once (decision 31).

The sums and how far they go (storage.postgres.follower) are one transaction, so a crash loses and doubles nothing.
Refuses: to count what a transaction in progress might still add to.
"""

from datetime import datetime
from uuid import UUID

import asyncpg

from storage.postgres.database import Connection
from storage.postgres.follower import Standing, hold_standing, move_on
from storage.postgres.sql import load
from waypost.usage.model import BYTES_HELD, HOURS_KEPT, KEPT, MISSED, OWN_KEPT, OWN_SOURCE, ROLL_UP

# Plans that cannot flip: time by its BRIN index, jobs by their primary key (decision 12).
_PINNED = """
set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off;
set local plan_cache_mode = force_generic_plan
"""
_REACHED = "select xact >= $2::text::xid8 from control.follower where name = $1"
_OPEN = "select usage_closed_at is null from control.environment where id = $1"
_CLOSE = "update control.environment set usage_closed_at = now() where id = $1"
_PATIENCE = "set local lock_timeout = '1s'"
LAST = str(2**64 - 1)  # no transaction has this number
# The job of this hour: its id, which is its subject too, begins with the hour's first millisecond, so it is made once.
_ENSURE = """
insert into control.platform_job (id, kind, subject)
select id, $1, id from (
    select (
        lpad(to_hex(extract(epoch from date_trunc('hour', now()))::bigint * 1000), 12, '0') || '7e5a8000000000000000'
    )::uuid as id
) hour on conflict do nothing
"""
_PRUNE = """
delete from control.usage_event where ctid = any (array(
    select ctid from control.usage_event
    where ingested_at < now() - $1::interval and (ingested_at < now() - $2::interval or starts_with(source, $3))
    limit $4
))
"""
_PRUNE_HOURS = """
delete from control.usage_hour where ctid = any (array(
    select ctid from control.usage_hour where hour < now() - $1::interval limit $2
))
"""
# Content that several artifacts share is held once.
_SAMPLE = """
insert into control.usage_event (environment_id, source, id, meter, quantity, at, subject)
select environment_id, $1, $2, $3, sum(size_bytes), $4, $5::text from control.artifact_blob
where $5 is null or created_at < $4 group by environment_id
on conflict do nothing
"""
_LAST = """
select subject from control.platform_job where kind = $1 and state = 'completed' and subject < $2
order by subject desc limit 1
"""
BITE = 10_000
FACTS = ("ended", "tried", "delivered", "told")


class BusyError(Exception):
    """Somebody adds up a backlog: try again later."""


def facts() -> str:
    """Every fact of transactions from $1 to before $2 that wrote after $3, summed by environment, hour and meter."""
    return "\nunion all\n".join(f"({load('storage.postgres.usage', name)})" for name in FACTS)


async def add_facts(connection: Connection, standing: Standing, since: datetime, following: datetime) -> int:
    """Add what transactions from `standing.xact` to before `standing.low` wrote, none of it before `since`, and move
    on; those from `standing.low` on have written nothing before `following`. Answers how many facts that were."""
    added = await _add(connection, str(standing.xact), str(standing.low), since, None)
    await move_on(connection, ROLL_UP, standing.low, following)
    return added


async def close_environment(connection: Connection, environment_id: UUID) -> bool:
    """Add whatever the environment has that was not added yet, and take nothing more of it; what it had stays in the
    sums. Waits for nobody's transaction but another adding. Again, it does nothing: False.

    Raises BusyError when another is at it for longer than a second.
    """
    await connection.execute(_PATIENCE)
    try:
        standing = await hold_standing(connection, ROLL_UP, wait=True)
    except asyncpg.LockNotAvailableError:
        raise BusyError from None
    if standing is None:
        raise RuntimeError("the follower of usage has no row")
    if not await connection.fetchval(_OPEN, environment_id):
        return False
    await _add(connection, str(standing.xact), LAST, standing.at, environment_id)
    await connection.execute(_CLOSE, environment_id)
    return True


async def _add(connection: Connection, low: str, high: str, since: datetime, environment_id: UUID | None) -> int:
    await connection.execute(_PINNED)
    added: int = await connection.fetchval(statement(), low, high, since, environment_id)
    return added


def statement() -> str:
    """What adds facts of transactions from $1 to before $2 that wrote after $3, all of them or those of environment $4,
    to the sums; answers how many."""
    return f"with facts as (\n{facts()}\n){load('storage.postgres.usage', 'add')}"


async def next_transaction(connection: Connection) -> int:
    """The number that the next transaction gets: what is committed now has a lower one."""
    return int(await connection.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text"))


async def has_reached(connection: Connection, transaction: int) -> bool:
    """Whether everything of transactions before this one was added."""
    return bool(await connection.fetchval(_REACHED, ROLL_UP, str(transaction)))


async def ensure_roll_up(connection: Connection) -> None:
    """Queue the platform job of this hour, unless there was one."""
    await connection.execute(_ENSURE, ROLL_UP)


async def prune_events(connection: Connection) -> bool:
    """Delete one bite of the events that nobody needs any more; True when there may be more."""
    status: str = await connection.execute(_PRUNE, OWN_KEPT, KEPT, OWN_SOURCE, BITE)
    return int(status.rpartition(" ")[2]) >= BITE


async def prune_hours(connection: Connection) -> bool:
    """Delete one bite of the sums by hour that are too old to be asked for; True when there may be more."""
    status: str = await connection.execute(_PRUNE_HOURS, HOURS_KEPT, BITE)
    return int(status.rpartition(" ")[2]) >= BITE


async def last_roll_up(connection: Connection, before: UUID) -> UUID | None:
    """Of the last job before this one that was done: its subject, which says the hour."""
    found: UUID | None = await connection.fetchval(_LAST, ROLL_UP, before)
    return found


async def sample_bytes_held(connection: Connection, hour: datetime, *, missed: bool = False) -> int:
    """Count what each environment's artifacts hold as that hour's sample; again, nothing. Answers how many are new.

    Of an hour that was missed that is what was there then and still is; the event's subject says so.
    """
    source, name = f"{OWN_SOURCE}sample", f"{BYTES_HELD}:{hour:%Y-%m-%dT%H}"
    status: str = await connection.execute(_SAMPLE, source, name, BYTES_HELD, hour, MISSED if missed else None)
    return int(status.rpartition(" ")[2])
