"""People of a test who are signed in already: rows made directly, so that no password is hashed for them."""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from waypost.access.key import SESSION_PREFIX, make_key
from waypost.access.model import Role
from waypost.ids import new_id

_PERSON = "insert into control.person (id, email, email_folded, name) values ($1, $2, $2, $3)"
_SESSION = """
insert into control.person_session (id, person_id, public_id, token_hash, bearer, expires_at)
values ($1, $2, $3, $4, true, now() + interval '12 hours')
"""
_MEMBER = """
insert into control.membership (id, organization_id, project_id, person_id, role, created_by)
values ($1, $2, $3, $4, $5, 'test')
"""


@dataclass(frozen=True)
class SignedIn:
    """A person with a session; `member_ids` in the order of the roles given."""

    id: UUID
    email: str
    headers: dict[str, str]
    member_ids: tuple[UUID, ...] = ()


async def sign_in(platform: Any, *roles: tuple[UUID, UUID | None, Role]) -> SignedIn:
    """A new person with a bearer session and these roles: (organization, project or None, role)."""
    person_id, email = new_id(), f"p{secrets.token_hex(8)}@example.com"
    public_id, token, token_hash = make_key(SESSION_PREFIX)
    members = tuple(new_id() for _ in roles)
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    try:
        async with owner.transaction():
            await owner.execute(_PERSON, person_id, email, "Test Person")
            await owner.execute(_SESSION, new_id(), person_id, public_id, token_hash)
            for member_id, (organization, project, role) in zip(members, roles, strict=True):
                await owner.execute(_MEMBER, member_id, organization, project, person_id, role.value)
    finally:
        await owner.close()
    return SignedIn(person_id, email, {"Authorization": f"Bearer {token}"}, members)
