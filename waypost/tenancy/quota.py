"""Counted limits, exact under concurrency: whoever adds one more holds the owner's row from the count to the commit."""

from collections.abc import Mapping
from uuid import UUID

from waypost import errors
from waypost.limit.decision import defaults, in_force, require_room
from waypost.limit.model import LIMITS, Level
from waypost.tenancy.model import Organization
from waypost.tenancy.port import TenancyUnit

BUILT_IN = defaults({})


async def require_quota(
    unit: TenancyUnit,
    limit: str,
    organization_id: UUID,
    environment_id: UUID | None = None,
    *,
    default: Mapping[str, int] = BUILT_IN,
    more: int = 1,
) -> Organization:
    """Return, holding the owner, if `more` can be added before the commit; the owner is the organization, or the
    environment for a limit of environments. `default` is what the settings say.

    Raises 409 `quota_exceeded` naming limit and value, 404 when the owner is gone.
    """
    organization = await unit.lock_organization(organization_id)
    if organization is None:
        raise errors.not_found("organization")
    own: Mapping[str, int] = {}
    if LIMITS[limit].level is Level.ENVIRONMENT:
        environment = None if environment_id is None else await unit.lock_environment(environment_id)
        if environment is None:
            raise errors.not_found("environment")
        own = environment.limits
    else:
        environment_id = None
    allowed = in_force(default, organization.limits, own)[limit]
    require_room(limit, allowed, await unit.count_used(limit, organization_id, environment_id), more)
    return organization
