"""Which organization, project and environment a path means, cached for 5 s and dropped by message (decision 29)."""

from collections.abc import Container
from uuid import UUID

import msgspec

from gateway.cache import Cache
from storage.postgres.database import Database
from storage.postgres.tenancy.environment import resolve_environment
from storage.postgres.tenancy.organization import read_organization
from storage.postgres.tenancy.project import read_project
from waypost import errors
from waypost.access.model import Scope
from waypost.ids import NIL, parse_id
from waypost.tenancy.model import Environment, Organization, Project

CACHE_SECONDS = 5.0


class Place(msgspec.Struct, frozen=True):
    """What a path addresses, as deep as it goes."""

    organization: Organization
    project: Project | None = None
    environment: Environment | None = None
    scope: Scope = Scope(NIL)  # the ids of the three
    path: str = ""  # by ids: it stays right when a slug is used again


def place_of(organization: Organization, project: Project | None, environment: Environment | None) -> Place:
    """A place with its scope and its path."""
    path = f"/v1/orgs/{organization.id}"
    if project is not None:
        path += f"/projects/{project.id}"
    if environment is not None:
        path += f"/environments/{environment.id}"
    scope = Scope(organization.id, project.id if project else None, environment.id if environment else None)
    return Place(organization, project, environment, scope, path)


Path = tuple[str, str | None, str | None]


class Places:
    """Resolves paths. Changes of an environment are seen at once by message, else within 5 s."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: Cache[Path, Place] = Cache(CACHE_SECONDS)

    async def find(self, path: Path, organizations: Container[UUID]) -> Place:
        """The place within a caller's organizations; raises 404 naming the first part that is not there.

        Whether another organization exists, and what it holds, cannot be told from the answer.
        """
        place = self._cache.peek(path) or await self._cache.get(path, lambda: self._load(path))
        if place is None or place.organization.id not in organizations:
            raise errors.not_found("organization")
        if path[1] is not None and place.project is None:
            raise errors.not_found("project")
        if path[2] is not None and place.environment is None:
            raise errors.not_found("environment")
        return place

    async def _load(self, path: Path) -> Place | None:
        organization_part, project_part, environment_part = map(_reference, path)
        project = resolved = None
        async with self._database.unit() as connection:
            organization = await read_organization(connection, organization_part) if organization_part else None
            if organization is None:
                return None
            if project_part:
                project = await read_project(connection, organization.id, project_part)
            if project is not None and environment_part:
                resolved = await resolve_environment(connection, organization.id, project.id, environment_part)
        return place_of(organization, project, resolved.environment if resolved else None)

    def forget_environment(self, environment_id: UUID) -> None:
        """Look again at whatever names this environment, and at whatever was not found."""
        self._cache.forget(lambda place: place.environment is None or place.environment.id == environment_id)

    def clear(self) -> None:
        self._cache.clear()


def _reference(part: str | None) -> UUID | str:
    """An id or a slug: a slug has at most 22 characters, an id 36."""
    return parse_id(part) or part if part else ""
