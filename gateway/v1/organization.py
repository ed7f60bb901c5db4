"""Organizations (native contract §2)."""

import msgspec

from gateway.audit import tenancy
from gateway.endpoint import ORG, PAGE, Call, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.form import given, location
from gateway.v1.view import OrganizationView, organization_view, page_view
from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import list_organizations, read_organization
from waypost import errors
from waypost.access.decision import visible_organizations
from waypost.access.model import Permission, Role
from waypost.tenancy import change, operation
from waypost.tenancy.model import Organization, Setting


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None


class OrganizationChange(msgspec.Struct, forbid_unknown_fields=True):
    """Whatever is left out stays. `settings` are replaced as a whole: names of your own, with texts, numbers, booleans.

    Limits are an operator's to set.
    """

    name: str | msgspec.UnsetType = msgspec.UNSET
    slug: str | msgspec.UnsetType = msgspec.UNSET
    settings: dict[str, Setting] | msgspec.UnsetType = msgspec.UNSET


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
        return ok(
            organization_view(made, call.services.limits_of(made), text),
            201,
            [location(made.id), (b"etag", etag(made.row_version))],
        )

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
    return ok(page_view([_view(call, organization) for organization in shown], cursor))


@endpoint("GET", ORG, summary="One organization", permission=Permission.VIEW_ORG, answer=OrganizationView)
async def read_one_organization(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        organization = await read_organization(
            connection, call.place.organization.id
        )  # not the cached one: for the ETag
    if organization is None:
        raise errors.not_found("organization")
    return _answer(call, organization)


def _view(call: Call, organization: Organization) -> OrganizationView:
    return organization_view(organization, call.services.limits_of(organization))


def _answer(call: Call, organization: Organization) -> Answer:
    return ok(_view(call, organization), headers=tagged(etag(organization.row_version)))


@endpoint(
    "PATCH",
    ORG,
    summary="Change an organization's name, slug or settings",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    body=OrganizationChange,
    answer=OrganizationView,
    matched=True,
    example={"name": "Harbour Oy", "settings": {"cost_centre": "4711"}},
)
async def patch_organization(call: Call) -> Answer:
    asked, organization_id = await call.read(OrganizationChange), call.place.organization.id
    async with call.services.database.unit() as connection:
        unit = tenancy(connection, call)
        organization = await unit.lock_organization(organization_id)
        if organization is None:
            raise errors.not_found("organization")
        check_match(call.exchange, etag(organization.row_version))
        changed = await change.change_organization(
            unit,
            organization,
            actor=call.principal.actor,
            name=given(asked.name),
            slug=given(asked.slug),
            settings=given(asked.settings),
            request_id=call.exchange.request_id,
        )
    call.services.tenancy_changed(organization_id)
    return _answer(call, changed)


ENDPOINTS: list[Endpoint] = [create_organization, read_organizations, read_one_organization, patch_organization]
