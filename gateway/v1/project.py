"""Projects (native contract §2)."""

import msgspec

from gateway.audit import tenancy
from gateway.endpoint import ORG, PAGE, PROJECT, Call, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.form import given, location
from gateway.v1.view import ProjectView, page_view, project_view
from jobs.platform import nudge
from jobs.wake import EnvironmentClosed
from storage.postgres.database import Connection
from storage.postgres.tenancy.project import list_projects, read_project
from storage.postgres.tenancy.unit import PostgresTenancy
from waypost import errors
from waypost.access.decision import visible_projects
from waypost.access.model import Permission
from waypost.tenancy import change, operation
from waypost.tenancy.model import Project


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None
    description: str = ""


class ProjectChange(msgspec.Struct, forbid_unknown_fields=True):
    """Whatever is left out stays."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    slug: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class ProjectPage(msgspec.Struct):
    items: list[ProjectView]
    next_cursor: str | None


@endpoint(
    "POST",
    ORG + "/projects",
    summary="Create a project",
    permission=Permission.MANAGE_PROJECT,
    body=NewProject,
    answer=ProjectView,
    status=201,
    idempotent=True,
    example={"name": "Images", "description": "Thumbnails and previews"},
)
async def create_project(call: Call) -> Answer:
    new, organization = await call.read(NewProject), call.place.organization

    async def work(connection: Connection) -> Answer:
        made = await operation.create_project(
            tenancy(connection, call),
            organization.id,
            actor=call.principal.actor,
            name=new.name,
            slug=new.slug,
            description=new.description,
            request_id=call.exchange.request_id,
            default_limits=call.services.default_limits,
        )
        headers = [location(organization.id, "projects", made.id), (b"etag", etag(made.row_version))]
        return ok(project_view(made), 201, headers)

    answer = await once(call, organization.id, "projects.create", work)
    call.services.tenancy_changed(organization.id)
    return answer


@endpoint(
    "GET",
    ORG + "/projects",
    summary="The organization's projects that this credential may see, newest first",
    permission=Permission.VIEW_ORG,
    query=PAGE,
    answer=ProjectPage,
)
async def read_projects(call: Call) -> Answer:
    organization = call.place.organization
    page = page_of(call.query, "projects", organization.id)
    async with call.services.database.unit() as connection:
        seen = visible_projects(call.principal, organization.id)
        found = await list_projects(connection, organization.id, before=page.after, limit=page.limit + 1, only=seen)
    shown, cursor = paged(page, found, lambda project: project.id)
    return ok(page_view([project_view(project) for project in shown], cursor))


@endpoint("GET", PROJECT, summary="One project", permission=Permission.VIEW_PROJECT, answer=ProjectView)
async def read_one_project(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        project = await read_project(connection, call.project.organization_id, call.project.id)  # not the cached one
    if project is None:
        raise errors.not_found("project")
    return _answer(project)


def _answer(project: Project, status: int = 200) -> Answer:
    return ok(project_view(project), status, tagged(etag(project.row_version)))


async def _locked(unit: PostgresTenancy, call: Call) -> Project:
    """The project as it is, held until the commit; 404 when it is gone, 412 when it is not what was seen."""
    project = await unit.lock_project(call.project.organization_id, call.project.id)
    if project is None:
        raise errors.not_found("project")
    check_match(call.exchange, etag(project.row_version))
    return project


@endpoint(
    "PATCH",
    PROJECT,
    summary="Change a project's name, slug or description",
    permission=Permission.MANAGE_PROJECT,
    body=ProjectChange,
    answer=ProjectView,
    matched=True,
    example={"description": "Thumbnails, previews, watermarks"},
)
async def patch_project(call: Call) -> Answer:
    asked = await call.read(ProjectChange)
    async with call.services.database.unit() as connection:
        unit = tenancy(connection, call)
        changed = await change.change_project(
            unit,
            await _locked(unit, call),
            actor=call.principal.actor,
            name=given(asked.name),
            slug=given(asked.slug),
            description=given(asked.description),
            request_id=call.exchange.request_id,
        )
    call.services.tenancy_changed(changed.id)
    return _answer(changed)


@endpoint(
    "DELETE",
    PROJECT,
    summary="Delete a project with everything in it; it is gone when its last environment is",
    permission=Permission.MANAGE_PROJECT,
    answer=ProjectView,
    status=202,
    matched=True,
)
async def delete_project(call: Call) -> Answer:
    """Takes no new environment from now on. Asked again while it is deleted, it answers the same."""
    async with call.services.database.unit() as connection:
        unit = tenancy(connection, call)
        doomed, _ = await change.delete_project(
            unit, await _locked(unit, call), actor=call.principal.actor, request_id=call.exchange.request_id
        )
        environments = await unit.environments_of(doomed.id)
    nudge(call.services.valkey)
    call.services.tenancy_changed(doomed.id)
    for environment in environments:
        call.services.tell_environment(environment.id, EnvironmentClosed())
    return _answer(doomed, 202)


ENDPOINTS: list[Endpoint] = [create_project, read_projects, read_one_project, patch_project, delete_project]
