"""Environments and the steps of their lives. Deleted ones are tombstones that no reading finds."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import either
from waypost.tenancy.model import Environment, EnvironmentStep, Phase, Posture, Status, StepState

_COLUMNS = """
e.id, e.organization_id, e.project_id, e.slug, e.name, e.posture, e.backend, e.tenancy, e.database_cluster, e.status,
e.status_reason, e.limits, e.created_by, e.created_at, e.updated_at, e.row_version, e.retention
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
# Whoever changes the record holds this row until the commit.
_LOCK = f"{_READ} for no key update"
_UPDATE = f"""
update control.environment e set slug = $3, name = $4, posture = $5, limits = $6, retention = $7,
    row_version = row_version + 1, updated_at = now()
where e.id = $1 and e.row_version = $2 and e.deleted_at is null returning {_COLUMNS}
"""  # noqa: S608 - constants only
_OF_PROJECT = f"""
select {_COLUMNS} from control.environment e where e.project_id = $1 and e.deleted_at is null order by e.id
"""  # noqa: S608 - constants only
_BY_SLUG = """
select id, project_id from control.environment where organization_id = $1 and slug = $2 and deleted_at is null
"""
_STEPS = """
select s.name, s.state, s.started_at, s.finished_at, s.error, s.phase
from control.environment e join control.environment_step s on s.environment_id = e.id and s.phase = e.phase
where e.id = $1 order by s.ordinal
"""
# A step that is done stays done; an earlier start stays its start.
_STEP = """
update control.environment_step set state = $3, error = $4,
    started_at = case when $3 = 'running' then coalesce(started_at, clock_timestamp()) else started_at end,
    finished_at = case when $3 in ('done', 'failed') then clock_timestamp() end
where environment_id = $1 and phase = $5 and name = $2 and state <> 'done'
"""
_BEGIN_PHASE = """
update control.environment set phase = $2, status = $3, status_reason = null, row_version = row_version + 1,
    updated_at = now()
where id = $1 and status = any ($4::text[]) and deleted_at is null returning true
"""
_PHASE_STEPS = """
insert into control.environment_step (environment_id, phase, ordinal, name)
select $1, $2, ordinal, name from unnest($3::text[]) with ordinality as s(name, ordinal)
on conflict (environment_id, phase, name) do update
    set state = 'pending', started_at = null, finished_at = null, error = null
"""
_BURY = """
update control.environment set status = 'deleted', status_reason = null, deleted_at = now(),
    row_version = row_version + 1, updated_at = now()
where id = $1 and status = 'deleting' and deleted_at is null returning true
"""
_FORGET_STEPS = "delete from control.environment_step where environment_id = $1"
_STANDING = "select status, phase from control.environment where id = $1 and deleted_at is null"
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


async def lock_environment(connection: Connection, environment_id: UUID) -> Environment | None:
    """The environment as it is, held until the commit."""
    row = await connection.fetchrow(_LOCK, environment_id)
    return None if row is None else _environment(row)


async def update_environment(connection: Connection, changed: Environment) -> Environment | None:
    """Keep slug, name, posture, limits and retention if the row is still of `changed.row_version`; as it is then, or
    None.

    Raises asyncpg's UniqueViolationError when the slug is in use.
    """
    c = changed
    limits, retention = (msgspec.json.encode(one).decode() for one in (c.limits, c.retention))
    row = await connection.fetchrow(_UPDATE, c.id, c.row_version, c.slug, c.name, c.posture.value, limits, retention)
    return None if row is None else _environment(row)


async def environments_of(connection: Connection, project_id: UUID) -> list[Environment]:
    """Every environment of the project that is not gone, oldest first."""
    return [_environment(row) for row in await connection.fetch(_OF_PROJECT, project_id)]


async def find_slug(connection: Connection, organization_id: UUID, slug: str) -> tuple[UUID, UUID] | None:
    """(environment, project) of the live environment with that slug."""
    row = await connection.fetchrow(_BY_SLUG, organization_id, slug)
    return None if row is None else (row["id"], row["project_id"])


async def list_environments(
    connection: Connection, project_id: UUID, *, before: UUID | None, limit: int
) -> list[Environment]:
    """Newest first, older than `before`."""
    return [_environment(row) for row in await connection.fetch(_LIST, project_id, before, limit)]


async def read_steps(connection: Connection, environment_id: UUID) -> list[EnvironmentStep]:
    """Those of the phase that the environment is in, in the order in which they run."""
    rows = await connection.fetch(_STEPS, environment_id)
    return [_step(row) for row in rows]


async def mark_step(
    connection: Connection,
    environment_id: UUID,
    name: str,
    state: StepState,
    error: str | None = None,
    phase: Phase = Phase.PROVISION,
) -> None:
    """Record where a step stands; a step that is done is left alone."""
    await connection.execute(_STEP, environment_id, name, state.value, error, phase.value)


async def begin_phase(
    connection: Connection,
    environment_id: UUID,
    phase: Phase,
    to: Status,
    *,
    among: Sequence[Status],
    steps: Sequence[str],
) -> bool:
    """Move to a status and a phase with its steps pending; False when the status is not one of `among`."""
    states = [status.value for status in among]
    if await connection.fetchval(_BEGIN_PHASE, environment_id, phase.value, to.value, states) is None:
        return False
    await connection.execute(_PHASE_STEPS, environment_id, phase.value, list(steps))
    return True


async def bury(connection: Connection, environment_id: UUID) -> bool:
    """From `deleting` to a tombstone, without steps; its slug may be used again. False when it is not `deleting`."""
    if await connection.fetchval(_BURY, environment_id) is None:
        return False
    await connection.execute(_FORGET_STEPS, environment_id)
    return True


async def read_standing(connection: Connection, environment_id: UUID) -> tuple[Status, Phase] | None:
    """Status and phase as this transaction sees them; None when the environment is gone."""
    row = await connection.fetchrow(_STANDING, environment_id)
    return None if row is None else (Status(row["status"]), Phase(row["phase"]))


async def change_status(
    connection: Connection, environment_id: UUID, to: Status, *, among: Sequence[Status], reason: str | None = None
) -> bool:
    """Move the environment to a status if it is in one of `among`; False when it is not, or is gone."""
    value = await connection.fetchval(_STATUS, environment_id, to.value, reason, [status.value for status in among])
    return value is not None


def _environment(row: Any) -> Environment:
    fields = {name: row[name] for name in Environment.__struct_fields__}
    for name in ("limits", "retention"):
        fields[name] = msgspec.json.decode(fields[name], type=dict[str, int])
    return Environment(**(fields | {"posture": Posture(fields["posture"]), "status": Status(fields["status"])}))


def _step(row: Any) -> EnvironmentStep:
    fields = dict(row)
    return EnvironmentStep(**(fields | {"state": StepState(fields["state"]), "phase": Phase(fields["phase"])}))
