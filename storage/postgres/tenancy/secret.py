"""Sealed secrets of environments, as rows; opening them is storage.secrets' work."""

from uuid import UUID

from storage.postgres.database import Connection

_INSERT = """
insert into control.environment_secret (environment_id, name, sealed, kek_id) values ($1, $2, $3, $4)
on conflict (environment_id, name) do nothing returning true
"""
_REPLACE = "update control.environment_secret set sealed = $3 where environment_id = $1 and name = $2"
_READ = "select sealed, kek_id from control.environment_secret where environment_id = $1 and name = $2"


async def insert_secret(
    connection: Connection, environment_id: UUID, name: str, sealed: bytes, kek_id: str | None = None
) -> bool:
    """False when there is one already, which stays. `kek_id` for `data_key` only: the others are under the data key."""
    return await connection.fetchval(_INSERT, environment_id, name, sealed, kek_id) is not None


async def replace_secret(connection: Connection, environment_id: UUID, name: str, sealed: bytes) -> None:
    """Put another value in the place of one that is there, under the same data key."""
    await connection.execute(_REPLACE, environment_id, name, sealed)


async def read_secret(connection: Connection, environment_id: UUID, name: str) -> bytes | None:
    """The sealed bytes."""
    sealed: bytes | None = await connection.fetchval(_READ, environment_id, name)
    return sealed


async def read_wrapped(connection: Connection, environment_id: UUID, name: str) -> tuple[bytes, str] | None:
    """The wrapped bytes and the id of the key-encryption key that opens them."""
    row = await connection.fetchrow(_READ, environment_id, name)
    return None if row is None else (bytes(row["sealed"]), row["kek_id"])
