"""Artifacts of one environment whose time is over and that nothing refers to.

An artifact is hidden (its row goes, its object becomes garbage, in one commit), then its object is deleted, then the
garbage's row: no crash leaves an object that nobody knows, nor a row that promises what is gone.
"""

from datetime import datetime
from uuid import UUID

from storage.postgres.artifact import change
from storage.postgres.artifact.row import read_artifact
from storage.postgres.database import Connection, Database
from waypost.artifact.model import ArtifactState
from waypost.ids import NIL

LIMIT = 200

# As `references` of storage.postgres.artifact.row: a job holds an artifact until it ends, other things until they go.
_PINNED = """
exists (
    select from control.artifact_reference r where r.environment_id = $1 and r.artifact_id = a.id
        and (r.kind <> 'job' or r.created_at > now() - interval '1 minute' or (
            exists (select from control.job j where j.environment_id = $1 and j.id = r.id)
            and not exists (select from control.job_end e where e.environment_id = $1 and e.job_id = r.id)
        ))
) or a.job_id is not null and exists (
    select from control.job j where j.environment_id = $1 and j.id = a.job_id
) and not exists (select from control.job_end e where e.environment_id = $1 and e.job_id = a.job_id)
"""
_OLD = f"""
select a.id from control.artifact a
where a.environment_id = $1 and a.id > $2 and a.state <> 'uploading' and (a.expires_at < now() or a.created_at < $3)
    and not ({_PINNED})
order by a.id limit $4
"""  # noqa: S608 - constants only
_STILL = f"""
select not ({_PINNED}) from control.artifact a where a.environment_id = $1 and a.id = $2
"""  # noqa: S608 - constants only


async def delete_artifacts(
    database: Database, environment_id: UUID, before: datetime, after: UUID = NIL
) -> tuple[int, UUID | None]:
    """Hide the next artifacts that have expired, or were made before an instant; how many, and after which to go on."""
    async with database.unit() as connection:
        rows = await connection.fetch(_OLD, environment_id, after, before, LIMIT)
    gone = 0
    for row in rows:
        async with database.unit() as connection:
            gone += await _delete(connection, environment_id, row["id"])
    return gone, rows[-1]["id"] if len(rows) == LIMIT else None


async def _delete(connection: Connection, environment_id: UUID, artifact_id: UUID) -> bool:
    """Whoever refers to it meanwhile waits for this row's lock, or has made it stay."""
    artifact = await read_artifact(connection, environment_id, artifact_id, lock=True)
    if artifact is None or artifact.state is ArtifactState.UPLOADING:
        return False
    if not await connection.fetchval(_STILL, environment_id, artifact_id):
        return False
    await change.delete(connection, artifact)
    return True
