"""Memberships: which person has which role in an organization or in one project of it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.access.model import Grant, Member, Role

_GRANTS = """
select m.organization_id, m.role, m.project_id
from control.membership m left join control.project j on j.id = m.project_id
where m.person_id = $1 and j.deleted_at is null
order by m.organization_id, m.project_id nulls first
"""
_NAMES = """
with environment as (
    select id, slug, name, project_id from control.environment where id = any ($1::uuid[]) and deleted_at is null
)
select id, slug, name, project_id as parent from environment
union all
select id, slug, name, organization_id from control.project
where (id = any ($1::uuid[]) or id in (select project_id from environment)) and deleted_at is null
union all
select id, slug, name, null from control.organization where id = any ($2::uuid[])
"""
_COLUMNS = """
m.id, m.organization_id, m.project_id, m.person_id, p.email, p.name as person_name, m.role, m.created_by, m.created_at,
m.updated_at, m.row_version
"""
_INSERT = """
insert into control.membership (id, organization_id, project_id, person_id, role, created_by)
values ($1, $2, $3, $4, $5, $6)
on conflict (organization_id, project_id, person_id) do nothing returning true
"""
_READ = f"""
select {_COLUMNS} from control.membership m join control.person p on p.id = m.person_id
left join control.project j on j.id = m.project_id
where m.organization_id = $1 and m.id = $2 and j.deleted_at is null
"""  # noqa: S608 - constants only
# The page is cut before anything is joined, and projects and people are looked at row by row: joins are planned as
# hashes of all members or all people (12 ms for 10,000 members, this 0.3).
_LIST = f"""
select {_COLUMNS} from (
    select * from control.membership m
    where m.organization_id = $1 and ($2::uuid is null or m.id < $2) and ($3::uuid is null or m.project_id = $3)
        and coalesce((select j.deleted_at is null from control.project j where j.id = m.project_id), true)
    order by m.id desc limit $4
) m cross join lateral (select email, name from control.person where id = m.person_id offset 0) p
order by m.id desc
"""  # noqa: S608 - constants only
_CHANGE = """
update control.membership set role = $3, updated_at = now(), row_version = row_version + 1
where organization_id = $1 and id = $2
"""
_DELETE = "delete from control.membership where organization_id = $1 and id = $2"
# Whoever takes an administrator away holds this row until the commit, so that two of them cannot each see the other.
_FIND = """
select id from control.membership
where organization_id = $1 and project_id is not distinct from $2 and person_id = $3
"""
_OTHER_ADMIN = """
select exists (
    select from control.membership m join control.person p on p.id = m.person_id
    where m.organization_id = $1 and m.role = 'org_admin' and m.person_id is distinct from $2 and p.disabled_at is null
) or exists (
    select from control.api_key k
    where k.organization_id = $1 and k.environment_id is null and k.role = 'org_admin' and k.id is distinct from $3
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
)
"""


class Named(msgspec.Struct, frozen=True):
    """What a place is called, and the id of what it lies in."""

    slug: str
    name: str
    parent: UUID | None


async def grants_of(connection: Connection, person_id: UUID) -> tuple[Grant, ...]:
    """Every role of a person, an organization's before its projects'; none on projects that were deleted."""
    rows = await connection.fetch(_GRANTS, person_id)
    return tuple(Grant(row["organization_id"], Role(row["role"]), row["project_id"]) for row in rows)


async def names_of(connection: Connection, grants: Sequence[Grant]) -> dict[UUID, Named]:
    """What every place of these grants is called, and every place above it, by id; what was deleted is not there."""
    places = [grant.place for grant in grants]
    rows = await connection.fetch(_NAMES, places, [grant.organization_id for grant in grants])
    return {row["id"]: Named(row["slug"], row["name"], row["parent"]) for row in rows}


async def insert_member(
    connection: Connection,
    member_id: UUID,
    *,
    organization_id: UUID,
    project_id: UUID | None,
    person_id: UUID,
    role: Role,
    created_by: str,
) -> bool:
    """False when the person has a role there already; that one stays."""
    values = (member_id, organization_id, project_id, person_id, role.value, created_by)
    return await connection.fetchval(_INSERT, *values) is not None


async def read_member(connection: Connection, organization_id: UUID, member_id: UUID) -> Member | None:
    row = await connection.fetchrow(_READ, organization_id, member_id)
    return None if row is None else _member(row)


async def find_member(
    connection: Connection, organization_id: UUID, project_id: UUID | None, person_id: UUID
) -> UUID | None:
    """The id of a person's membership in exactly that place."""
    found: UUID | None = await connection.fetchval(_FIND, organization_id, project_id, person_id)
    return found


async def list_members(
    connection: Connection, organization_id: UUID, *, before: UUID | None, project_id: UUID | None, limit: int
) -> list[Member]:
    """Newest first, older than `before`; of one project only where it is given."""
    return [_member(row) for row in await connection.fetch(_LIST, organization_id, before, project_id, limit)]


async def change_member(connection: Connection, organization_id: UUID, member_id: UUID, role: Role) -> None:
    await connection.execute(_CHANGE, organization_id, member_id, role.value)


async def delete_member(connection: Connection, organization_id: UUID, member_id: UUID) -> None:
    await connection.execute(_DELETE, organization_id, member_id)


async def another_admin(
    connection: Connection, organization_id: UUID, *, person_id: UUID | None = None, key_id: UUID | None = None
) -> bool:
    """Whether anybody but this person and this key is `org_admin`: a person who is not disabled, or a live key."""
    return bool(await connection.fetchval(_OTHER_ADMIN, organization_id, person_id, key_id))


def _member(row: Any) -> Member:
    fields = dict(row)
    return Member(**(fields | {"role": Role(fields["role"])}))
