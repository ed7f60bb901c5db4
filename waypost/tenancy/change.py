"""Changing organizations, projects and environments, and deleting a project with everything in it.

Each change is made to the row as it was locked, so that what was checked (an ETag, a limit, a state) still holds at the
commit, and writes its audit entry there. A change that changes nothing leaves row, ETag and audit alone. There is no
deletion of an organization: that is an operator's action.
"""

from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID

import msgspec

from waypost import errors, ids
from waypost.errors import Category, WaypostError
from waypost.limit.decision import changed_overrides, in_force
from waypost.limit.model import Level
from waypost.retention.decision import changed_days
from waypost.tenancy.decision import checked_description, checked_name, checked_settings, checked_slug
from waypost.tenancy.entry import about
from waypost.tenancy.life import delete_environment
from waypost.tenancy.model import (
    DELETE_PROJECT,
    Environment,
    Organization,
    Posture,
    Project,
    ProjectStatus,
    Setting,
    Status,
)
from waypost.tenancy.port import TenancyUnit

_T = TypeVar("_T", Organization, Project, Environment)


async def change_organization(
    unit: TenancyUnit,
    organization: Organization,
    *,
    actor: str,
    name: str | None = None,
    slug: str | None = None,
    settings: Mapping[str, Setting] | None = None,
    request_id: str | None = None,
) -> Organization:
    """The organization, locked, with what is given changed; `settings` are replaced as a whole.

    Raises 422 for a bad name, slug or setting, 409 `slug_taken`.
    """
    changed = msgspec.structs.replace(
        organization,
        name=organization.name if name is None else checked_name(name),
        slug=organization.slug if slug is None else checked_slug(slug, ""),
        settings=organization.settings if settings is None else checked_settings(settings),
    )
    details = _details(organization, changed, ("name", "slug", "settings"))
    if not details:
        return organization
    kept = _kept(await unit.replace_organization(changed))
    await unit.add_audit(about(kept, "organization.update", actor, request_id, details))
    return kept


async def limit_organization(
    unit: TenancyUnit, organization: Organization, changes: Mapping[str, int | None], *, actor: str
) -> Organization:
    """The organization, locked, with the limits that an operator sets; None takes one back to the default.

    Raises 422 for a limit that there is not, or a value out of its range.
    """
    limits = changed_overrides(organization.limits, changes)
    changed = msgspec.structs.replace(organization, limits=limits)
    details = _details(organization, changed, ("limits",))
    if not details:
        return organization
    kept = _kept(await unit.set_limits(changed))
    await unit.add_audit(about(kept, "organization.limit", actor, None, details))
    return kept


async def change_project(
    unit: TenancyUnit,
    project: Project,
    *,
    actor: str,
    name: str | None = None,
    slug: str | None = None,
    description: str | None = None,
    request_id: str | None = None,
) -> Project:
    """The project, locked, with what is given changed.

    Raises 422 for a bad name, slug or description, 409 `slug_taken` or `project_deleting`.
    """
    require_active(project)
    changed = msgspec.structs.replace(
        project,
        name=project.name if name is None else checked_name(name),
        slug=project.slug if slug is None else checked_slug(slug, ""),
        description=project.description if description is None else checked_description(description),
    )
    details = _details(project, changed, ("name", "slug", "description"))
    if not details:
        return project
    kept = _kept(await unit.replace_project(changed))
    await unit.add_audit(about(kept, "project.update", actor, request_id, details))
    return kept


async def change_environment(
    unit: TenancyUnit,
    environment: Environment,
    *,
    actor: str,
    default_limits: Mapping[str, int],
    organization_limits: Mapping[str, int],
    name: str | None = None,
    slug: str | None = None,
    posture: Posture | None = None,
    limits: Mapping[str, int | None] | None = None,
    retention: Mapping[str, int | None] | None = None,
    operator_days: Mapping[str, int] | None = None,
    request_id: str | None = None,
) -> Environment:
    """The environment, locked, with what is given changed; of `limits` and `retention` only those named, None takes one
    back.

    A limit can be lowered below what the organization's environments may have, and raised up to it. What is in use
    already stays. Days are at most `operator_days`. Raises 422 for a bad name, slug, limit or number of days, 409
    `slug_taken` or `environment_deleting`.
    """
    if environment.status is Status.DELETING:
        raise errors.conflict("environment_deleting", "The environment is being deleted and cannot be changed.")
    ceiling = in_force(default_limits, organization_limits).values
    own = changed_overrides(environment.limits, limits or {}, ceiling=ceiling, level=Level.ENVIRONMENT)
    changed = msgspec.structs.replace(
        environment,
        name=environment.name if name is None else checked_name(name),
        slug=environment.slug if slug is None else checked_slug(slug, ""),
        posture=posture or environment.posture,
        limits=own,
        retention=changed_days(environment.retention, retention or {}, operator_days or {}),
    )
    details = _details(environment, changed, ("name", "slug", "posture", "limits", "retention"))
    if not details:
        return environment
    kept = _kept(await unit.replace_environment(changed))
    await unit.add_audit(about(kept, "environment.update", actor, request_id, details))
    return kept


async def delete_project(
    unit: TenancyUnit, project: Project, *, actor: str, request_id: str | None = None
) -> tuple[Project, UUID]:
    """The project, locked, as `deleting`, and the platform job that ends it when its last environment is gone.

    Takes no new environment from now on; each of its environments is deleted. Asked again, the same job is answered.
    """
    if project.status is ProjectStatus.ACTIVE:
        marked = _kept(await unit.mark_project(project, actor, request_id))
        for environment in await unit.environments_of(project.id):
            await delete_environment(unit, environment, actor=actor, request_id=request_id)
        await unit.add_audit(about(marked, DELETE_PROJECT, actor, request_id))
        project = marked
    job_id = await unit.open_deletion(project.id)
    if job_id is None:
        job_id = ids.new_id()
        await unit.add_platform_job(job_id, DELETE_PROJECT, None, project.id)
    return project, job_id


def require_active(project: Project) -> None:
    """Raises 409 `project_deleting` when the project is being deleted."""
    if project.status is not ProjectStatus.ACTIVE:
        raise errors.conflict("project_deleting", "The project is being deleted and takes no environments or changes.")


def _kept(row: _T | None) -> _T:
    """The row that was replaced; 412 when somebody was faster, which a lock rules out."""
    if row is None:
        raise WaypostError(
            "precondition_failed", "It has changed since it was read; read it again.", Category.PRECONDITION
        )
    return row


def _details(before: _T, after: _T, fields: tuple[str, ...]) -> dict[str, str]:
    """What changed, as the audit tells it: settings by name only, they are the organization's own."""
    changed = [field for field in fields if getattr(before, field) != getattr(after, field)]
    return {field: _shown(field, getattr(after, field)) for field in changed}


def _shown(field: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(sorted(value) if field == "settings" else (f"{k}={value[k]}" for k in sorted(value)))
    return str(value)
