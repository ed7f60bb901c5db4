"""Key-encryption keys as rows: their ids, what each one wrapped, and the end of one (decision 26).

The keys themselves are never here. Whatever keeps something wrapped has a column `kek_id` that refers to `control.kek`
and is one of `WRAPPED`: a test compares that list with the catalogue.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from storage.postgres.database import Connection
from waypost.secret import KeyEncryptionKey
from waypost.secret.envelope import rewrap

_REGISTER = "insert into control.kek (id) values ($1) on conflict do nothing"
_IDS = "select id from control.kek"
_MISSING = """
select k.id from control.kek k
where k.id <> all ($1::text[]) and exists (select from control.environment_secret s where s.kek_id = k.id)
order by k.id
"""
_RETIRE = "delete from control.kek where id <> $1 returning id"
_ORGANIZATIONS = "select id from control.organization order by id"


class Wrapped(msgspec.Struct, frozen=True):
    """A table whose `column` begins with 60 bytes that a key-encryption key wrapped. `place` is their associated data,
    made of the values of the primary key, in the order of `key`.
    """

    table: str
    column: str
    key: tuple[str, ...]
    place: Callable[..., str]


WRAPPED = (
    Wrapped("environment_secret", "sealed", ("environment_id", "name"), "env:{}:{}".format),
    Wrapped("idempotency", "answer", ("environment_id", "scope", "key"), "idempotency:{}:{}:{}".format),
)


async def register_kek(connection: Connection, kek_id: str) -> None:
    """From now on this key may wrap; no error when it could already."""
    await connection.execute(_REGISTER, kek_id)


async def registered_keks(connection: Connection) -> set[str]:
    """The ids of all keys that may wrap."""
    return {row["id"] for row in await connection.fetch(_IDS)}


async def missing_keks(connection: Connection, present: Sequence[str]) -> list[str]:
    """The keys that environments need and that are not among those that are present."""
    return [row["id"] for row in await connection.fetch(_MISSING, list(present))]


async def rewrap_batch(
    connection: Connection, what: Wrapped, find: Callable[[str], KeyEncryptionKey], to: KeyEncryptionKey, limit: int
) -> int:
    """Re-wrap up to `limit` rows under `to`, in the caller's transaction, past rows that another transaction holds.

    Answers how many. Raises SealError when `find` does not know the key of a row.
    """
    key = ", ".join(what.key)
    rows = await connection.fetch(
        f"select {key}, {what.column}, kek_id from control.{what.table}"  # noqa: S608 - constants only
        f" where kek_id <> $1 limit $2 for update skip locked",
        to.id,
        limit,
    )
    match = " and ".join(f"{name} = ${n}" for n, name in enumerate(what.key, 3))
    update = f"update control.{what.table} set {what.column} = $1, kek_id = $2 where {match}"  # noqa: S608 - constants only
    await connection.executemany(update, [_fresh(what, row, find, to) for row in rows])
    return len(rows)


def _fresh(what: Wrapped, row: Any, find: Callable[[str], KeyEncryptionKey], to: KeyEncryptionKey) -> tuple[Any, ...]:
    values = [row[name] for name in what.key]
    envelope = rewrap(find(row["kek_id"]), to, what.place(*values), bytes(row[what.column]))
    return (envelope, to.id, *values)


async def retire_keks(connection: Connection, but: str) -> list[str]:
    """No key but that one may wrap any more. Waits for transactions that are about to keep something under another one;
    raises asyncpg's ForeignKeyViolationError when something is wrapped by another one still.
    """
    return [row["id"] for row in await connection.fetch(_RETIRE, but)]
