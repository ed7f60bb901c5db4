"""Making people and inviting them: the same for the API and for the operator's command.

Each runs inside the caller's unit of work and writes its audit entry there (decision 30). Passwords come hashed:
hashing takes longer than a transaction should.
"""

from datetime import timedelta
from uuid import UUID

from waypost import clock, errors, ids
from waypost.access import key as access_key
from waypost.access.model import Role
from waypost.audit.model import AuditEntry, Origin
from waypost.errors import Category, WaypostError
from waypost.person.decision import checked_email, checked_person_name
from waypost.person.model import INVITATION_LIFE, LONGEST_INVITATION, SHORTEST_INVITATION, Invitation, Person
from waypost.person.port import PersonUnit


def invalid_invitation() -> WaypostError:
    """404 for every reason why a token opens nothing: which one, its holder is not told."""
    return WaypostError(
        "invalid_invitation",
        "This invitation is not known, or is no longer valid: ask for another one.",
        Category.NOT_FOUND,
    )


def email_taken() -> WaypostError:
    return errors.conflict("email_taken", "There is a person with this e-mail address already.")


def checked_role(role: Role, project_id: UUID | None) -> Role:
    """Raises 422 for an administrator of the organization in one project of it."""
    if role is Role.ORG_ADMIN and project_id is not None:
        raise errors.invalid("invalid_role", "org_admin is a role in a whole organization, not in a project.", "/role")
    return role


def checked_life(seconds: float | None) -> timedelta:
    """How long an invitation is open; raises 422 outside of one minute to 30 days."""
    if seconds is None:
        return INVITATION_LIFE
    if not SHORTEST_INVITATION.total_seconds() <= seconds <= LONGEST_INVITATION.total_seconds():
        raise errors.invalid(
            "out_of_range", "expires_in_seconds is from 60 to 2592000 (30 days).", "/expires_in_seconds"
        )
    return timedelta(seconds=seconds)


async def create_person(
    unit: PersonUnit,
    by: Origin,
    *,
    email: str,
    name: str,
    password_hash: str | None,
    organization_id: UUID,
    role: Role,
) -> Person:
    """A new person with one role. Raises 422 for a bad address or name, 409 `email_taken`."""
    given, folded = checked_email(email)
    person = Person(ids.new_id(), given, folded, checked_person_name(name), clock.now(), by.actor)
    if not await unit.add_person(person, password_hash):
        raise email_taken()
    await unit.add_audit(_entry(by, "person.create", person, organization_id))
    await _add_member(unit, by, person, organization_id, None, role)
    return person


async def invite(
    unit: PersonUnit,
    by: Origin,
    *,
    organization_id: UUID,
    project_id: UUID | None,
    email: str,
    role: Role,
    life: timedelta = INVITATION_LIFE,
) -> tuple[Invitation, str]:
    """An invitation and its token, which is nowhere kept. Raises 422 for a bad address or role."""
    given, folded = checked_email(email)
    public_id, token, token_hash = access_key.make_key(access_key.INVITATION_PREFIX)
    now = clock.now()
    invitation = Invitation(
        ids.new_id(), organization_id, project_id, given, folded, checked_role(role, project_id), by.actor, now, now
    )
    invitation = await unit.add_invitation(invitation, public_id, token_hash, life)
    await unit.add_audit(about_invitation(by, "invitation.create", invitation))
    return invitation, token


async def accept(
    unit: PersonUnit, by: Origin, invitation: Invitation, person: Person | None, name: str, password_hash: str | None
) -> Person:
    """Use the invitation up: for `person`, who has proved to be the one, or else for a new one of its address.

    Raises `invalid_invitation` when it was used, revoked or expired meanwhile, 409 `already_member` (it stays open
    then), 409 `email_taken` when somebody of its address came to be meanwhile: look again.
    """
    if not await unit.take_invitation(invitation.id):
        raise invalid_invitation()
    if person is None:
        person = Person(ids.new_id(), invitation.email, invitation.email_folded, checked_person_name(name), clock.now())
        if not await unit.add_person(person, password_hash):
            raise email_taken()
        by = as_person(by, person)
        await unit.add_audit(_entry(by, "person.create", person, invitation.organization_id, invitation.project_id))
    by = as_person(by, person)
    await unit.set_taker(invitation.id, person.id)
    await unit.add_audit(about_invitation(by, "invitation.accept", invitation))
    await _add_member(unit, by, person, invitation.organization_id, invitation.project_id, invitation.role)
    return person


async def _add_member(
    unit: PersonUnit, by: Origin, person: Person, organization_id: UUID, project_id: UUID | None, role: Role
) -> None:
    if not await unit.add_member(organization_id, project_id, person.id, role, by.actor):
        raise errors.conflict("already_member", "You have a role there already; who invited you can change it.")
    await unit.add_audit(_entry(by, "member.add", person, organization_id, project_id, {"role": role.value}))


def as_person(by: Origin, person: Person) -> Origin:
    """The same request, now known to be this person's."""
    return Origin(person.actor, "person", by.request_id, by.source_address)


def about_invitation(by: Origin, action: str, invitation: Invitation) -> AuditEntry:
    details = {"email": invitation.email, "role": invitation.role.value}
    return AuditEntry(
        id=ids.new_id(),
        organization_id=invitation.organization_id,
        project_id=invitation.project_id,
        actor=by.actor,
        actor_kind=by.actor_kind,
        action=action,
        target=f"invitation:{invitation.id}",
        request_id=by.request_id,
        source_address=by.source_address,
        details=details,
    )


def _entry(
    by: Origin,
    action: str,
    person: Person,
    organization_id: UUID,
    project_id: UUID | None = None,
    details: dict[str, str] | None = None,
) -> AuditEntry:
    return AuditEntry(
        id=ids.new_id(),
        organization_id=organization_id,
        project_id=project_id,
        actor=by.actor,
        actor_kind=by.actor_kind,
        action=action,
        target=f"person:{person.id}",
        request_id=by.request_id,
        source_address=by.source_address,
        details=details,
    )
