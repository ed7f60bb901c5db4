"""Which organization, project and environment a path means, cached for 5 s and dropped by message (decision 29)."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from gateway.cache import Cache
from storage.postgres.database import Database
from storage.postgres.tenancy.environment import resolve_environment
from storage.postgres.tenancy.organization import read_organization
from storage.postgres.tenancy.project import read_project
from waypost import errors
from waypost.access.decision import confined
from waypost.access.model import Principal, Scope
from waypost.ids import NIL, parse_id
from waypost.limit.decision import in_force
from waypost.limit.model import Limits
from waypost.tenancy.model import Environment, Organization, Project

CACHE_SECONDS = 5.0


class Place(msgspec.Struct, frozen=True):
    """What a path addresses, as deep as it goes."""

    organization: Organization
    project: Project | None = None
    environment: Environment | None = None
    scope: Scope = Scope(NIL)  # the ids of the three
    path: str = ""  # by ids: it stays right when a slug is used again
    limits: Limits = Limits({}, {})  # in force there


def place_of(
    organization: Organization, project: Project | None, environment: Environment | None, default: Mapping[str, int]
) -> Place:
    """A place with its scope, its path and its limits; `default` are those of the settings."""
    path = f"/v1/orgs/{organization.id}"
    if project is not None:
        path += f"/projects/{project.id}"
    if environment is not None:
        path += f"/environments/{environment.id}"
    scope = Scope(organization.id, project.id if project else None, environment.id if environment else None)
    limits = in_force(default, organization.limits, environment.limits if environment else None)
    return Place(organization, project, environment, scope, path, limits)


Path = tuple[str, str | None, str | None]


class Places:
    """Resolves paths. Changes of an environment are seen at once by message, else within 5 s."""

    def __init__(self, database: Database, default_limits: Mapping[str, int]) -> None:
        self._database, self._default_limits = database, default_limits
        self._cache: Cache[tuple[Path, frozenset[UUID]], Place] = Cache(CACHE_SECONDS)

    async def find(self, path: Path, principal: Principal) -> Place:
        """The place within the caller's organizations; raises 404 naming the first part that is not there.

        Whether another organization exists, and what it holds, cannot be told from the answer, nor from the time that
        it takes: it is looked for among the caller's own, and only callers of the same grants find what one found.
        """
        organizations = principal.organizations
        key = path, principal.places
        place = self._cache.peek(key) or await self._cache.get(key, lambda: self._load(path, organizations))
        if place is None:
            raise errors.not_yours("organization")
        if path[2] is not None and confined(principal, place.organization.id):
            if place.scope.environment_id not in principal.placed:  # whether its project is there is not told either
                raise errors.not_yours("environment")
            return place
        if path[1] is not None and place.project is None:
            raise errors.not_found("project")
        if path[2] is not None and place.environment is None:
            raise errors.not_found("environment")
        return place

    async def _load(self, path: Path, organizations: frozenset[UUID]) -> Place | None:
        organization_part, project_part, environment_part = map(_reference, path)
        project = resolved = None
        async with self._database.hot() as connection:  # reads alone: no transaction, a third of the round trips
            organization = await read_organization(connection, organization_part, among=organizations)
            if organization is None:
                return None
            if project_part:
                project = await read_project(connection, organization.id, project_part)
            if project_part and environment_part:  # asked also where there is no such project: it takes as long
                resolved = await resolve_environment(connection, organization.id, project_part, environment_part)
        return place_of(organization, project, resolved.environment if resolved else None, self._default_limits)

    def forget(self, identifier: UUID) -> None:
        """Look again at whatever lies in this organization, project or environment, and at whatever was not found."""
        self._cache.forget(lambda place: _lies_in(place.scope, identifier))

    def clear(self) -> None:
        self._cache.clear()


def _lies_in(scope: Scope, identifier: UUID) -> bool:
    # A place without an environment is cheap to find again, and may have become one with it.
    return scope.environment_id is None or identifier in (
        scope.environment_id,
        scope.project_id,
        scope.organization_id,
    )


def _reference(part: str | None) -> UUID | str:
    """An id or a slug: a slug has at most 22 characters, an id 36."""
    return parse_id(part) or part if part else ""
