"""Signing keys of environments (decision 27): the `kid` names the environment."""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection

_INSERT = """
insert into control.signing_key (kid, environment_id, algorithm, public_jwk, sealed_private) values ($1, $2, $3, $4, $5)
"""
_CURRENT = """
select kid, environment_id, algorithm, public_jwk, sealed_private from control.signing_key
where environment_id = $1 and (retired_at is null or retired_at > now()) order by published_at desc, kid desc limit 1
"""
_PUBLIC = """
select public_jwk from control.signing_key
where environment_id = $1 and (retired_at is null or retired_at > now()) order by published_at desc, kid desc
"""
_BY_KID = """
select environment_id, public_jwk from control.signing_key
where kid = $1 and (retired_at is null or retired_at > now())
"""


class KeptSigningKey(msgspec.Struct, frozen=True):
    """A key pair; the private half is sealed with the environment's data key at the place `signing:<kid>`."""

    kid: str
    environment_id: UUID
    algorithm: str
    public_jwk: dict[str, Any]
    sealed_private: bytes  # a PEM (PKCS 8) inside


async def insert_signing_key(connection: Connection, key: KeptSigningKey) -> None:
    jwk = msgspec.json.encode(key.public_jwk).decode()
    await connection.execute(_INSERT, key.kid, key.environment_id, key.algorithm, jwk, key.sealed_private)


async def current_signing_key(connection: Connection, environment_id: UUID) -> KeptSigningKey | None:
    """The key that signs now."""
    row = await connection.fetchrow(_CURRENT, environment_id)
    if row is None:
        return None
    return KeptSigningKey(row["kid"], row["environment_id"], row["algorithm"], _jwk(row), row["sealed_private"])


async def public_keys(connection: Connection, environment_id: UUID) -> list[dict[str, Any]]:
    """The JWKs with which tokens of this environment verify, newest first."""
    return [_jwk(row) for row in await connection.fetch(_PUBLIC, environment_id)]


async def public_key_by_kid(connection: Connection, kid: str) -> tuple[UUID, dict[str, Any]] | None:
    """(environment, JWK) of a `kid` that is not retired."""
    row = await connection.fetchrow(_BY_KID, kid)
    return None if row is None else (row["environment_id"], _jwk(row))


def _jwk(row: Any) -> dict[str, Any]:
    return msgspec.json.decode(row["public_jwk"], type=dict[str, Any])
