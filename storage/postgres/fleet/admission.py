"""May this node join: the signing key of its token, its credential, its environment, how many are there. Read-only."""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Database
from storage.postgres.tenancy.signing_key import public_key_by_kid

_ELSEWHERE = """
select e.limits, o.limits as organization_limits, (
    select count(*) from control.node n join control.session s on s.id = n.session
    where n.environment_id = e.id and n.disconnected_at is null and n.session <> $2
        and s.ended_at is null and s.lease_until > now()
) as nodes
from control.environment e join control.organization o on o.id = e.organization_id where e.id = $1
"""


class Credential(msgspec.Struct, frozen=True):
    """A live node credential. Patterns are None when it allows anything."""

    environment_id: UUID
    environment_status: str
    tags: tuple[str, ...] | None
    functions: tuple[str, ...] | None


class Elsewhere(msgspec.Struct, frozen=True):
    """Nodes of an environment that are connected to other relays, and what limits them."""

    organization_limits: dict[str, int]
    environment_limits: dict[str, int]
    nodes: int


async def nodes_elsewhere(database: Database, environment_id: UUID, session: int) -> Elsewhere:
    """Nodes connected under other live sessions than ours, and the limits as they are kept."""
    async with database.unit() as connection:
        row = await connection.fetchrow(_ELSEWHERE, environment_id, session)
    if row is None:
        return Elsewhere({}, {}, 0)
    own, above = (msgspec.json.decode(row[name], type=dict[str, int]) for name in ("limits", "organization_limits"))
    return Elsewhere(above, own, row["nodes"])


async def signing_key(database: Database, kid: str) -> tuple[UUID, dict[str, Any]] | None:
    """(environment, public JWK) of the published, not retired key of that id."""
    async with database.unit() as connection:
        return await public_key_by_kid(connection, kid)


async def credential(database: Database, credential_id: UUID) -> Credential | None:
    """The credential with its environment's status, or None when it is deleted or never was."""
    async with database.unit() as connection:
        row = await connection.fetchrow(
            "select c.environment_id, e.status, c.allowed_tags::text as tags, c.functions::text as functions"
            " from control.node_credential c join control.environment e on e.id = c.environment_id"
            " where c.id = $1 and c.deleted_at is null",
            credential_id,
        )
    if row is None:
        return None
    return Credential(row["environment_id"], row["status"], _patterns(row["tags"]), _patterns(row["functions"]))


def _patterns(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(msgspec.json.decode(text, type=list[str]))
