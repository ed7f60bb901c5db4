"""Batches that seal the audit, written and read as waypost_auditor, which can add to them and change nothing.

Every statement runs inside `auditing`: the worker's own login has no right to write here and becomes the auditor for
one transaction.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from storage.postgres.audit.listing import COLUMNS, written_entry
from storage.postgres.database import Connection, Database
from waypost.audit.decision import BEGINNING, LAST_ID, link, seal
from waypost.audit.model import Anchor, Position, Seal, Sweep, WrittenEntry

BATCH = 1_000  # entries at most in one

_TURN = "select from control.audit_turn for update skip locked"
_COLUMNS = """
number, first_transaction, first_id, last_transaction, last_id, until_transaction, until_id, count, first_at, last_at,
entries, content, previous, root
"""
_INSERT = f"""
insert into control.audit_batch ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""  # noqa: S608 - constants only
_LAST = f"select {_COLUMNS} from control.audit_batch order by number desc limit 1"  # noqa: S608 - constants only
_AFTER = f"""
select {_COLUMNS}, exists (select from control.audit_stored s where s.number = b.number) as is_stored
from control.audit_batch b where number > $1 order by number limit $2
"""  # noqa: S608 - constants only
_ANCHOR = """
select number, root, until_transaction, until_id from control.audit_anchor order by number desc limit 1
"""
# Below the oldest transaction in progress nothing will ever be added (decision 31).
_HORIZON = "select pg_snapshot_xmin(pg_current_snapshot())"
_ENTRIES = f"""
select {COLUMNS} from control.audit e
where (e.transaction, e.id) > ($1, $2) and (e.transaction, e.id) <= ($3, $4)
order by e.transaction, e.id limit $5
"""  # noqa: S608 - constants only
_UNSTORED = f"""
select {_COLUMNS} from control.audit_batch b
where not exists (select from control.audit_stored s where s.number = b.number) order by number limit $1
"""  # noqa: S608 - constants only
_STORED = "insert into control.audit_stored (number) values ($1) on conflict do nothing"
_IS_STORED = "select true from control.audit_stored where number = $1"
_SWEPT = """
select swept_by, array_agg(entry_id) as swept from control.audit_swept
where swept_by = any (array(select swept_by from control.audit_swept where entry_id = any ($1::uuid[])))
group by swept_by
"""
_TOLD = f"select {COLUMNS} from control.audit e where e.id = any ($1::uuid[])"  # noqa: S608 - constants only
_UNSEALED = "select count(*) from control.audit e where (e.transaction, e.id) > ($1, $2)"


@asynccontextmanager
async def auditing(database: Database) -> AsyncIterator[Connection]:
    """A transaction as waypost_auditor, whatever login the pool has."""
    async with database.unit() as connection:
        await connection.execute("set local role waypost_auditor")
        yield connection


async def seal_next(database: Database, limit: int = BATCH) -> Seal | None:
    """Seal the oldest entries that are not sealed, up to `limit`; None when there are none, or another worker seals.

    Entries of transactions that may still be in progress are left for later: never skipped.
    """
    async with auditing(database) as connection:
        if await connection.fetchrow(_TURN) is None:
            return None
        after = await end_of_chain(connection)
        horizon = Position(await connection.fetchval(_HORIZON) - 1, LAST_ID)
        found = await read_entries(connection, after.until, horizon, limit)
        if not found:
            return None
        until = found[-1].position if len(found) >= limit else horizon
        batch = seal(found, after=after, until=until)
        await _insert(connection, batch)
        return batch


async def end_of_chain(connection: Connection) -> Anchor:
    """What the next batch hangs on."""
    row = await connection.fetchrow(_LAST)
    return await read_anchor(connection) if row is None else link(_batch(row))


async def read_anchor(connection: Connection) -> Anchor:
    """Where the chain begins since old batches were dropped."""
    row = await connection.fetchrow(_ANCHOR)
    if row is None:
        return BEGINNING
    return Anchor(row["number"], row["root"], Position(row["until_transaction"], row["until_id"]))


async def read_entries(connection: Connection, after: Position, until: Position, limit: int) -> list[WrittenEntry]:
    """Entries after one position, up to and including another, in order."""
    rows = await connection.fetch(_ENTRIES, after.transaction, after.id, until.transaction, until.id, limit)
    return [written_entry(row) for row in rows]


class PostgresChain:
    """The chain as its checker reads it (waypost.audit.port.Chain), by the auditor's own login."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def anchor(self) -> Anchor:
        async with self._database.unit() as connection:
            return await read_anchor(connection)

    async def batches(self, after: int, limit: int) -> list[tuple[Seal, bool]]:
        async with self._database.unit() as connection:
            rows = await connection.fetch(_AFTER, after, limit)
        return [(_batch(row), row["is_stored"]) for row in rows]

    async def entries(self, after: Position, until: Position, limit: int) -> list[WrittenEntry]:
        async with self._database.unit() as connection:
            return await read_entries(connection, after, until, limit)

    async def sweeps(self, gone: Sequence[UUID]) -> list[Sweep]:
        async with self._database.unit() as connection:
            swept = {row["swept_by"]: tuple(row["swept"]) for row in await connection.fetch(_SWEPT, gone)}
            told = [written_entry(row) for row in await connection.fetch(_TOLD, list(swept))]
        entries = {entry.id: entry for entry in told}
        return [Sweep(entries.get(by), taken) for by, taken in swept.items()]

    async def unsealed(self, after: Position) -> int:
        async with self._database.unit() as connection:
            count: int = await connection.fetchval(_UNSEALED, after.transaction, after.id)
            return count


async def unstored_batches(database: Database, limit: int) -> list[Seal]:
    """Batches that are not known to be in the object store, oldest first."""
    async with auditing(database) as connection:
        return [_batch(row) for row in await connection.fetch(_UNSTORED, limit)]


async def mark_stored(database: Database, number: int) -> None:
    """The batch is in the object store."""
    async with auditing(database) as connection:
        await connection.execute(_STORED, number)


async def unstored_anchor(database: Database) -> Anchor | None:
    """The anchor, when it is not known to be in the object store."""
    async with auditing(database) as connection:
        anchor = await read_anchor(connection)
        stored = anchor.number == 0 or await connection.fetchval(_IS_STORED, anchor.number)
        return None if stored else anchor


async def drop_batch(database: Database, keep_days: int) -> int | None:
    """Drop the oldest batch with its entries when it is over `keep_days` old; its number, or None. As the worker."""
    async with database.unit() as connection:
        number: int | None = await connection.fetchval("select control.drop_audit_batch($1)", keep_days)
        return number


async def _insert(connection: Connection, batch: Seal) -> None:
    places = (batch.first, batch.last, batch.until)
    await connection.execute(
        _INSERT,
        batch.number,
        *(part for place in places for part in (place.transaction, place.id)),
        batch.count,
        batch.first_at,
        batch.last_at,
        batch.entries,
        batch.content,
        batch.previous,
        batch.root,
    )


def _batch(row: Any) -> Seal:
    fields = dict(row)
    fields.pop("is_stored", None)
    for name in ("first", "last", "until"):
        fields[name] = Position(fields.pop(f"{name}_transaction"), fields.pop(f"{name}_id"))
    return Seal(**fields)
