"""Organizations (native contract §2)."""

import msgspec

from gateway.audit import tenancy
from gateway.endpoint import ORG, PAGE, Call, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import etag, tagged
from gateway.v1.form import location
from gateway.v1.view import OrganizationView, organization_view, page_view
from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import list_organizations
from waypost.access.decision import visible_organizations
from waypost.access.model import Permission, Role
from waypost.tenancy import operation


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None


class OrganizationPage(msgspec.Struct):
    items: list[OrganizationView]
    next_cursor: str | None


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
        unit = tenancy(connection, call)
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
        return ok(organization_view(made, text), 201, [location(made.id), (b"etag", etag(made.row_version))])

    return await once(call, call.place.organization.id, "orgs.create", work)


@endpoint(
    "GET",
    "/v1/orgs",
    summary="The organizations that this credential sees, newest first",
    personal="everybody sees their own",
    query=PAGE,
    answer=OrganizationPage,
)
async def read_organizations(call: Call) -> Answer:
    seen = visible_organizations(call.principal)
    page = page_of(call.query, "orgs", call.principal.id)
    async with call.services.database.unit() as connection:
        found = await list_organizations(connection, only=seen, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda organization: organization.id)
    return ok(page_view([organization_view(organization) for organization in shown], cursor))


@endpoint("GET", ORG, summary="One organization", permission=Permission.VIEW_ORG, answer=OrganizationView)
async def read_organization(call: Call) -> Answer:
    organization = call.place.organization
    return ok(organization_view(organization), headers=tagged(etag(organization.row_version)))


ENDPOINTS: list[Endpoint] = [create_organization, read_organizations, read_organization]
