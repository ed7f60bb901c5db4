"""Projects. Every query names the organization. Deleted ones are tombstones that no reading finds."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import either
from waypost.tenancy.model import Project, ProjectStatus

_COLUMNS = "id, organization_id, slug, name, description, created_at, updated_at, row_version, status"
_INSERT = """
insert into control.project (id, organization_id, slug, name, description, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (organization_id, slug) where deleted_at is null do nothing returning true
"""
_READ = f"""
select {_COLUMNS} from control.project
where organization_id = $1 and (id = $2 or slug = $3) and deleted_at is null
"""  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.project
where organization_id = $1 and deleted_at is null and ($2::uuid is null or id < $2)
    and ($3::uuid[] is null or id = any ($3))
order by id desc limit $4
"""  # noqa: S608 - constants only

# Whoever changes the project, adds an environment to it or deletes it holds this row until the commit.
_LOCK = f"""
select {_COLUMNS} from control.project
where organization_id = $1 and id = $2 and deleted_at is null for no key update
"""  # noqa: S608 - constants only
_UPDATE = f"""
update control.project set slug = $4, name = $5, description = $6, row_version = row_version + 1, updated_at = now()
where organization_id = $1 and id = $2 and row_version = $3 and deleted_at is null returning {_COLUMNS}
"""  # noqa: S608 - constants only
_MARK = f"""
update control.project set status = 'deleting', deleted_by = $3, deleted_request_id = $4, row_version = row_version + 1,
    updated_at = now()
where organization_id = $1 and id = $2 and status = 'active' returning {_COLUMNS}
"""  # noqa: S608 - constants only
_DOOMED = f"""
select {_COLUMNS}, deleted_by, deleted_request_id from control.project
where id = $1 and status = 'deleting' for no key update
"""  # noqa: S608 - constants only
_BURY = """
update control.project set status = 'deleted', deleted_at = now(), row_version = row_version + 1, updated_at = now()
where id = $1 and status = 'deleting'
"""


class DoomedProject(msgspec.Struct, frozen=True):
    """A project that is being deleted, and who asked for it."""

    project: Project
    deleted_by: str
    request_id: str | None


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
    connection: Connection,
    organization_id: UUID,
    *,
    before: UUID | None,
    limit: int,
    only: Collection[UUID] | None = None,
) -> list[Project]:
    """Newest first, older than `before`; those of `only`, which are what a caller may see, or all."""
    seen = None if only is None else list(only)
    return [_project(row) for row in await connection.fetch(_LIST, organization_id, before, seen, limit)]


async def lock_project(connection: Connection, organization_id: UUID, project_id: UUID) -> Project | None:
    """The project as it is, held until the commit."""
    row = await connection.fetchrow(_LOCK, organization_id, project_id)
    return None if row is None else _project(row)


async def update_project(connection: Connection, changed: Project) -> Project | None:
    """Keep slug, name and description if the row is still of `changed.row_version`; as it is then, else None.

    Raises asyncpg's UniqueViolationError when the slug is in use.
    """
    c = changed
    row = await connection.fetchrow(_UPDATE, c.organization_id, c.id, c.row_version, c.slug, c.name, c.description)
    return None if row is None else _project(row)


async def mark_project(
    connection: Connection, organization_id: UUID, project_id: UUID, actor: str, request_id: str | None
) -> Project | None:
    """From `active` to `deleting`, with who asked; None when it is not active."""
    row = await connection.fetchrow(_MARK, organization_id, project_id, actor, request_id)
    return None if row is None else _project(row)


async def lock_doomed(connection: Connection, project_id: UUID) -> DoomedProject | None:
    """The project that is being deleted, held until the commit; None when it is not, or is gone."""
    row = await connection.fetchrow(_DOOMED, project_id)
    return None if row is None else DoomedProject(_project(row), row["deleted_by"], row["deleted_request_id"])


async def bury_project(connection: Connection, project_id: UUID) -> None:
    """Leave a tombstone of a project that is being deleted: its slug is free."""
    await connection.execute(_BURY, project_id)


def _project(row: Any) -> Project:
    fields = {name: row[name] for name in Project.__struct_fields__}
    return Project(**(fields | {"status": ProjectStatus(fields["status"])}))
