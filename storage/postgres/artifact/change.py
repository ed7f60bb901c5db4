"""Changing artifacts: keeping one, sharing content, settling ingest, deleting.

The row of the blob is the lock of its content: whoever keeps the same content at the same moment waits for the first
and finds its artifact. What no row names any more is garbage from the same transaction on, never an unknown object.
"""

from uuid import UUID

import msgspec

from storage.postgres.artifact.row import COLUMNS, artifact_of
from storage.postgres.database import Connection, Database
from waypost.artifact.decision import reference_in, references_within, unknown_reference
from waypost.artifact.model import Artifact, ArtifactState, Reason, object_key
from waypost.job.decision import not_taking
from waypost.tenancy.model import Status

# Held until the transaction ends, so that nothing is kept in an environment whose rows are being deleted.
_TAKES = "select status from control.environment where id = $1 for share"
# The update changes nothing: it takes the row's lock and shows the row that is there.
_HOLD_BLOB = """
insert into control.artifact_blob as b (environment_id, id, sha256, size_bytes, refs) values ($1, $2, $3, $4, 0)
on conflict (environment_id, sha256) do update set refs = b.refs returning b.id
"""
_SHARE = "update control.artifact_blob set refs = refs + $3 where environment_id = $1 and id = $2 returning refs"
_FIRST = f"""
select {COLUMNS} from control.artifact
where environment_id = $1 and object = $2 and type = $3 and verified and state <> 'uploading' order by id limit 1
"""  # noqa: S608 - constants only
_KNOWN = f"""
select {COLUMNS} from control.artifact a
where environment_id = $1 and sha256 = $2 and size_bytes = $3 and type = $4 and verified and state <> 'uploading'
order by id limit 1
"""  # noqa: S608 - constants only
_INSERT = f"""
insert into control.artifact (
    environment_id, id, type, name, state, object, verified, sha256, size_bytes, declared_content_type, labels,
    captured_at, job_id, upload_id, part_size_bytes, created_by, expires_at
) values (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, now() + $17::float8 * interval '1 second'
) returning {COLUMNS}
"""  # noqa: S608 - constants only
_RECEIVED = f"""
update control.artifact set state = 'received', upload_id = null, updated_at = now(),
    expires_at = now() + $3::float8 * interval '1 second'
where environment_id = $1 and id = $2 and state = 'uploading' returning {COLUMNS}
"""  # noqa: S608 - constants only
_SETTLE = """
update control.artifact set state = $3, reasons = $4, facts = $5, content_type = $6, spec_hash = $7, object = $8,
    verified = $9, updated_at = now()
where environment_id = $1 and id = $2 and state = 'received' returning true
"""
_DELETE = "delete from control.artifact where environment_id = $1 and id = $2"
_DROP_BLOB = "delete from control.artifact_blob where environment_id = $1 and id = $2 and refs = 0"
_GARBAGE = """
insert into control.artifact_garbage (environment_id, object_key, upload_id) values ($1, $2, $3)
on conflict (environment_id, object_key) do nothing
"""
_FORGET_GARBAGE = "delete from control.artifact_garbage where environment_id = $1 and object_key = $2"
_REFER = """
insert into control.artifact_reference (environment_id, artifact_id, kind, id)
select $1, a.id, $3, $4 from control.artifact a
where a.environment_id = $1 and a.id = $2 and a.state in ('received', 'ingested') for key share
on conflict do nothing
"""
# Those that are there: what else a payload holds is its function's business.
_REFER_ALL = """
insert into control.artifact_reference (environment_id, artifact_id, kind, id)
select $1, a.id, $3, $4 from control.artifact a
where a.environment_id = $1 and a.id = any ($2::uuid[]) and a.state in ('received', 'ingested')
order by a.id for key share
on conflict do nothing
"""
_STANDS = """
select from control.artifact where environment_id = $1 and id = $2 and state in ('received', 'ingested')
"""


async def keep(connection: Connection, new: Artifact, seconds: float) -> tuple[Artifact, bool]:
    """Keep an artifact whose content was verified while it came; expires in so many seconds.

    Answers the artifact of this content and type, and whether it is this one. If the content was known, `new.object` is
    garbage now; the caller may delete it at once. Raises 409 when the environment takes nothing any more.
    """
    environment_id = new.environment_id
    await _hold_environment(connection, environment_id)
    blob = await connection.fetchval(_HOLD_BLOB, environment_id, new.object, new.sha256, new.size_bytes)
    if blob != new.object:
        await connection.execute(_GARBAGE, environment_id, object_key(new.object), None)
        first = await connection.fetchrow(_FIRST, environment_id, blob, new.type)
        if first is not None:
            return artifact_of(first), False
    await connection.execute(_SHARE, environment_id, blob, 1)
    return await _insert(connection, msgspec.structs.replace(new, object=blob), seconds), True


async def find_known(
    connection: Connection, environment_id: UUID, sha256: bytes, size_bytes: int, kind: str
) -> Artifact | None:
    """The first artifact of this content and type that was verified."""
    row = await connection.fetchrow(_KNOWN, environment_id, sha256, size_bytes, kind)
    return None if row is None else artifact_of(row)


async def begin_upload(connection: Connection, new: Artifact, seconds: float) -> Artifact:
    """Keep an artifact whose content is still to come; given up after so many seconds. Raises 409 as `keep`."""
    await _hold_environment(connection, new.environment_id)
    return await _insert(connection, new, seconds)


async def mark_received(
    connection: Connection, environment_id: UUID, artifact_id: UUID, seconds: float
) -> Artifact | None:
    """The content of an upload is there, unverified; None when the artifact was not uploading."""
    row = await connection.fetchrow(_RECEIVED, environment_id, artifact_id, seconds)
    return None if row is None else artifact_of(row)


async def settle(
    connection: Connection,
    artifact: Artifact,
    state: ArtifactState,
    *,
    reasons: tuple[Reason, ...] = (),
    facts: dict[str, object] | None = None,
    content_type: str | None = None,
    spec_hash: str | None = None,
    intact: bool = True,
) -> bool:
    """What ingest found, once; False when it was settled before. `intact`: the content is what was declared.

    Content that nobody had verified becomes a blob now, or is given up for the one that is there.
    """
    environment_id, found, verified = artifact.environment_id, artifact.object, artifact.verified
    if intact and not verified:
        blob = await connection.fetchval(_HOLD_BLOB, environment_id, found, artifact.sha256, artifact.size_bytes)
        found, verified = blob, True
    kept = await connection.fetchval(
        _SETTLE, environment_id, artifact.id, state.value, _json(reasons), _json(facts or {}), content_type, spec_hash,
        found, verified,
    )  # fmt: skip
    if kept and verified and not artifact.verified:
        await connection.execute(_SHARE, environment_id, found, 1)
        if found != artifact.object:
            await connection.execute(_GARBAGE, environment_id, artifact.object_key, None)
    elif not kept:
        await connection.execute(_DROP_BLOB, environment_id, found)
    return bool(kept)


async def delete(connection: Connection, artifact: Artifact) -> None:
    """Delete a row that the caller holds locked, and its content unless another artifact shares it."""
    environment_id = artifact.environment_id
    await connection.execute(_DELETE, environment_id, artifact.id)
    if artifact.verified:
        if await connection.fetchval(_SHARE, environment_id, artifact.object, -1) != 0:
            return
        await connection.execute(_DROP_BLOB, environment_id, artifact.object)
    await connection.execute(_GARBAGE, environment_id, artifact.object_key, artifact.upload_id)


async def forget_garbage(connection: Connection, environment_id: UUID, key: str) -> None:
    """The bucket has forgotten it too."""
    await connection.execute(_FORGET_GARBAGE, environment_id, key)


async def refer(connection: Connection, environment_id: UUID, artifact_id: UUID, kind: str, identifier: UUID) -> bool:
    """Note that something refers to an artifact; False when there is no such artifact, or it was rejected."""
    await connection.execute(_REFER, environment_id, artifact_id, kind, identifier)
    return await connection.fetchrow(_STANDS, environment_id, artifact_id) is not None


async def hold_payload(database: Database, environment_id: UUID, payload: bytes, job_id: UUID) -> None:
    """Note which artifacts a job's payload is or contains, before the job is there: they stay until it ends.

    What the payload stands for must be had, else 422 `unknown_artifact`; of what it contains, what is there is held.
    """
    whole, within = reference_in(payload), references_within(payload)
    if whole is None and not within:
        return
    async with database.unit() as connection:
        if whole is None:
            await connection.execute(_REFER_ALL, environment_id, within, "job", job_id)
        elif not await refer(connection, environment_id, whole, "job", job_id):
            raise unknown_reference()


async def _hold_environment(connection: Connection, environment_id: UUID) -> None:
    status = Status(await connection.fetchval(_TAKES, environment_id) or Status.DELETED.value)
    if status not in (Status.READY, Status.SUSPENDED):
        raise not_taking(status)


async def _insert(connection: Connection, new: Artifact, seconds: float) -> Artifact:
    row = await connection.fetchrow(
        _INSERT, new.environment_id, new.id, new.type, new.name, new.state.value, new.object, new.verified, new.sha256,
        new.size_bytes, new.declared_content_type, _json(new.labels), new.captured_at, new.job_id, new.upload_id,
        new.part_size_bytes, new.created_by, seconds,
    )  # fmt: skip
    return artifact_of(row)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
