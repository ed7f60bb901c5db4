"""API keys. Refuses to know a key's text: it is found by its public id and compared by hash."""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.access.model import ApiKey, Role

_COLUMNS = """
id, public_id, organization_id, environment_id, name, role, created_by, created_at, expires_at, revoked_at, replaced_by,
last_used_at
"""
_INSERT = """
insert into control.api_key (
    id, public_id, organization_id, environment_id, name, role, secret_hash, created_by, created_at, expires_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_FIND = f"""
select {_COLUMNS}, secret_hash from control.api_key
where public_id = $1 and revoked_at is null and (expires_at is null or expires_at > now())
"""  # noqa: S608 - constants only
_READ = f"select {_COLUMNS} from control.api_key where organization_id = $1 and id = $2"  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.api_key
where organization_id = $1 and environment_id is not distinct from $2 and revoked_at is null
    and ($3::uuid is null or id < $3)
order by id desc limit $4
"""  # noqa: S608 - constants only
_REVOKE = """
update control.api_key set revoked_at = now()
where organization_id = $1 and environment_id is not distinct from $2 and id = $3 and revoked_at is null
returning public_id
"""
_REPLACE = """
update control.api_key set replaced_by = $3, expires_at = least(expires_at, now() + $4::float8 * interval '1 second')
where organization_id = $1 and id = $2 and revoked_at is null and replaced_by is null
returning true
"""
# At most a write a minute and key, whatever the rate of requests.
_TOUCH = """
update control.api_key set last_used_at = now()
where id = any ($1::uuid[]) and (last_used_at is null or last_used_at < now() - interval '1 minute')
"""


class KeptKey(msgspec.Struct, frozen=True):
    """A live key with its hash, for `waypost.access.key.same_secret`."""

    key: ApiKey
    secret_hash: bytes


async def insert_key(connection: Connection, key: ApiKey, secret_hash: bytes) -> None:
    await connection.execute(
        _INSERT,
        key.id,
        key.public_id,
        key.organization_id,
        key.environment_id,
        key.name,
        key.role.value,
        secret_hash,
        key.created_by,
        key.created_at,
        key.expires_at,
    )


async def find_key(connection: Connection, public_id: str) -> KeptKey | None:
    """The key of that public id unless it is revoked or expired (by Postgres' clock)."""
    row = await connection.fetchrow(_FIND, public_id)
    return None if row is None else KeptKey(_key(row), row["secret_hash"])


async def read_key(connection: Connection, organization_id: UUID, key_id: UUID) -> ApiKey | None:
    """Any key of the organization, revoked ones too."""
    row = await connection.fetchrow(_READ, organization_id, key_id)
    return None if row is None else _key(row)


async def list_keys(
    connection: Connection, organization_id: UUID, environment_id: UUID | None, *, before: UUID | None, limit: int
) -> list[ApiKey]:
    """Keys that are not revoked, newest first, older than `before`. `environment_id` None: the organization's own."""
    return [_key(row) for row in await connection.fetch(_LIST, organization_id, environment_id, before, limit)]


async def revoke_key(
    connection: Connection, organization_id: UUID, environment_id: UUID | None, key_id: UUID
) -> str | None:
    """The public id of the key that was just revoked, for the message to the caches; None when there was none."""
    public_id: str | None = await connection.fetchval(_REVOKE, organization_id, environment_id, key_id)
    return public_id


async def replace_key(
    connection: Connection, organization_id: UUID, key_id: UUID, replaced_by: UUID, overlap_seconds: float
) -> bool:
    """Rotation: the old key works for `overlap_seconds` more, or until its own expiry if that is sooner. False, and
    nothing is done, when it was rotated or revoked already, also by somebody at the same moment."""
    return await connection.fetchval(_REPLACE, organization_id, key_id, replaced_by, overlap_seconds) is not None


async def touch_keys(connection: Connection, key_ids: list[UUID]) -> None:
    """Note that these keys were used just now."""
    await connection.execute(_TOUCH, key_ids)


def _key(row: Any) -> ApiKey:
    fields = dict(row)
    fields.pop("secret_hash", None)
    return ApiKey(**(fields | {"role": Role(fields["role"])}))
