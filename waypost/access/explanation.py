"""Why a caller may or may not do something somewhere, in words; `waypost.access.decision` is what decides."""

import msgspec

from waypost.access.decision import MATRIX, confined, grant_at, permissions_of
from waypost.access.model import Grant, Permission, Principal, Role, Scope

_ASKED_ON = {
    Permission.VIEW_ENVIRONMENT: "environment",
    Permission.MANAGE_ENVIRONMENT: "environment",
    Permission.OPERATE_ENVIRONMENT: "environment",
    Permission.VIEW_PROJECT: "project",
    Permission.MANAGE_PROJECT: "project",
    Permission.OPERATE_PROJECT: "project",
}


class Names(msgspec.Struct, frozen=True):
    """What a scope's parts are called."""

    organization: str
    project: str | None = None
    environment: str | None = None


class Explained(msgspec.Struct, frozen=True):
    """One permission at a scope."""

    permission: Permission
    allowed: bool
    reason: str


def explain(principal: Principal, scope: Scope, names: Names) -> list[Explained]:
    """Every permission at a scope with whether the caller has it and why, in the order of the contract."""
    held = permissions_of(principal, scope)
    return [Explained(p, p in held, _reason(principal, scope, names, p, p in held)) for p in Permission]


def standing(principal: Principal, scope: Scope, names: Names) -> str:
    """Which role counts at a scope and why that one, such as `role operator on project images, which replaces the
    organization's viewer`."""
    grant = grant_at(principal, scope)
    if grant is None:
        return _without(principal, scope, names)
    if grant.environment_id is not None:
        return f"role {grant.role} in environment {names.environment}, to which it is confined"
    if grant.project_id is not None:
        return _on_project(principal, grant, names)
    whole = f"role {grant.role} in organization {names.organization}"
    if scope.project_id is None:
        return whole
    if grant.role is Role.ORG_ADMIN:
        return f"{whole}, which implies everything below it"
    return f"{whole}, as there is none on project {names.project}"


def _on_project(principal: Principal, grant: Grant, names: Names) -> str:
    own = f"role {grant.role} on project {names.project}"
    whole = principal.placed.get(grant.organization_id)
    return own if whole is None else f"{own}, which replaces the organization's {whole.role}"


def _without(principal: Principal, scope: Scope, names: Names) -> str:
    if confined(principal, scope.organization_id):
        return "confined to one environment, which this is not"
    if scope.project_id is None:
        return f"no role in organization {names.organization} as a whole, only on projects of it"
    return f"no role on project {names.project}, and none in organization {names.organization} as a whole"


def _reason(principal: Principal, scope: Scope, names: Names, permission: Permission, allowed: bool) -> str:
    counts, grant = standing(principal, scope, names), grant_at(principal, scope)
    if grant is None and allowed:
        return f"{counts}: which lets it be seen"
    if allowed or grant is None:
        return counts
    if permission not in MATRIX[grant.role]:
        return f"{counts}: which does not include {permission}"
    if grant.environment_id is not None:
        return f"{counts}: {permission} lies outside it"
    return f"{counts}: {permission} is asked for on one {_ASKED_ON[permission]}; name it"
