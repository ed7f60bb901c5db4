"""Invitations by one-time link: an administrator makes one, whoever holds its token becomes a member with it."""

from typing import Literal

import msgspec

from gateway.audit import origin_of, record, tenancy
from gateway.endpoint import ORG, PAGE, Call, Endpoint, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.person_audit import stranger
from gateway.v1.form import location
from gateway.v1.person_view import NO_STORE, InvitationView, PersonView, invitation_view, person_view
from gateway.v1.view import OrganizationView, organization_view, page_view
from jobs.wake import PersonChanged
from storage.postgres.database import Connection
from storage.postgres.person.invitation import find_invitation, list_invitations, revoke_invitation
from storage.postgres.person.person import find_login
from storage.postgres.person.unit import PostgresPeople
from storage.postgres.tenancy.organization import read_organization
from storage.postgres.tenancy.project import read_project
from waypost import errors
from waypost.access.key import INVITATION_PREFIX, check_text, same_secret
from waypost.access.model import Permission, Role
from waypost.ids import parse_id
from waypost.limit.model import MEMBERS
from waypost.person import operation
from waypost.person.decision import checked_password, checked_person_name, invitation_link
from waypost.person.model import Invitation, Person
from waypost.tenancy.model import ProjectStatus
from waypost.tenancy.quota import require_quota

INVITATIONS = ORG + "/invitations"


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """`project`: an id or slug, for a role in that project only. `expires_in_seconds`: default 604800 (7 days)."""

    email: str
    role: Literal["org_admin", "project_admin", "operator", "viewer"]
    project: str | None = None
    expires_in_seconds: float | None = None


class InvitationPage(msgspec.Struct):
    items: list[InvitationView]
    next_cursor: str | None


class Acceptance(msgspec.Struct, forbid_unknown_fields=True):
    """`password`: a new one of at least 12 characters, or for somebody who has signed in before, the one they have."""

    token: str
    password: str
    name: str = ""

    def __repr__(self) -> str:
        return "Acceptance(…)"


class AcceptedView(msgspec.Struct, frozen=True):
    person: PersonView
    organization: OrganizationView
    role: str
    project_id: str | None


@endpoint(
    "POST",
    INVITATIONS,
    summary="Invite somebody by a one-time link, which is shown once",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    body=NewInvitation,
    answer=InvitationView,
    status=201,
    idempotent=True,
    example={"email": "grace@example.com", "role": "operator", "project": "default"},
)
async def create_invitation(call: Call) -> Answer:
    new, organization = await call.read(NewInvitation), call.place.organization
    life = operation.checked_life(new.expires_in_seconds)

    async def work(connection: Connection) -> Answer:
        project = None
        if new.project is not None:
            reference = parse_id(new.project) or new.project
            project = await read_project(connection, organization.id, reference) if "\0" not in new.project else None
            if project is None or project.status is not ProjectStatus.ACTIVE:
                raise errors.invalid("unknown_project", "There is no such project in this organization.", "/project")
        unit, default = tenancy(connection, call), call.services.default_limits
        await require_quota(unit, MEMBERS, organization.id, default=default)
        invitation, token = await operation.invite(
            PostgresPeople(connection),
            origin_of(call),
            organization_id=organization.id,
            project_id=project.id if project else None,
            email=new.email,
            role=Role(new.role),
            life=life,
        )
        view = invitation_view(invitation, invitation_link(call.services.public_url, token), token)
        return ok(view, 201, [NO_STORE, location(organization.id, "invitations", invitation.id)])

    return await once(call, organization.id, "invitations.create", work)


@endpoint(
    "GET",
    INVITATIONS,
    summary="Invitations that are open, newest first",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    query=PAGE,
    answer=InvitationPage,
)
async def read_invitations(call: Call) -> Answer:
    organization = call.place.organization
    page = page_of(call.query, "invitations", organization.id)
    async with call.services.database.unit() as connection:
        found = await list_invitations(connection, organization.id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda invitation: invitation.id)
    return ok(page_view([invitation_view(invitation) for invitation in shown], cursor))


@endpoint(
    "DELETE",
    INVITATIONS + "/{invitation}",
    summary="Revoke an invitation",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    status=204,
)
async def delete_invitation(call: Call) -> Answer:
    organization, identifier = call.place.organization, call.identifier("invitation", "invitation")
    async with call.services.database.unit() as connection:
        revoked = await revoke_invitation(connection, organization.id, identifier)
        if revoked is None:
            raise errors.not_found("invitation")
        details = {"email": revoked.email, "role": revoked.role.value}
        await record(connection, call, "invitation.revoke", f"invitation:{identifier}", details)
    return nothing()


@endpoint(
    "POST",
    "/v1/invitations/accept",
    summary="Accept an invitation: become a person here, or a member of one more organization",
    public="the invitation's token is the credential",
    body=Acceptance,
    answer=AcceptedView,
    status=201,
    also={404: "The invitation is unknown, used, revoked or expired."},
    example={"token": "wpi_…", "name": "Grace Hopper", "password": "correct horse battery staple"},
)
async def accept_invitation(call: Call) -> Answer:
    """Used once. Somebody whose address is known proves with their password that it is them."""
    given = await call.read(Acceptance)
    invitation, known = await _look_up(call, given.token)
    person = await _prove(call, invitation, given.password) if known else None
    new_hash, name = None, ""
    if person is None:
        name = checked_person_name(given.name)
        password = checked_password(given.password, invitation.email_folded)
        new_hash = await call.services.logins.passwords.hash(password)
    async with call.services.database.unit() as connection:
        organization = await read_organization(connection, invitation.organization_id)
        if organization is None or not await _project_is_there(connection, invitation):
            raise operation.invalid_invitation()
        by = stranger(call.exchange)
        person = await operation.accept(PostgresPeople(connection), by, invitation, person, name, new_hash)
    call.services.tell_access(PersonChanged(person.id))
    project_id = None if invitation.project_id is None else str(invitation.project_id)
    view = AcceptedView(
        person_view(person),
        organization_view(organization, call.services.limits_of(organization)),
        invitation.role.value,
        project_id,
    )
    return ok(view, 201)


async def _look_up(call: Call, token: str) -> tuple[Invitation, bool]:
    """The open invitation, and whether there is somebody of its address."""
    public_id = check_text(token, INVITATION_PREFIX)
    if public_id is None:
        raise operation.invalid_invitation()
    async with call.services.database.unit() as connection:
        found = await find_invitation(connection, public_id)
        if found is None or not same_secret(token, found.token_hash):
            raise operation.invalid_invitation()
        known = await find_login(connection, found.invitation.email_folded)
    return found.invitation, known is not None


async def _prove(call: Call, invitation: Invitation, password: str) -> Person:
    login = await call.services.logins.prove(invitation.email, password, call.exchange, "invitation.refuse")
    return login.person


async def _project_is_there(connection: Connection, invitation: Invitation) -> bool:
    if invitation.project_id is None:
        return True
    project = await read_project(connection, invitation.organization_id, invitation.project_id)
    return project is not None and project.status is ProjectStatus.ACTIVE


ENDPOINTS: list[Endpoint] = [create_invitation, read_invitations, delete_invitation, accept_invitation]
