"""What lies in a bucket and what the rows say, brought together: garbage deleted, orphans found, lost content told.

Garbage is named by rows and goes soon. Orphans are found by listing the bucket, once a day and environment: objects
that no row names (their writer died between the two writes), and content whose object is gone. Young ones are left
alone: somebody may be about to name them. An object goes first, its row after it, so that a crash in between is mended
by the next look. Refuses: keys it does not know.
"""

from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from storage.objects.artifact import Listed
from storage.postgres.artifact import change
from storage.postgres.artifact.row import read_artifact
from storage.postgres.database import Connection, Database
from storage.postgres.platform.job import ensure_platform_job
from waypost.artifact.model import INGEST, OBJECT_PREFIX, ArtifactState
from waypost.errors import Category, WaypostError
from waypost.ids import new_id, parse_id

JOB_PREFIX = "jobs/"
ORPHAN_AGE = timedelta(hours=24)  # decision 18
LIMIT = 200
FORGOTTEN_SECONDS = 3_600.0

_log = structlog.get_logger("storage.artifact")

_GARBAGE = """
select environment_id, object_key, upload_id from control.artifact_garbage
where $1::uuid is null or environment_id = $1 order by since limit $2
"""
_GIVEN_UP = """
select environment_id, id from control.artifact where state = 'uploading' and expires_at < now() limit $1
"""
# Received long ago, and no job that would look at it: its attempts were used up while a server was away.
_FORGOTTEN = """
select a.environment_id, a.id from control.artifact a
join control.environment e on e.id = a.environment_id and e.status in ('ready', 'suspended')
where a.state = 'received' and a.updated_at < now() - $1::float8 * interval '1 second'
    and not exists (
        select from control.platform_job j where j.kind = $2 and j.subject = a.id and j.state in ('queued', 'running')
    )
limit $3
"""
_NAMED = """
select k.key from unnest($2::text[], $3::uuid[]) as k (key, id)
where exists (select from control.artifact_blob b where b.environment_id = $1 and b.id = k.id)
    or exists (select from control.artifact a where a.environment_id = $1 and a.object = k.id)
"""
# A submission's payload is put before its row, a result's object before its end.
_NAMED_OF_JOBS = """
select k.key from unnest($2::text[], $3::uuid[]) as k (key, id)
where exists (select from control.job j where j.environment_id = $1 and j.id = k.id)
"""
_BLOBS = """
select id, size_bytes from control.artifact_blob
where environment_id = $1 and id > $2 and created_at < now() - $3::float8 * interval '1 second' order by id limit 1000
"""
_LOST = """
update control.artifact set state = 'rejected', updated_at = now(), verified = false,
    reasons = reasons || '[{"code": "content_lost", "message": "The content is no longer in the object store."}]'
where environment_id = $1 and object = $2 and verified returning id
"""
_DROP_LOST = "delete from control.artifact_blob where environment_id = $1 and id = $2"
_DUE = """
with fresh as (
    insert into control.artifact_audit (environment_id)
    select e.id from control.environment e where e.status in ('ready', 'suspended') and e.deleted_at is null
        and not exists (select from control.artifact_audit a where a.environment_id = e.id)
    limit $1 on conflict do nothing
), due as (
    select a.environment_id from control.artifact_audit a
    join control.environment e on e.id = a.environment_id and e.status in ('ready', 'suspended')
    where a.next_at <= now() order by a.next_at limit $1 for update of a skip locked
)
update control.artifact_audit a set next_at = now() + $2::float8 * interval '1 second'
from due where a.environment_id = due.environment_id returning a.environment_id
"""


class Objects(Protocol):
    """What is used of the object store."""

    async def delete(self, environment_id: UUID, key: str) -> None: ...
    async def abort_parts(self, environment_id: UUID, key: str, upload_id: str) -> None: ...
    async def size(self, environment_id: UUID, key: str) -> int | None: ...
    def list(self, environment_id: UUID, prefix: str) -> AsyncIterator[list[Listed]]: ...


class Mended(msgspec.Struct, frozen=True):
    """What a look at one bucket came to."""

    orphans: int = 0  # objects without row, deleted
    lost: int = 0  # artifacts whose content is gone, rejected


async def collect(database: Database, objects: Objects, environment_id: UUID | None = None) -> int:
    """Delete garbage, of one environment or of all; answers how much of it went. Raises `unavailable`."""
    async with database.unit() as connection:
        rows = await connection.fetch(_GARBAGE, environment_id, LIMIT)
    gone = 0
    for row in rows:
        owner, key = row["environment_id"], row["object_key"]
        try:
            if row["upload_id"] is not None:
                await objects.abort_parts(owner, key, row["upload_id"])
            await objects.delete(owner, key)
        except WaypostError as error:
            if error.retryable:
                raise
            if error.category is not Category.NOT_FOUND:  # an environment that is gone took its bucket with it
                _log.warning("artifact.garbage_stays", environment=str(owner), error=error.code)
                continue
        async with database.unit() as connection:
            await change.forget_garbage(connection, owner, key)
        gone += 1
    return gone


async def give_up_uploads(database: Database, limit: int = LIMIT) -> int:
    """Delete artifacts whose content did not come in time."""
    async with database.unit() as connection:
        rows = await connection.fetch(_GIVEN_UP, limit)
    for row in rows:
        async with database.unit() as connection:
            artifact = await read_artifact(connection, row["environment_id"], row["id"], lock=True)
            if artifact is not None and artifact.state is ArtifactState.UPLOADING:
                await change.delete(connection, artifact)
    return len(rows)


async def queue_forgotten(database: Database, seconds: float = FORGOTTEN_SECONDS, limit: int = LIMIT) -> int:
    """Queue `artifact.ingest` again for what was received so long ago and waits for nobody; answers how many."""
    async with database.unit() as connection:
        rows = await connection.fetch(_FORGOTTEN, seconds, INGEST, limit)
        for row in rows:
            await ensure_platform_job(connection, new_id(), INGEST, row["environment_id"], row["id"])
    return len(rows)


async def take_due(connection: Connection, most: int, seconds: float) -> list[UUID]:
    """Environments whose buckets are to be compared now; each is due again after so many seconds."""
    return [row["environment_id"] for row in await connection.fetch(_DUE, most, seconds)]


async def mend(database: Database, objects: Objects, environment_id: UUID, age: timedelta = ORPHAN_AGE) -> Mended:
    """Compare one bucket with its rows, both ways; what is younger than `age` is left alone."""
    orphans = 0
    for prefix, statement in ((OBJECT_PREFIX, _NAMED), (JOB_PREFIX, _NAMED_OF_JOBS)):
        async for page in objects.list(environment_id, prefix):
            async with database.unit() as connection:
                found = await _orphans(connection, environment_id, statement, prefix, page, age)
            for key in found:
                await objects.delete(environment_id, key)
            orphans += len(found)
    return Mended(orphans, await _mend_rows(database, objects, environment_id, age))


async def _orphans(
    connection: Connection, environment_id: UUID, statement: str, prefix: str, page: Iterable[Listed], age: timedelta
) -> list[str]:
    """Keys of old objects that no row names, by Postgres' clock."""
    before = await connection.fetchval("select now() - $1::interval", age)
    old = {one.key: _owner(one.key, prefix) for one in page if one.modified_at < before}
    known = {key: owner for key, owner in old.items() if owner is not None}
    rows = await connection.fetch(statement, environment_id, list(known), list(known.values()))
    return sorted(known.keys() - {row["key"] for row in rows})


async def _mend_rows(database: Database, objects: Objects, environment_id: UUID, age: timedelta) -> int:
    """Reject artifacts whose content is gone, and let their content be uploaded anew."""
    lost, after = 0, UUID(int=0)
    while True:
        async with database.unit() as connection:
            blobs = await connection.fetch(_BLOBS, environment_id, after, age.total_seconds())
        for row in blobs:
            if await objects.size(environment_id, f"{OBJECT_PREFIX}{row['id']}") is None:
                async with database.unit() as connection:
                    lost += len(await connection.fetch(_LOST, environment_id, row["id"]))
                    await connection.execute(_DROP_LOST, environment_id, row["id"])
        if len(blobs) < 1_000:
            return lost
        after = blobs[-1]["id"]


def _owner(key: str, prefix: str) -> UUID | None:
    """The id in `artifacts/<id>` or `jobs/<id>/…`."""
    return parse_id(key.removeprefix(prefix).partition("/")[0])
