"""Projects (native contract §2)."""

import msgspec

from gateway.audit import tenancy
from gateway.endpoint import ORG, PAGE, PROJECT, Call, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import etag, tagged
from gateway.v1.form import location
from gateway.v1.view import ProjectView, page_view, project_view
from storage.postgres.database import Connection
from storage.postgres.tenancy.project import list_projects
from waypost.access.model import Permission
from waypost.tenancy import operation


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None
    description: str = ""


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
        )
        headers = [location(organization.id, "projects", made.id), (b"etag", etag(made.row_version))]
        return ok(project_view(made), 201, headers)

    answer = await once(call, organization.id, "projects.create", work)
    call.services.tenancy_changed(organization.id)
    return answer


@endpoint(
    "GET",
    ORG + "/projects",
    summary="The organization's projects, newest first",
    permission=Permission.VIEW_ORG,
    query=PAGE,
    answer=ProjectPage,
)
async def read_projects(call: Call) -> Answer:
    organization = call.place.organization
    page = page_of(call.query, "projects", organization.id)
    async with call.services.database.unit() as connection:
        found = await list_projects(connection, organization.id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda project: project.id)
    return ok(page_view([project_view(project) for project in shown], cursor))


@endpoint("GET", PROJECT, summary="One project", permission=Permission.VIEW_PROJECT, answer=ProjectView)
async def read_project(call: Call) -> Answer:
    return ok(project_view(call.project), headers=tagged(etag(call.project.row_version)))


ENDPOINTS: list[Endpoint] = [create_project, read_projects, read_project]
