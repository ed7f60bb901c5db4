"""What there should be of every environment, for whoever compares it with what there is; and whose turn that is."""

from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.tenancy.model import Phase, Status

_TURN = """
update control.reconciliation set at = now()
where at <= now() - $1::float8 * interval '1 second' returning true
"""
# An environment's open jobs are looked at with it, in one snapshot.
_ALL = """
select e.id, e.organization_id, e.project_id, e.status, e.phase,
    array(
        select j.kind from control.platform_job j
        where j.state in ('queued', 'running') and j.environment_id = e.id
    ) as jobs,
    array(select s.name from control.environment_secret s where s.environment_id = e.id) as secrets
from control.environment e
"""


class Standing(msgspec.Struct, frozen=True):
    """One environment, tombstones included, with the kinds of its jobs that have not ended."""

    id: UUID
    organization_id: UUID
    project_id: UUID
    status: Status
    phase: Phase
    jobs: tuple[str, ...]
    secrets: tuple[str, ...]


async def take_turn(connection: Connection, seconds: float) -> bool:
    """True for one caller in so many seconds, whoever asks."""
    return await connection.fetchval(_TURN, seconds) is not None


async def read_standings(connection: Connection) -> dict[UUID, Standing]:
    """Every environment that ever was, by id."""
    return {
        row["id"]: Standing(
            row["id"],
            row["organization_id"],
            row["project_id"],
            Status(row["status"]),
            Phase(row["phase"]),
            tuple(row["jobs"]),
            tuple(row["secrets"]),
        )
        for row in await connection.fetch(_ALL)
    }
