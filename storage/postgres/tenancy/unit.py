"""The tenancy's unit of work over one open transaction (waypost.tenancy.port.TenancyUnit)."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from storage.postgres.access.api_key import insert_key
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.environment.removal import insert_removal
from storage.postgres.platform.job import insert_platform_job, open_job_about, open_platform_job
from storage.postgres.tenancy.environment import (
    begin_phase,
    environments_of,
    find_slug,
    insert_environment,
    lock_environment,
    read_standing,
    update_environment,
)
from storage.postgres.tenancy.organization import (
    insert_organization,
    lock_organization,
    set_limits,
    update_organization,
)
from storage.postgres.tenancy.project import insert_project, lock_project, mark_project, read_project, update_project
from storage.postgres.tenancy.quota import count_used
from storage.postgres.tenancy.secret import insert_secret
from waypost.access.model import ApiKey
from waypost.audit.model import AuditEntry, Origin
from waypost.errors import WaypostError, conflict
from waypost.tenancy.model import DELETE_PROJECT, Environment, Organization, Phase, Project, Status


class PostgresTenancy:
    """`connection` is inside `Database.unit()`; the caller's commit makes it all durable or none of it."""

    def __init__(self, connection: Connection, origin: Origin | None = None) -> None:
        """`origin`: who asks and from where, for the audit entries; None is the platform itself."""
        self._connection, self._origin = connection, origin

    async def add_organization(self, organization: Organization) -> None:
        if not await insert_organization(self._connection, organization):
            raise _taken(organization.slug, None)  # whose it is, is nobody's business

    async def add_project(self, project: Project) -> None:
        if not await insert_project(self._connection, project):
            raise await self._project_taken(project)

    async def add_environment(self, environment: Environment, steps: Sequence[str]) -> None:
        if not await insert_environment(self._connection, environment, steps):
            raise await self._environment_taken(environment)

    async def require_free_slug(self, environment: Environment) -> None:
        if await find_slug(self._connection, environment.organization_id, environment.slug) is not None:
            raise await self._environment_taken(environment)

    async def lock_organization(self, organization_id: UUID) -> Organization | None:
        return await lock_organization(self._connection, organization_id)

    async def lock_project(self, organization_id: UUID, project_id: UUID) -> Project | None:
        return await lock_project(self._connection, organization_id, project_id)

    async def lock_environment(self, environment_id: UUID) -> Environment | None:
        return await lock_environment(self._connection, environment_id)

    async def replace_organization(self, changed: Organization) -> Organization | None:
        try:
            async with self._connection.transaction():
                return await update_organization(self._connection, changed)
        except asyncpg.UniqueViolationError:
            raise _taken(changed.slug, None) from None

    async def set_limits(self, changed: Organization) -> Organization | None:
        return await set_limits(self._connection, changed.id, changed.limits)

    async def replace_project(self, changed: Project) -> Project | None:
        try:
            async with self._connection.transaction():
                return await update_project(self._connection, changed)
        except asyncpg.UniqueViolationError:
            raise await self._project_taken(changed) from None

    async def replace_environment(self, changed: Environment) -> Environment | None:
        try:
            async with self._connection.transaction():
                return await update_environment(self._connection, changed)
        except asyncpg.UniqueViolationError:
            raise await self._environment_taken(changed) from None

    async def _project_taken(self, project: Project) -> WaypostError:
        found = await read_project(self._connection, project.organization_id, project.slug)
        return _taken(project.slug, found.id if found else None)

    async def _environment_taken(self, environment: Environment) -> WaypostError:
        """With the id of the one that has it, if it is in the same project: of others the caller may know nothing."""
        found = await find_slug(self._connection, environment.organization_id, environment.slug)
        return _taken(environment.slug, found[0] if found and found[1] == environment.project_id else None)

    async def count_used(self, limit: str, organization_id: UUID, environment_id: UUID | None) -> int:
        return await count_used(self._connection, limit, organization_id, environment_id)

    async def environments_of(self, project_id: UUID) -> Sequence[Environment]:
        return await environments_of(self._connection, project_id)

    async def mark_project(self, project: Project, actor: str, request_id: str | None) -> Project | None:
        return await mark_project(self._connection, project.organization_id, project.id, actor, request_id)

    async def open_deletion(self, project_id: UUID) -> UUID | None:
        return await open_job_about(self._connection, DELETE_PROJECT, project_id)

    async def begin_phase(
        self, environment_id: UUID, phase: Phase, to: Status, *, among: Sequence[Status], steps: Sequence[str]
    ) -> bool:
        return await begin_phase(self._connection, environment_id, phase, to, among=among, steps=steps)

    async def status_of(self, environment_id: UUID) -> Status | None:
        standing = await read_standing(self._connection, environment_id)
        return None if standing is None else standing[0]

    async def add_removal(self, environment_id: UUID, actor: str, request_id: str | None) -> None:
        await insert_removal(self._connection, environment_id, actor, request_id, self._origin)

    async def open_platform_job(self, kind: str, environment_id: UUID) -> UUID | None:
        return await open_platform_job(self._connection, kind, environment_id)

    async def add_wrapped_key(self, environment_id: UUID, wrapped: bytes, kek_id: str) -> None:
        await insert_secret(self._connection, environment_id, "data_key", wrapped, kek_id)

    async def add_platform_job(self, job_id: UUID, kind: str, environment_id: UUID | None, subject: UUID) -> None:
        await insert_platform_job(self._connection, job_id, kind, environment_id, subject)

    async def add_api_key(self, key: ApiKey, secret_hash: bytes) -> None:
        await insert_key(self._connection, key, secret_hash)

    async def add_audit(self, entry: AuditEntry) -> None:
        await insert_audit(self._connection, entry, self._origin)


def _taken(slug: str, holder: UUID | None) -> WaypostError:
    extra = {} if holder is None else {"id": str(holder)}
    return conflict("slug_taken", f"The slug {slug!r} is in use; choose another one.", slug=slug, **extra)
