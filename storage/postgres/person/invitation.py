"""Invitations. Open means: not accepted, not revoked, not expired; no other is ever found by its token."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.access.model import Role
from waypost.person.model import Invitation

_COLUMNS = "id, organization_id, project_id, email, email_folded, role, created_by, created_at, expires_at, accepted_at"
_OPEN = "accepted_at is null and revoked_at is null and expires_at > now()"
_INSERT = """
insert into control.invitation (
    id, organization_id, project_id, email, email_folded, role, public_id, token_hash, created_by, expires_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + $10::interval)
returning created_at, expires_at
"""
_FIND = f"select {_COLUMNS}, token_hash from control.invitation where public_id = $1 and {_OPEN}"  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.invitation
where organization_id = $1 and {_OPEN} and ($2::uuid is null or id < $2)
order by id desc limit $3
"""  # noqa: S608 - constants only
# Of two who take it at once, the second waits for the first and then finds it taken.
_TAKE = f"update control.invitation set accepted_at = now() where id = $1 and {_OPEN} returning true"  # noqa: S608 - constants only
_TAKEN_BY = "update control.invitation set accepted_by = $2 where id = $1"
_REVOKE = f"""
update control.invitation set revoked_at = now() where organization_id = $1 and id = $2 and {_OPEN}
returning {_COLUMNS}
"""  # noqa: S608 - constants only


class KeptInvitation(msgspec.Struct, frozen=True):
    """An open invitation with its token's hash, for `waypost.access.key.same_secret`."""

    invitation: Invitation
    token_hash: bytes


async def insert_invitation(
    connection: Connection, invitation: Invitation, public_id: str, token_hash: bytes, life: timedelta
) -> Invitation:
    """The invitation with Postgres' times."""
    i = invitation
    created_at, expires_at = await connection.fetchrow(
        _INSERT, i.id, i.organization_id, i.project_id, i.email, i.email_folded, i.role.value, public_id, token_hash,
        i.created_by, life,
    )  # fmt: skip
    return msgspec.structs.replace(i, created_at=created_at, expires_at=expires_at)


async def find_invitation(connection: Connection, public_id: str) -> KeptInvitation | None:
    """The open invitation of that public id."""
    row = await connection.fetchrow(_FIND, public_id)
    return None if row is None else KeptInvitation(_invitation(row), row["token_hash"])


async def list_invitations(
    connection: Connection, organization_id: UUID, *, before: UUID | None, limit: int
) -> list[Invitation]:
    """Open invitations, newest first, older than `before`."""
    return [_invitation(row) for row in await connection.fetch(_LIST, organization_id, before, limit)]


async def take_invitation(connection: Connection, invitation_id: UUID) -> bool:
    """Use it up; False when it is no longer open. Holds the row until the transaction ends."""
    return await connection.fetchval(_TAKE, invitation_id) is not None


async def set_taker(connection: Connection, invitation_id: UUID, person_id: UUID) -> None:
    """Who used it."""
    await connection.execute(_TAKEN_BY, invitation_id, person_id)


async def revoke_invitation(connection: Connection, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """The invitation that was just revoked; None when it is not open."""
    row = await connection.fetchrow(_REVOKE, organization_id, invitation_id)
    return None if row is None else _invitation(row)


def _invitation(row: Any) -> Invitation:
    fields = {name: row[name] for name in Invitation.__struct_fields__}
    return Invitation(**(fields | {"role": Role(fields["role"])}))
