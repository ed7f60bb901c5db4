"""Projects. Every query names the organization."""

from typing import Any
from uuid import UUID

from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import either
from waypost.tenancy.model import Project

_COLUMNS = "id, organization_id, slug, name, description, created_at, updated_at, row_version"
_INSERT = """
insert into control.project (id, organization_id, slug, name, description, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (organization_id, slug) do nothing returning true
"""
_READ = f"""
select {_COLUMNS} from control.project where organization_id = $1 and (id = $2 or slug = $3)
"""  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.project
where organization_id = $1 and ($2::uuid is null or id < $2)
order by id desc limit $3
"""  # noqa: S608 - constants only


async def insert_project(connection: Connection, project: Project) -> bool:
    """False when the slug is in use in the organization."""
    p = project
    values = (p.id, p.organization_id, p.slug, p.name, p.description, p.created_at, p.updated_at)
    return await connection.fetchval(_INSERT, *values) is not None


async def read_project(connection: Connection, organization_id: UUID, reference: UUID | str) -> Project | None:
    """By id, or by slug."""
    row = await connection.fetchrow(_READ, organization_id, *either(reference))
    return None if row is None else _project(row)


async def list_projects(
    connection: Connection, organization_id: UUID, *, before: UUID | None, limit: int
) -> list[Project]:
    """Newest first, older than `before`."""
    return [_project(row) for row in await connection.fetch(_LIST, organization_id, before, limit)]


def _project(row: Any) -> Project:
    return Project(*row)
