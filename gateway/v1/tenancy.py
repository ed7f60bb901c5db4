"""Organizations, projects and environments: reading and creation (native contract §2)."""

from typing import Literal

import msgspec

from gateway.endpoint import ORG, PAGE, PROJECT, Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import etag, tagged
from gateway.v1.view import (
    EnvironmentView,
    OrganizationView,
    ProjectView,
    environment_view,
    organization_view,
    page_view,
    project_view,
)
from jobs.platform import nudge
from storage.postgres.database import Connection
from storage.postgres.tenancy.environment import list_environments, read_environment, read_steps
from storage.postgres.tenancy.project import list_projects
from storage.postgres.tenancy.unit import PostgresTenancy
from waypost import errors
from waypost.access.model import Permission, Role
from waypost.tenancy import operation
from waypost.tenancy.model import Environment, Posture


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None
    description: str = ""


class NewEnvironment(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None
    posture: Literal["dev", "staging", "prod"] = "dev"
    backend: str = "postgres"


class OrganizationPage(msgspec.Struct):
    items: list[OrganizationView]
    next_cursor: str | None


class ProjectPage(msgspec.Struct):
    items: list[ProjectView]
    next_cursor: str | None


class EnvironmentPage(msgspec.Struct):
    items: list[EnvironmentView]
    next_cursor: str | None


def _location(*parts: object) -> tuple[bytes, bytes]:
    return b"location", ("/v1/orgs/" + "/".join(str(part) for part in parts)).encode()


# --- organizations ----------------------------------------------------------------------------------------------------


@endpoint(
    "POST",
    "/v1/orgs",
    summary="Create an organization, with its first key",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    body=NewOrganization,
    answer=OrganizationView,
    status=201,
    idempotent=True,
    example={"name": "Harbour Ltd", "slug": "harbour"},
)
async def create_organization(call: Call) -> Answer:
    """Who administers an organization may found another. `admin_key` of the answer is shown once."""
    new = await call.read(NewOrganization)

    async def work(connection: Connection) -> Answer:
        unit = PostgresTenancy(connection)
        made = await operation.create_organization(
            unit, actor=call.principal.actor, name=new.name, slug=new.slug, request_id=call.exchange.request_id
        )
        _, text = await operation.create_api_key(
            unit,
            actor=call.principal.actor,
            organization_id=made.id,
            environment_id=None,
            name="first key",
            role=Role.ORG_ADMIN,
            request_id=call.exchange.request_id,
        )
        return ok(organization_view(made, text), 201, [_location(made.id), (b"etag", etag(made.row_version))])

    return await once(call, call.principal.organization_id, "orgs.create", work)


@endpoint(
    "GET",
    "/v1/orgs",
    summary="The organizations that this credential sees: its own",
    permission=Permission.VIEW_ORG,
    query=PAGE,
    answer=OrganizationPage,
)
async def read_organizations(call: Call) -> Answer:
    page_of(call.query, "orgs", call.principal.organization_id)  # one item: nothing to page through, but checked alike
    return ok(page_view([organization_view(call.place.organization)], None))


@endpoint("GET", ORG, summary="One organization", permission=Permission.VIEW_ORG, answer=OrganizationView)
async def read_organization(call: Call) -> Answer:
    organization = call.place.organization
    return ok(organization_view(organization), headers=tagged(etag(organization.row_version)))


# --- projects ---------------------------------------------------------------------------------------------------------


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
            PostgresTenancy(connection),
            organization.id,
            actor=call.principal.actor,
            name=new.name,
            slug=new.slug,
            description=new.description,
            request_id=call.exchange.request_id,
        )
        headers = [_location(organization.id, "projects", made.id), (b"etag", etag(made.row_version))]
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


# --- environments -----------------------------------------------------------------------------------------------------


@endpoint(
    "POST",
    PROJECT + "/environments",
    summary="Create an environment; it becomes ready by a platform job",
    permission=Permission.MANAGE_PROJECT,
    body=NewEnvironment,
    answer=EnvironmentView,
    status=202,
    idempotent=True,
    example={"name": "Development", "slug": "dev", "posture": "dev"},
)
async def create_environment(call: Call) -> Answer:
    new, project = await call.read(NewEnvironment), call.project

    async def work(connection: Connection) -> Answer:
        made, _ = await operation.create_environment(
            PostgresTenancy(connection),
            call.services.kek,
            project,
            actor=call.principal.actor,
            name=new.name,
            slug=new.slug,
            posture=Posture(new.posture),
            backend=new.backend,
            request_id=call.exchange.request_id,
        )
        headers = [
            _location(project.organization_id, "projects", project.id, "environments", made.id),
            (b"etag", etag(made.row_version)),
        ]
        view = environment_view(made, call.services.limits_of(made), await read_steps(connection, made.id))
        return ok(view, 202, headers)

    answer = await once(call, project.organization_id, f"environments.create:{project.id}", work)
    nudge(call.services.valkey)
    call.services.tenancy_changed(project.id)
    return answer


@endpoint(
    "GET",
    PROJECT + "/environments",
    summary="The project's environments, newest first",
    permission=Permission.VIEW_PROJECT,
    query=PAGE,
    answer=EnvironmentPage,
)
async def read_environments(call: Call) -> Answer:
    page = page_of(call.query, "environments", call.project.id)
    async with call.services.database.unit() as connection:
        found = await list_environments(connection, call.project.id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda environment: environment.id)
    return ok(page_view([_view(call, environment) for environment in shown], cursor))


def _view(call: Call, environment: Environment) -> EnvironmentView:
    return environment_view(environment, call.services.limits_of(environment))


@endpoint(
    "GET",
    E,
    summary="One environment, with the steps of its provisioning and its limits",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=EnvironmentView,
)
async def read_one_environment(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        environment = await read_environment(connection, call.environment.id)  # not the cached one: steps move fast
        if environment is None:
            raise errors.not_found("environment")
        steps = await read_steps(connection, environment.id)
    if environment != call.environment:
        call.services.places.forget_environment(environment.id)
    view = environment_view(environment, call.services.limits_of(environment), steps)
    return ok(view, headers=tagged(etag(environment.row_version)))


ENDPOINTS: list[Endpoint] = [
    create_organization,
    read_organizations,
    read_organization,
    create_project,
    read_projects,
    read_project,
    create_environment,
    read_environments,
    read_one_environment,
]
