"""Environments and the steps of their provisioning. Deleted ones are tombstones that no reading finds."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import either
from waypost.tenancy.model import Environment, EnvironmentStep, Posture, Status, StepState

_COLUMNS = """
e.id, e.organization_id, e.project_id, e.slug, e.name, e.posture, e.backend, e.tenancy, e.database_cluster, e.status,
e.status_reason, e.limits, e.created_by, e.created_at, e.updated_at, e.row_version
"""
_INSERT = """
insert into control.environment (
    id, organization_id, project_id, slug, name, posture, backend, tenancy, database_cluster, status, limits,
    created_by, created_at, updated_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict (organization_id, slug) where deleted_at is null do nothing returning true
"""
_INSERT_STEPS = """
insert into control.environment_step (environment_id, ordinal, name)
select $1, ordinal, name from unnest($2::text[]) with ordinality as s(name, ordinal)
"""
_RESOLVE = f"""
select {_COLUMNS}, o.slug as organization_slug, p.slug as project_slug
from control.organization o
join control.project p on p.organization_id = o.id and (p.id = $3 or p.slug = $4)
join control.environment e on e.project_id = p.id and (e.id = $5 or e.slug = $6) and e.deleted_at is null
where o.id = $1 or o.slug = $2
"""  # noqa: S608 - constants only
_READ = f"select {_COLUMNS} from control.environment e where e.id = $1 and e.deleted_at is null"  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.environment e
where e.project_id = $1 and e.deleted_at is null and ($2::uuid is null or e.id < $2)
order by e.id desc limit $3
"""  # noqa: S608 - constants only
_STEPS = """
select name, state, started_at, finished_at, error from control.environment_step
where environment_id = $1 order by ordinal
"""
# A step that is done stays done; an earlier start stays its start.
_STEP = """
update control.environment_step set state = $3, error = $4,
    started_at = case when $3 = 'running' then coalesce(started_at, now()) else started_at end,
    finished_at = case when $3 in ('done', 'failed') then now() end
where environment_id = $1 and name = $2 and state <> 'done'
"""
_STATUS = """
update control.environment set status = $2, status_reason = $3, row_version = row_version + 1, updated_at = now()
where id = $1 and status = any ($4::text[]) and deleted_at is null returning true
"""


class ResolvedEnvironment(msgspec.Struct, frozen=True):
    """An environment with the slugs above it."""

    environment: Environment
    organization_slug: str
    project_slug: str


async def insert_environment(connection: Connection, environment: Environment, steps: Sequence[str]) -> bool:
    """The record and its pending steps; False (and nothing kept) when the slug is in use in the organization."""
    e = environment
    kept = await connection.fetchval(
        _INSERT,
        e.id,
        e.organization_id,
        e.project_id,
        e.slug,
        e.name,
        e.posture.value,
        e.backend,
        e.tenancy,
        e.database_cluster,
        e.status.value,
        msgspec.json.encode(e.limits).decode(),
        e.created_by,
        e.created_at,
        e.updated_at,
    )
    if kept is None:
        return False
    await connection.execute(_INSERT_STEPS, e.id, list(steps))
    return True


async def resolve_environment(
    connection: Connection, organization: UUID | str, project: UUID | str, environment: UUID | str
) -> ResolvedEnvironment | None:
    """The environment of a path; each part is an id or a slug. One row, for a cache in front."""
    row = await connection.fetchrow(_RESOLVE, *either(organization), *either(project), *either(environment))
    if row is None:
        return None
    return ResolvedEnvironment(_environment(row), row["organization_slug"], row["project_slug"])


async def read_environment(connection: Connection, environment_id: UUID) -> Environment | None:
    row = await connection.fetchrow(_READ, environment_id)
    return None if row is None else _environment(row)


async def list_environments(
    connection: Connection, project_id: UUID, *, before: UUID | None, limit: int
) -> list[Environment]:
    """Newest first, older than `before`."""
    return [_environment(row) for row in await connection.fetch(_LIST, project_id, before, limit)]


async def read_steps(connection: Connection, environment_id: UUID) -> list[EnvironmentStep]:
    """In the order in which they run."""
    rows = await connection.fetch(_STEPS, environment_id)
    return [EnvironmentStep(row["name"], StepState(row["state"]), *row[2:]) for row in rows]


async def mark_step(
    connection: Connection, environment_id: UUID, name: str, state: StepState, error: str | None = None
) -> None:
    """Record where a step stands; a step that is done is left alone."""
    await connection.execute(_STEP, environment_id, name, state.value, error)


async def change_status(
    connection: Connection, environment_id: UUID, to: Status, *, among: Sequence[Status], reason: str | None = None
) -> bool:
    """Move the environment to a status if it is in one of `among`; False when it is not, or is gone."""
    value = await connection.fetchval(_STATUS, environment_id, to.value, reason, [status.value for status in among])
    return value is not None


def _environment(row: Any) -> Environment:
    fields = {name: row[name] for name in Environment.__struct_fields__}
    fields["limits"] = msgspec.json.decode(fields["limits"], type=dict[str, int])
    return Environment(**(fields | {"posture": Posture(fields["posture"]), "status": Status(fields["status"])}))
