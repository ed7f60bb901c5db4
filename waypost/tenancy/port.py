"""What the operations of tenancy need: one unit of work, begun and ended by the caller."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from waypost.access.model import ApiKey
from waypost.tenancy.model import AuditEntry, Environment, Organization, Project


class TenancyUnit(Protocol):
    """Changes to the tenancy tree inside one transaction. Adding raises 409 `slug_taken` when the slug is in use."""

    async def add_organization(self, organization: Organization) -> None: ...

    async def add_project(self, project: Project) -> None: ...

    async def add_environment(self, environment: Environment, steps: Sequence[str]) -> None:
        """The record and its pending steps."""

    async def add_wrapped_key(self, environment_id: UUID, wrapped: bytes, kek_id: str) -> None:
        """The environment's data key, wrapped."""

    async def add_platform_job(self, job_id: UUID, kind: str, environment_id: UUID | None, subject: UUID) -> None:
        """Queue a platform job: the row is the truth, the hint goes out after the commit."""

    async def add_api_key(self, key: ApiKey, secret_hash: bytes) -> None: ...

    async def add_audit(self, entry: AuditEntry) -> None: ...
