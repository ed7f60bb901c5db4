"""Giving roles to people and taking them away; each runs inside the caller's unit of work and writes its audit entry.

Refuses to leave an organization without anybody who administers it. Who takes somebody away holds the organization
until the commit, so that of two administrators who remove each other at once one stays.
"""

from uuid import UUID

from waypost import errors, ids
from waypost.access.decision import check_grantable
from waypost.access.model import ApiKey, Member, Principal, Role, Scope
from waypost.access.port import AccessUnit
from waypost.audit.model import AuditEntry


async def add_member(unit: AccessUnit, principal: Principal, scope: Scope, person_id: UUID, role: Role) -> Member:
    """Give a person a role in the organization, or in the project, of `scope`.

    Raises 422 `invalid_role` for `org_admin` of a project, 403 `role_above_own`, 409 `already_member` with its id.
    """
    organization, project = scope.organization_id, scope.project_id
    _check_role(principal, role, organization, project)
    member_id = ids.new_id()
    if not await unit.add_member(member_id, organization, project, person_id, role, principal.actor):
        existing = await unit.find_member(organization, project, person_id)
        detail = "This person has a role here already; change that one."
        raise errors.conflict("already_member", detail, member_id=None if existing is None else str(existing))
    member = await _read(unit, organization, member_id)
    await unit.add_audit(_entry(principal, "member.add", member, {"role": role.value}))
    return member


async def held_member(unit: AccessUnit, organization_id: UUID, member_id: UUID) -> Member:
    """The membership as it is now and stays until the commit; raises 404."""
    await unit.hold_organization(organization_id)
    return await _read(unit, organization_id, member_id)


async def change_member(unit: AccessUnit, principal: Principal, member: Member, role: Role) -> Member:
    """Another role in the same place, for a `held_member`. Raises as `add_member` does, and 409 `last_admin`."""
    _check_role(principal, role, member.organization_id, member.project_id)
    if role is not Role.ORG_ADMIN:
        await _keep_an_admin(unit, member)
    await unit.change_member(member.organization_id, member.id, role)
    details = {"role": role.value, "role_before": member.role.value}
    await unit.add_audit(_entry(principal, "member.change", member, details))
    return await _read(unit, member.organization_id, member.id)


async def remove_member(unit: AccessUnit, principal: Principal, member: Member) -> None:
    """Take a role away, for a `held_member`. Raises 409 `last_admin`."""
    await _keep_an_admin(unit, member)
    await unit.remove_member(member.organization_id, member.id)
    await unit.add_audit(_entry(principal, "member.remove", member, {"role": member.role.value}))


async def keep_an_admin_beside(unit: AccessUnit, key: ApiKey) -> None:
    """Holds the organization; raises 409 `last_admin` when nobody would administer it without this key."""
    if key.role is Role.ORG_ADMIN and key.environment_id is None:
        await unit.hold_organization(key.organization_id)
        if not await unit.another_admin(key.organization_id, None, key.id):
            raise _last_admin("this key")


async def _keep_an_admin(unit: AccessUnit, member: Member) -> None:
    if member.role is Role.ORG_ADMIN and not await unit.another_admin(member.organization_id, member.person_id, None):
        raise _last_admin(member.email)


def _last_admin(who: str) -> errors.WaypostError:
    return errors.conflict(
        "last_admin",
        f"Without {who} nobody would administer this organization: no other person has the role org_admin, and no "
        "API key with it lives. Give somebody else the role first.",
    )


def _check_role(principal: Principal, role: Role, organization_id: UUID, project_id: UUID | None) -> None:
    if role is Role.ORG_ADMIN and project_id is not None:
        raise errors.invalid("invalid_role", "org_admin is a role in an organization, not in one project.", "/role")
    check_grantable(principal, role, Scope(organization_id, project_id))


async def _read(unit: AccessUnit, organization_id: UUID, member_id: UUID) -> Member:
    member = await unit.read_member(organization_id, member_id)
    if member is None:
        raise errors.not_found("member")
    return member


def _entry(principal: Principal, action: str, member: Member, details: dict[str, str]) -> AuditEntry:
    return AuditEntry(
        id=ids.new_id(),
        organization_id=member.organization_id,
        project_id=member.project_id,
        actor=principal.actor,
        action=action,
        target=f"person:{member.person_id}",
        details=details | {"member": str(member.id), "email": member.email},
    )
