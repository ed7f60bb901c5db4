"""What people, sessions and invitations look like from outside."""

from datetime import datetime
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from gateway.endpoint import Call
from waypost.access.model import PrincipalKind
from waypost.errors import Category, WaypostError
from waypost.person.model import Invitation, Person, Session

NO_STORE = (b"cache-control", b"no-store")  # the answer holds a credential


class PersonView(Struct, frozen=True):
    id: UUID
    email: str
    name: str
    created_at: datetime


class SessionView(Struct, frozen=True):
    """A session; `kind` is `cookie` or `bearer`, `current` the one that asks. It ends an hour after its last use."""

    id: UUID
    kind: str
    current: bool
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    source_address: str | None
    user_agent: str | None


class SignedInView(Struct, frozen=True):
    """One's own session: `csrf_token` for a cookie's, `access_token` once, when a token was asked for."""

    id: UUID
    expires_at: datetime
    person: PersonView
    csrf_token: str | UnsetType = UNSET
    access_token: str | UnsetType = UNSET


class InvitationView(Struct, frozen=True, kw_only=True):
    id: UUID
    email: str
    role: str
    project_id: UUID | None
    created_by: str
    created_at: datetime
    expires_at: datetime
    link: str | UnsetType = UNSET  # once
    token: str | UnsetType = UNSET  # once


def person_view(person: Person) -> PersonView:
    return PersonView(person.id, person.email, person.name, person.created_at)


def session_view(session: Session, current: str) -> SessionView:
    """`current`: the public id of the session that asks."""
    return SessionView(
        session.id, "bearer" if session.bearer else "cookie", session.public_id == current, session.created_at,
        session.last_used_at, session.expires_at, session.source_address, session.user_agent,
    )  # fmt: skip


def invitation_view(
    invitation: Invitation, link: str | UnsetType = UNSET, token: str | UnsetType = UNSET
) -> InvitationView:
    return InvitationView(
        id=invitation.id,
        email=invitation.email,
        role=invitation.role.value,
        project_id=invitation.project_id,
        created_by=invitation.created_by,
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
        link=link,
        token=token,
    )


def require_person(call: Call) -> UUID:
    """The id of the person who asks; 403 for a key, which has neither sessions nor a password."""
    if call.principal.kind is not PrincipalKind.PERSON:
        raise WaypostError("person_required", "Only somebody who signed in can do this.", Category.FORBIDDEN)
    return call.principal.id
