"""What a live stream of events asks, as the environment's role (`Database.as_environment`). Errors come back sealed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from storage.postgres.database import Connection
from storage.postgres.subscription.fan_out import Other, other_of

_ERRORS = """
select job_id, error from control.job_end where environment_id = $1 and job_id = any ($2::uuid[]) and error is not null
"""
_OTHERS = """
select number, environment_id, type, data, at from control.environment_event
where environment_id = $1 and at > $2 order by at, number limit $3
"""


async def read_errors(connection: Connection, environment_id: UUID, job_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The sealed errors of jobs that ended with one."""
    rows = await connection.fetch(_ERRORS, environment_id, list(job_ids))
    return {row["job_id"]: bytes(row["error"]) for row in rows}


async def read_others(connection: Connection, environment_id: UUID, since: datetime, limit: int) -> list[Other]:
    """Events that are not jobs' after `since`, in their order: of the environment's status, of its subscriptions."""
    return [other_of(row) for row in await connection.fetch(_OTHERS, environment_id, since, limit)]
