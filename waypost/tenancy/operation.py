"""Making organizations, projects, environments and API keys: the same for the API and for the first start.

Each runs inside the caller's unit of work and writes its audit entry there (decision 30). After the commit of
`create_environment` the caller may send the hint for its job; if not, the sweeper does.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from waypost import clock, errors, ids
from waypost.access import key as access_key
from waypost.access.model import ApiKey, Role
from waypost.audit.model import AuditEntry
from waypost.limit.model import ENVIRONMENTS, PROJECTS
from waypost.secret import DataKey, KeyEncryptionKey
from waypost.tenancy.change import require_active
from waypost.tenancy.decision import checked_description, checked_name, checked_slug
from waypost.tenancy.entry import about
from waypost.tenancy.model import (
    BACKENDS,
    PROVISION,
    PROVISION_STEPS,
    Environment,
    Organization,
    Posture,
    Project,
    Status,
)
from waypost.tenancy.port import TenancyUnit
from waypost.tenancy.quota import BUILT_IN, require_quota


async def create_organization(
    unit: TenancyUnit, *, actor: str, name: str, slug: str | None = None, request_id: str | None = None
) -> Organization:
    """Raises 422 for a bad name or slug, 409 `slug_taken`."""
    name = checked_name(name)
    now = clock.now()
    organization = Organization(ids.new_id(), checked_slug(slug, name), name, now, now)
    await unit.add_organization(organization)
    await unit.add_audit(about(organization, "organization.create", actor, request_id))
    return organization


async def create_project(
    unit: TenancyUnit,
    organization_id: UUID,
    *,
    actor: str,
    name: str,
    slug: str | None = None,
    description: str = "",
    request_id: str | None = None,
    default_limits: Mapping[str, int] = BUILT_IN,
) -> Project:
    """Raises 422 for a bad text; 409 `slug_taken` (unique in the organization), `quota_exceeded`."""
    name, description = checked_name(name), checked_description(description)
    now = clock.now()
    project = Project(ids.new_id(), organization_id, checked_slug(slug, name), name, description, now, now)
    await require_quota(unit, PROJECTS, organization_id, default=default_limits)
    await unit.add_project(project)
    await unit.add_audit(about(project, "project.create", actor, request_id))
    return project


async def create_environment(
    unit: TenancyUnit,
    kek: KeyEncryptionKey,
    project: Project,
    *,
    actor: str,
    name: str,
    slug: str | None = None,
    posture: Posture = Posture.DEV,
    backend: str = "postgres",
    request_id: str | None = None,
    default_limits: Mapping[str, int] = BUILT_IN,
) -> tuple[Environment, UUID]:
    """The environment in state `provisioning`, and the id of the platform job that will make it ready.

    Raises 422 for a bad name, slug or backend, 409 `slug_taken` (unique among the organization's live environments),
    `project_deleting`, `quota_exceeded`; 404 when the project is gone.
    """
    name = checked_name(name)
    if backend not in BACKENDS:
        raise errors.invalid("unknown_backend", f"The backend is one of {', '.join(sorted(BACKENDS))}.", "/backend")
    now = clock.now()
    environment = Environment(
        id=ids.new_id(),
        organization_id=project.organization_id,
        project_id=project.id,
        slug=checked_slug(slug, name),
        name=name,
        posture=posture,
        backend=backend,
        tenancy="closed",
        database_cluster="main",
        status=Status.PROVISIONING,
        status_reason=None,
        limits={},
        created_by=actor,
        created_at=now,
        updated_at=now,
    )
    job_id = ids.new_id()
    await _room_for(unit, environment, default_limits)
    await unit.add_environment(environment, PROVISION_STEPS)
    wrapped = kek.wrap(f"env:{environment.id}:data_key", DataKey.generate())
    await unit.add_wrapped_key(environment.id, wrapped, kek.id)
    await unit.add_platform_job(job_id, PROVISION, environment.id, environment.id)
    await unit.add_audit(about(environment, "environment.create", actor, request_id))
    return environment, job_id


async def _room_for(unit: TenancyUnit, environment: Environment, default_limits: Mapping[str, int]) -> None:
    """Hold organization and project while the environment is added. Whose slug is taken hears that first, so that of
    two who make the same environment at once the second learns of the first even at the limit."""
    await unit.lock_organization(environment.organization_id)
    project = await unit.lock_project(environment.organization_id, environment.project_id)
    if project is None:
        raise errors.not_found("project")
    require_active(project)
    await unit.require_free_slug(environment)
    await require_quota(unit, ENVIRONMENTS, environment.organization_id, default=default_limits)


async def create_api_key(
    unit: TenancyUnit,
    *,
    actor: str,
    organization_id: UUID,
    environment_id: UUID | None,
    name: str,
    role: Role,
    expires_at: datetime | None = None,
    request_id: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is nowhere kept. Raises 422 for a bad name, an expiry in the past, or `org_admin`
    for a key of one environment."""
    name = checked_name(name)
    now = clock.now()
    if expires_at is not None and expires_at <= now:
        raise errors.invalid("invalid_expiry", "The expiry lies in the past.", "/expires_at")
    if environment_id is not None and role is Role.ORG_ADMIN:
        raise errors.invalid("invalid_role", "A key of one environment cannot be org_admin.", "/role")
    prefix: access_key.Prefix = (
        access_key.ORGANIZATION_PREFIX if environment_id is None else access_key.ENVIRONMENT_PREFIX
    )
    public_id, text, secret_hash = access_key.make_key(prefix)
    key = ApiKey(ids.new_id(), public_id, organization_id, environment_id, name, role, actor, now, expires_at)
    await unit.add_api_key(key, secret_hash)
    await unit.add_audit(
        AuditEntry(
            id=ids.new_id(),
            organization_id=organization_id,
            environment_id=environment_id,
            actor=actor,
            action="api_key.create",
            target=f"api_key:{key.id}",
            request_id=request_id,
            details={"name": name, "role": role},
        )
    )
    return key, text
