"""Organizations."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from storage.postgres.database import Connection
from waypost.tenancy.model import Organization

_COLUMNS = "id, slug, name, created_at, updated_at, row_version"
_INSERT = """
insert into control.organization (id, slug, name, created_at, updated_at) values ($1, $2, $3, $4, $5)
on conflict (slug) do nothing returning true
"""
_READ = f"select {_COLUMNS} from control.organization where id = $1 or slug = $2"  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.organization
where ($1::uuid[] is null or id = any ($1)) and ($2::uuid is null or id < $2)
order by id desc limit $3
"""  # noqa: S608 - constants only


async def insert_organization(connection: Connection, organization: Organization) -> bool:
    """False when the slug is in use."""
    o = organization
    return await connection.fetchval(_INSERT, o.id, o.slug, o.name, o.created_at, o.updated_at) is not None


async def read_organization(connection: Connection, reference: UUID | str) -> Organization | None:
    """By id, or by slug."""
    row = await connection.fetchrow(_READ, *either(reference))
    return None if row is None else _organization(row)


async def list_organizations(
    connection: Connection, *, only: Collection[UUID] | None, before: UUID | None, limit: int
) -> list[Organization]:
    """Newest first, older than `before`; those of `only`, which are what a caller sees, or all."""
    return [
        _organization(row) for row in await connection.fetch(_LIST, None if only is None else list(only), before, limit)
    ]


def either(reference: UUID | str) -> tuple[UUID | None, str | None]:
    """(id, slug), of which one is None: the two parameters of a reading by either."""
    return (reference, None) if isinstance(reference, UUID) else (None, reference)


def _organization(row: Any) -> Organization:
    return Organization(*row)
