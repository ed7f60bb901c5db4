"""The tenancy's unit of work over one open transaction (waypost.tenancy.port.TenancyUnit)."""

from collections.abc import Sequence
from uuid import UUID

from storage.postgres.access.api_key import insert_key
from storage.postgres.database import Connection
from storage.postgres.platform.job import insert_platform_job
from storage.postgres.tenancy.audit import insert_audit
from storage.postgres.tenancy.environment import insert_environment
from storage.postgres.tenancy.organization import insert_organization
from storage.postgres.tenancy.project import insert_project
from storage.postgres.tenancy.secret import insert_secret
from waypost.access.model import ApiKey
from waypost.errors import WaypostError, conflict
from waypost.tenancy.model import AuditEntry, Environment, Organization, Project


class PostgresTenancy:
    """`connection` is inside `Database.unit()`; the caller's commit makes it all durable or none of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_organization(self, organization: Organization) -> None:
        if not await insert_organization(self._connection, organization):
            raise _taken(organization.slug)

    async def add_project(self, project: Project) -> None:
        if not await insert_project(self._connection, project):
            raise _taken(project.slug)

    async def add_environment(self, environment: Environment, steps: Sequence[str]) -> None:
        if not await insert_environment(self._connection, environment, steps):
            raise _taken(environment.slug)

    async def add_wrapped_key(self, environment_id: UUID, wrapped: bytes, kek_id: str) -> None:
        await insert_secret(self._connection, environment_id, "data_key", wrapped, kek_id)

    async def add_platform_job(self, job_id: UUID, kind: str, environment_id: UUID | None, subject: UUID) -> None:
        await insert_platform_job(self._connection, job_id, kind, environment_id, subject)

    async def add_api_key(self, key: ApiKey, secret_hash: bytes) -> None:
        await insert_key(self._connection, key, secret_hash)

    async def add_audit(self, entry: AuditEntry) -> None:
        await insert_audit(self._connection, entry)


def _taken(slug: str) -> WaypostError:
    return conflict("slug_taken", f"The slug {slug!r} is in use; choose another one.", slug=slug)
