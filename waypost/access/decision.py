"""Who may do what: the matrix of governance contract §3 and its resolution. Pure; every route asks `require`.

Another tenant's things are not found rather than forbidden, and so are a sibling environment's to an environment key.
"""

from waypost import errors
from waypost.access.model import Permission, Principal, Role, Scope

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


def permissions_of(role: Role, scope: Scope) -> frozenset[Permission]:
    """What an organization-wide role may do at `scope`.

    `org_admin` may do everything everywhere; any other role has project permissions only where a project is addressed
    and environment permissions only where an environment is: nothing at the organization but to see it.
    """
    if role is Role.ORG_ADMIN:
        return MATRIX[role]
    allowed = MATRIX[role]
    if scope.environment_id is None:
        allowed -= _AT_ENVIRONMENT
    if scope.project_id is None:
        allowed &= _AT_ORGANIZATION
    return allowed


def may(principal: Principal, permission: Permission, scope: Scope) -> bool:
    """Whether `require` would pass."""
    if principal.organization_id != scope.organization_id:
        return False
    if principal.environment_id is None:
        return permission in permissions_of(principal.role, scope)
    if principal.environment_id != scope.environment_id:
        return False
    return permission in _AT_ENVIRONMENT and permission in MATRIX[principal.role]


def require(principal: Principal, permission: Permission, scope: Scope) -> None:
    """Raise unless the principal has the permission there.

    Raises: `not_found` for another organization, or another environment than an environment key's own;
    `forbidden`, naming the permission, otherwise.
    """
    if principal.organization_id != scope.organization_id:
        raise errors.not_found("organization")
    confined = principal.environment_id
    if confined is not None and scope.environment_id is not None and scope.environment_id != confined:
        raise errors.not_found("environment")
    if not may(principal, permission, scope):
        raise errors.forbidden(permission)
