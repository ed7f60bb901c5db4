"""Members: people with a role in an organization, or in one project of it (governance contract §3)."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from gateway.audit import origin_of, tenancy
from gateway.endpoint import ORG, PAGE, Call, Endpoint, Parameter, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.form import location
from gateway.v1.view import page_view
from jobs.wake import PersonChanged
from storage.postgres.access.membership import list_members, read_member
from storage.postgres.access.unit import PostgresAccess
from storage.postgres.database import Connection
from storage.postgres.person.person import find_login, read_person
from storage.postgres.tenancy.project import read_project
from waypost import errors
from waypost.access import operation
from waypost.access.model import Member, Permission, Role, Scope
from waypost.ids import parse_id
from waypost.limit.model import MEMBERS as MEMBERS_LIMIT
from waypost.person.decision import checked_email
from waypost.person.model import Person
from waypost.tenancy.model import Project
from waypost.tenancy.quota import require_quota

MEMBERS = ORG + "/members"
MEMBER = MEMBERS + "/{member}"

RoleName = Literal["org_admin", "project_admin", "operator", "viewer"]


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """A person who exists, by `person_id` or `email`. With `project`, an id or slug, the role is in that project only
    and replaces there the one in the organization, unless that is org_admin."""

    role: RoleName
    person_id: UUID | None = None
    email: str | None = None
    project: str | None = None


class MemberChange(msgspec.Struct, forbid_unknown_fields=True):
    role: RoleName


class MemberPersonView(msgspec.Struct, frozen=True):
    id: UUID
    email: str
    name: str


class MemberView(msgspec.Struct, frozen=True):
    id: UUID
    person: MemberPersonView
    role: str
    project_id: UUID | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class MemberPage(msgspec.Struct):
    items: list[MemberView]
    next_cursor: str | None


def member_view(member: Member) -> MemberView:
    person = MemberPersonView(member.person_id, member.email, member.person_name)
    return MemberView(
        member.id, person, member.role.value, member.project_id, member.created_by, member.created_at, member.updated_at
    )


def _tag(member: Member) -> bytes:
    return etag(member.row_version)


@endpoint(
    "POST",
    MEMBERS,
    summary="Give a person a role in the organization, or in one project of it",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    body=NewMember,
    answer=MemberView,
    status=201,
    idempotent=True,
    example={"email": "ada@example.com", "role": "operator", "project": "images"},
)
async def create_member(call: Call) -> Answer:
    new, organization = await call.read(NewMember), call.place.organization
    if (new.person_id is None) == (new.email is None):
        raise errors.invalid("invalid_member", "A member is named by person_id or by email, one of the two.", "/email")
    made: list[Member] = []

    async def work(connection: Connection) -> Answer:
        person = await _person(connection, new)
        project = None if new.project is None else await _project(connection, organization.id, new.project)
        scope = Scope(organization.id, project.id if project else None)
        default = call.services.default_limits
        await require_quota(tenancy(connection, call), MEMBERS_LIMIT, organization.id, default=default)
        unit = PostgresAccess(connection, origin_of(call))
        member = await operation.add_member(unit, call.principal, scope, person.id, Role(new.role))
        made.append(member)
        headers = [location(organization.id, "members", member.id), *tagged(_tag(member))]
        return ok(member_view(member), 201, headers)

    answer = await once(call, organization.id, "members.create", work)
    for member in made:
        call.services.tell_access(PersonChanged(member.person_id))
    return answer


async def _person(connection: Connection, new: NewMember) -> Person:
    """Who is meant; raises 422 `unknown_person`, also for somebody who is disabled."""
    if new.person_id is not None:
        person, path = await read_person(connection, new.person_id), "/person_id"
    else:
        login = await find_login(connection, checked_email(new.email or "")[1])
        person, path = login.person if login else None, "/email"
    if person is None or person.disabled_at is not None:
        raise errors.invalid("unknown_person", "There is no such person; invite them (…/invitations).", path)
    return person


async def _project(connection: Connection, organization_id: UUID, reference: str, path: str = "/project") -> Project:
    """A project of the organization by id or slug; raises 422 `unknown_project`."""
    found = None
    if "\0" not in reference:
        found = await read_project(connection, organization_id, parse_id(reference) or reference)
    if found is None:
        raise errors.invalid("unknown_project", "There is no such project in this organization.", path)
    return found


@endpoint(
    "GET",
    MEMBERS,
    summary="Members of the organization and of its projects, newest first",
    permission=Permission.VIEW_ORG,
    query=(*PAGE, Parameter("project", "Only roles in this project (id or slug).")),
    answer=MemberPage,
)
async def read_members(call: Call) -> Answer:
    organization = call.place.organization
    wanted = call.query.get("project", [None])[-1]
    async with call.services.database.unit() as connection:
        project = None if wanted is None else await _project(connection, organization.id, wanted)
        project_id = project.id if project else None
        page = page_of(call.query, "members", organization.id, project_id)
        found = await list_members(
            connection, organization.id, before=page.after, project_id=project_id, limit=page.limit + 1
        )
    shown, cursor = paged(page, found, lambda member: member.id)
    return ok(page_view([member_view(member) for member in shown], cursor))


@endpoint("GET", MEMBER, summary="One member", permission=Permission.VIEW_ORG, answer=MemberView)
async def read_one_member(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        member = await read_member(connection, call.place.organization.id, call.identifier("member", "member"))
    if member is None:
        raise errors.not_found("member")
    return ok(member_view(member), headers=tagged(_tag(member)))


@endpoint(
    "PATCH",
    MEMBER,
    summary="Give a member another role",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    body=MemberChange,
    answer=MemberView,
    matched=True,
    also={409: "It is the last administrator."},
    example={"role": "viewer"},
)
async def change_member(call: Call) -> Answer:
    change, organization = await call.read(MemberChange), call.place.organization
    identifier = call.identifier("member", "member")
    async with call.services.database.unit() as connection:
        unit = PostgresAccess(connection, origin_of(call))
        member = await operation.held_member(unit, organization.id, identifier)
        check_match(call.exchange, _tag(member))
        changed = await operation.change_member(unit, call.principal, member, Role(change.role))
    call.services.tell_access(PersonChanged(changed.person_id))
    return ok(member_view(changed), headers=tagged(_tag(changed)))


@endpoint(
    "DELETE",
    MEMBER,
    summary="Take a member's role away",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    status=204,
    matched=True,
    also={409: "It is the last administrator."},
)
async def delete_member(call: Call) -> Answer:
    organization, identifier = call.place.organization, call.identifier("member", "member")
    async with call.services.database.unit() as connection:
        unit = PostgresAccess(connection, origin_of(call))
        member = await operation.held_member(unit, organization.id, identifier)
        check_match(call.exchange, _tag(member))
        await operation.remove_member(unit, call.principal, member)
    call.services.tell_access(PersonChanged(member.person_id))
    return nothing()


ENDPOINTS: list[Endpoint] = [create_member, read_members, read_one_member, change_member, delete_member]
