"""Organizations."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.tenancy.model import Organization

_COLUMNS = "id, slug, name, created_at, updated_at, row_version, settings, limits"
_INSERT = """
insert into control.organization (id, slug, name, created_at, updated_at) values ($1, $2, $3, $4, $5)
on conflict (slug) do nothing returning true
"""
_READ = f"""
select {_COLUMNS} from control.organization where (id = $1 or slug = $2) and ($3::uuid[] is null or id = any ($3))
"""  # noqa: S608 - constants only
# Who makes or changes something of the organization one at a time holds this row until the commit; what refers to it
# can be added meanwhile.
_LOCK = f"select {_COLUMNS} from control.organization where id = $1 for no key update"  # noqa: S608 - constants only
_UPDATE = f"""
update control.organization set slug = $3, name = $4, settings = $5, row_version = row_version + 1, updated_at = now()
where id = $1 and row_version = $2 returning {_COLUMNS}
"""  # noqa: S608 - constants only
_LIMITS = "select limits from control.organization where id = any ($1::uuid[])"
_SET_LIMITS = f"""
update control.organization set limits = $2, row_version = row_version + 1, updated_at = now()
where id = $1 returning {_COLUMNS}
"""  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.organization
where ($1::uuid[] is null or id = any ($1)) and ($2::uuid is null or id < $2)
order by id desc limit $3
"""  # noqa: S608 - constants only


async def insert_organization(connection: Connection, organization: Organization) -> bool:
    """False when the slug is in use."""
    o = organization
    return await connection.fetchval(_INSERT, o.id, o.slug, o.name, o.created_at, o.updated_at) is not None


async def read_organization(
    connection: Connection, reference: UUID | str, *, among: Collection[UUID] | None = None
) -> Organization | None:
    """By id, or by slug; None when it is not one of `among`."""
    row = await connection.fetchrow(_READ, *either(reference), None if among is None else list(among))
    return None if row is None else _organization(row)


async def list_organizations(
    connection: Connection, *, only: Collection[UUID] | None, before: UUID | None, limit: int
) -> list[Organization]:
    """Newest first, older than `before`; those of `only`, which are what a caller sees, or all."""
    return [
        _organization(row) for row in await connection.fetch(_LIST, None if only is None else list(only), before, limit)
    ]


async def lock_organization(connection: Connection, organization_id: UUID) -> Organization | None:
    """The organization as it is, held until the commit: nobody else gets it meanwhile."""
    row = await connection.fetchrow(_LOCK, organization_id)
    return None if row is None else _organization(row)


async def update_organization(connection: Connection, changed: Organization) -> Organization | None:
    """Keep slug, name and settings if the row is still of `changed.row_version`; as it is then, else None.

    Raises asyncpg's UniqueViolationError when the slug is in use.
    """
    c = changed
    settings = msgspec.json.encode(c.settings).decode()
    row = await connection.fetchrow(_UPDATE, c.id, c.row_version, c.slug, c.name, settings)
    return None if row is None else _organization(row)


async def read_limits(connection: Connection, organization_ids: Collection[UUID]) -> list[dict[str, int]]:
    """What an operator set for each of these organizations."""
    rows = await connection.fetch(_LIMITS, list(organization_ids))
    return [msgspec.json.decode(row["limits"], type=dict[str, int]) for row in rows]


async def set_limits(connection: Connection, organization_id: UUID, limits: Mapping[str, int]) -> Organization | None:
    """Replace what an operator set; None when there is no such organization. The gateway's role may not."""
    row = await connection.fetchrow(_SET_LIMITS, organization_id, msgspec.json.encode(limits).decode())
    return None if row is None else _organization(row)


def either(reference: UUID | str) -> tuple[UUID | None, str | None]:
    """(id, slug), of which one is None: the two parameters of a reading by either."""
    return (reference, None) if isinstance(reference, UUID) else (None, reference)


def _organization(row: Any) -> Organization:
    fields = dict(row)
    fields["settings"] = msgspec.json.decode(fields["settings"])
    fields["limits"] = msgspec.json.decode(fields["limits"], type=dict[str, int])
    return Organization(**fields)
