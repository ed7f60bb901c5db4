"""Node credentials: what compute nodes get their tokens with."""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.access.model import Grant, NodeCredential, Principal, PrincipalKind, Role

_COLUMNS = "id, environment_id, client_id, name, allowed_tags, functions, created_by, created_at, last_used_at"
_INSERT = """
insert into control.node_credential (
    id, environment_id, client_id, secret_hash, name, allowed_tags, functions, created_by, created_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_FIND = f"""
select {_COLUMNS}, secret_hash from control.node_credential c where client_id = $1 and deleted_at is null
    and exists (
        select from control.environment e where e.id = c.environment_id and e.status not in ('deleting', 'deleted')
    )
"""  # noqa: S608 - constants only
_READ = f"""
select {_COLUMNS} from control.node_credential where environment_id = $1 and id = $2 and deleted_at is null
"""  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.node_credential
where environment_id = $1 and deleted_at is null and ($2::uuid is null or id < $2)
order by id desc limit $3
"""  # noqa: S608 - constants only
_DELETE = """
update control.node_credential set deleted_at = now()
where environment_id = $1 and id = $2 and deleted_at is null returning true
"""
_PLACE = """
select e.organization_id, e.project_id from control.environment e
where e.id = $1 and e.status not in ('deleting', 'deleted')
"""
_PRINCIPAL = """
select c.name, e.organization_id from control.node_credential c join control.environment e on e.id = c.environment_id
where c.environment_id = $1 and c.id = $2 and c.deleted_at is null and e.status not in ('deleting', 'deleted')
"""
_TOUCH = "update control.node_credential set last_used_at = now() where id = $1"


class KeptCredential(msgspec.Struct, frozen=True):
    """A live credential with the hash of its secret."""

    credential: NodeCredential
    secret_hash: bytes


async def insert_credential(connection: Connection, credential: NodeCredential, secret_hash: bytes) -> None:
    await connection.execute(
        _INSERT,
        credential.id,
        credential.environment_id,
        credential.client_id,
        secret_hash,
        credential.name,
        _json(credential.allowed_tags),
        _json(credential.functions),
        credential.created_by,
        credential.created_at,
    )


async def find_credential(connection: Connection, client_id: str) -> KeptCredential | None:
    """The live credential of that client id, for the token endpoint; none of an environment that is being deleted."""
    row = await connection.fetchrow(_FIND, client_id)
    return None if row is None else KeptCredential(_credential(row), row["secret_hash"])


async def read_credential(connection: Connection, environment_id: UUID, credential_id: UUID) -> NodeCredential | None:
    row = await connection.fetchrow(_READ, environment_id, credential_id)
    return None if row is None else _credential(row)


async def list_credentials(
    connection: Connection, environment_id: UUID, *, before: UUID | None, limit: int
) -> list[NodeCredential]:
    """Newest first, older than `before`."""
    return [_credential(row) for row in await connection.fetch(_LIST, environment_id, before, limit)]


async def delete_credential(connection: Connection, environment_id: UUID, credential_id: UUID) -> bool:
    """True when it was live. Its streams are cut by whoever hears the message, or at the relays' next look."""
    return await connection.fetchval(_DELETE, environment_id, credential_id) is not None


async def touch_credential(connection: Connection, credential_id: UUID) -> None:
    """Note that a token was asked for."""
    await connection.execute(_TOUCH, credential_id)


async def node_principal(connection: Connection, environment_id: UUID, credential_id: UUID) -> Principal | None:
    """Who speaks with a token of this credential: an operator of its one environment; None when it is gone."""
    row = await connection.fetchrow(_PRINCIPAL, environment_id, credential_id)
    if row is None:
        return None
    grant = Grant(row["organization_id"], Role.OPERATOR, environment_id=environment_id)
    return Principal(PrincipalKind.NODE, credential_id, (grant,), name=row["name"])


async def environment_path(connection: Connection, environment_id: UUID) -> str | None:
    """The environment's path in the API, by ids; None when it is going or gone."""
    row = await connection.fetchrow(_PLACE, environment_id)
    if row is None:
        return None
    return f"/v1/orgs/{row['organization_id']}/projects/{row['project_id']}/environments/{environment_id}"


def _json(texts: tuple[str, ...] | None) -> str | None:
    return None if texts is None else msgspec.json.encode(texts).decode()


def _texts(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else msgspec.json.decode(value, type=tuple[str, ...])


def _credential(row: Any) -> NodeCredential:
    fields = dict(row)
    fields.pop("secret_hash", None)
    fields["allowed_tags"], fields["functions"] = _texts(fields["allowed_tags"]), _texts(fields["functions"])
    return NodeCredential(**fields)
