"""Who may do what: the matrix of governance contract §3 and its resolution. Pure; every route asks `require`.

Another tenant's things are not found rather than forbidden, and so are a sibling environment's to a credential that is
confined to one environment.
"""

from uuid import UUID

from waypost import errors
from waypost.access.model import Grant, Permission, Principal, Role, Scope
from waypost.errors import Category, WaypostError
from waypost.ids import NIL

_VIEW = frozenset({Permission.VIEW_ORG, Permission.VIEW_PROJECT, Permission.VIEW_ENVIRONMENT})
_OPERATE = _VIEW | {Permission.OPERATE_PROJECT, Permission.OPERATE_ENVIRONMENT}
_MANAGE = _OPERATE | {Permission.MANAGE_PROJECT, Permission.MANAGE_ENVIRONMENT}

MATRIX: dict[Role, frozenset[Permission]] = {
    Role.ORG_ADMIN: frozenset(Permission),
    Role.PROJECT_ADMIN: _MANAGE,
    Role.OPERATOR: _OPERATE,
    Role.VIEWER: _VIEW,
}

_AT_ORGANIZATION = frozenset({Permission.VIEW_ORG, Permission.MANAGE_ORG_MEMBERSHIPS})
_AT_ENVIRONMENT = frozenset(
    {Permission.VIEW_ENVIRONMENT, Permission.MANAGE_ENVIRONMENT, Permission.OPERATE_ENVIRONMENT}
)
_AT_PROJECT = frozenset(Permission) - _AT_ENVIRONMENT
_PARENTS = frozenset({Permission.VIEW_ORG, Permission.VIEW_PROJECT})  # what an environment permission also needs
_SEEN = frozenset({Permission.VIEW_ORG})
_NONE: frozenset[Permission] = frozenset()


def grant_at(principal: Principal, scope: Scope) -> Grant | None:
    """The one grant that decides at a scope, None when the caller has none that reaches it.

    `org_admin` of the organization; else a grant confined to the environment; else the project's, which replaces the
    organization's; else the organization's.
    """
    placed = principal.placed
    whole = placed.get(scope.organization_id)
    if scope.project_id is None or (whole is not None and whole.role is Role.ORG_ADMIN):
        return whole
    if scope.environment_id is not None and (confined := placed.get(scope.environment_id)) is not None:
        return confined
    return placed.get(scope.project_id, whole)


def permissions_of(principal: Principal, scope: Scope) -> frozenset[Permission]:
    """What the caller may do at exactly this scope.

    A role other than `org_admin` has project permissions only where a project is addressed and environment permissions
    only where an environment is, and those only together with the view permissions on what is above it. Confined to an
    environment it has environment permissions and no others. A role in one project lets its organization be seen.
    """
    if scope.organization_id not in principal.organizations:
        return _NONE
    grant = grant_at(principal, scope)
    if grant is None:
        return _SEEN if scope.project_id is None and not confined(principal, scope.organization_id) else _NONE
    allowed = MATRIX[grant.role]
    if scope.environment_id is not None:
        if not allowed >= _PARENTS:
            return _NONE
        return allowed if grant.environment_id is None else allowed & _AT_ENVIRONMENT
    if grant.role is Role.ORG_ADMIN:
        return allowed
    return allowed & (_AT_ORGANIZATION if scope.project_id is None else _AT_PROJECT)


def confined(principal: Principal, organization_id: UUID) -> bool:
    """Whether the caller has nothing but single environments in the organization."""
    return bool(principal.confined) and organization_id in principal.confined


def visible_organizations(principal: Principal) -> frozenset[UUID]:
    """The organizations that the caller may see: none for a key of one environment, which sees only what is in that."""
    return frozenset(o for o in principal.organizations if not confined(principal, o))


def visible_projects(principal: Principal, organization_id: UUID) -> frozenset[UUID] | None:
    """The projects of an organization that the caller may see; None means all of them."""
    if may(principal, Permission.VIEW_PROJECT, Scope(organization_id, NIL)):
        return None
    return frozenset(g.project_id for g in principal.grants if g.organization_id == organization_id and g.project_id)


def organization_where(principal: Principal, permission: Permission) -> UUID:
    """The first organization in which the caller has a permission, for paths that name none; 403 naming it if none."""
    for grant in principal.grants:
        if may(principal, permission, Scope(grant.organization_id)):
            return grant.organization_id
    raise errors.forbidden(permission)


def check_grantable(principal: Principal, role: Role, scope: Scope) -> None:
    """Raises 403 `role_above_own` unless the caller's own role at `scope` allows everything that `role` does."""
    own = grant_at(principal, scope)
    if own is None or not MATRIX[role] <= MATRIX[own.role]:
        held = f"is {own.role}" if own is not None else "has no role"
        raise WaypostError(
            "role_above_own",
            f"This credential {held} here and can give nobody the role {role}, which may do more.",
            Category.FORBIDDEN,
            extra={"role": role.value},
        )


def may(principal: Principal, permission: Permission, scope: Scope) -> bool:
    """Whether `require` would pass."""
    return permission in permissions_of(principal, scope)


def require(principal: Principal, permission: Permission, scope: Scope) -> None:
    """Raise unless the principal has the permission there.

    Raises: `not_found` for an organization where the caller has no role at all, or for another environment than the
    one it is confined to; `forbidden`, naming the permission, otherwise.
    """
    if permission in permissions_of(principal, scope):
        return
    organization = scope.organization_id
    if organization not in principal.organizations:
        raise errors.not_yours("organization")
    environment = scope.environment_id
    if environment is not None and environment not in principal.placed and confined(principal, organization):
        raise errors.not_yours("environment")
    raise errors.forbidden(permission)
