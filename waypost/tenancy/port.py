"""What the operations of tenancy need: one unit of work, begun and ended by the caller."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from waypost.access.model import ApiKey
from waypost.audit.model import AuditEntry
from waypost.tenancy.model import Environment, Organization, Phase, Project, Status


class TenancyUnit(Protocol):
    """Changes to the tenancy tree inside one transaction. Adding and replacing raise 409 `slug_taken` when the slug is
    in use, with the id of what has it where the caller may know."""

    async def add_organization(self, organization: Organization) -> None: ...

    async def add_project(self, project: Project) -> None: ...

    async def add_environment(self, environment: Environment, steps: Sequence[str]) -> None:
        """The record and its pending steps."""

    async def require_free_slug(self, environment: Environment) -> None:
        """Raises 409 `slug_taken` when a live environment of the organization has its slug."""

    async def lock_organization(self, organization_id: UUID) -> Organization | None:
        """The organization as it is, held until the commit. Locks are taken from the root down."""

    async def lock_project(self, organization_id: UUID, project_id: UUID) -> Project | None:
        """The project as it is, held until the commit; None when it is gone."""

    async def lock_environment(self, environment_id: UUID) -> Environment | None:
        """The environment as it is, held until the commit; None when it is gone."""

    async def replace_organization(self, changed: Organization) -> Organization | None:
        """Keep what can be changed, if the row is still of `changed.row_version`; as it is then, else None."""

    async def set_limits(self, changed: Organization) -> Organization | None:
        """Keep the limits, and nothing else; None when there is no such organization. For an operator's login only."""

    async def replace_project(self, changed: Project) -> Project | None:
        """As `replace_organization`."""

    async def replace_environment(self, changed: Environment) -> Environment | None:
        """As `replace_organization`."""

    async def count_used(self, limit: str, organization_id: UUID, environment_id: UUID | None) -> int:
        """How many there are of what a limit counts, in the organization, or in the environment."""

    async def environments_of(self, project_id: UUID) -> Sequence[Environment]:
        """Every environment of the project that is not gone."""

    async def mark_project(self, project: Project, actor: str, request_id: str | None) -> Project | None:
        """From `active` to `deleting`; None when it is not active."""

    async def open_deletion(self, project_id: UUID) -> UUID | None:
        """The platform job that deletes the project, when it has not ended."""

    async def begin_phase(
        self, environment_id: UUID, phase: Phase, to: Status, *, among: Sequence[Status], steps: Sequence[str]
    ) -> bool:
        """Move the environment to `to` and give it the pending steps of `phase`; False, and nothing is changed, when it
        is in none of the states `among`."""

    async def status_of(self, environment_id: UUID) -> Status | None:
        """The status as it is in this transaction; None when the environment is gone."""

    async def add_removal(self, environment_id: UUID, actor: str, request_id: str | None) -> None:
        """Who asked for the deletion, for the audit entry at its end."""

    async def open_platform_job(self, kind: str, environment_id: UUID) -> UUID | None:
        """The environment's job of that kind that has not ended."""

    async def add_wrapped_key(self, environment_id: UUID, wrapped: bytes, kek_id: str) -> None:
        """The environment's data key, wrapped."""

    async def add_platform_job(self, job_id: UUID, kind: str, environment_id: UUID | None, subject: UUID) -> None:
        """Queue a platform job: the row is the truth, the hint goes out after the commit."""

    async def add_api_key(self, key: ApiKey, secret_hash: bytes) -> None: ...

    async def add_audit(self, entry: AuditEntry) -> None: ...
