"""How many there are of what a limit counts. Whoever asks holds the owner's row, so that the number stays true until
the commit (waypost.tenancy.quota)."""

from uuid import UUID

from storage.postgres.database import Connection
from waypost.limit.model import (
    ENVIRONMENT_KEYS,
    ENVIRONMENTS,
    MEMBERS,
    NODE_CREDENTIALS,
    ORGANIZATION_KEYS,
    PROJECTS,
)

# A key that was rotated is on its way out and does not count beside the one in its place.
_LIVE_KEYS = """
select count(*) from control.api_key
where organization_id = $1 and environment_id is not distinct from $2 and revoked_at is null and replaced_by is null
    and (expires_at is null or expires_at > now())
"""
_COUNT = {
    PROJECTS: """
select count(*) from control.project where organization_id = $1 and deleted_at is null and $2::uuid is null
""",
    ENVIRONMENTS: """
select count(*) from control.environment where organization_id = $1 and deleted_at is null and $2::uuid is null
""",
    MEMBERS: """
select (select count(*) from control.membership where organization_id = $1) + (
    select count(*) from control.invitation
    where organization_id = $1 and accepted_at is null and revoked_at is null and expires_at > now()
) where $2::uuid is null
""",
    ORGANIZATION_KEYS: _LIVE_KEYS,
    ENVIRONMENT_KEYS: _LIVE_KEYS,
    NODE_CREDENTIALS: """
select count(*) from control.node_credential c join control.environment e on e.id = c.environment_id
where e.organization_id = $1 and c.environment_id = $2 and c.deleted_at is null
""",
}


async def count_used(connection: Connection, limit: str, organization_id: UUID, environment_id: UUID | None) -> int:
    """In the organization, or in its environment where the limit is an environment's; KeyError for another limit."""
    return int(await connection.fetchval(_COUNT[limit], organization_id, environment_id))
