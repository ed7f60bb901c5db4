"""Rows of artifacts as records, and reading them. Lists are read as the environment's role."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.artifact.model import Artifact, ArtifactState, Reason, Reference

COLUMNS = (
    "environment_id, id, type, name, state, object, verified, sha256, size_bytes, content_type, declared_content_type, "
    "reasons, facts, spec_hash, labels, captured_at, job_id, upload_id, part_size_bytes, created_by, created_at, "
    "updated_at, expires_at"
)
_READ = f"select {COLUMNS} from control.artifact where environment_id = $1 and id = $2"  # noqa: S608 - constants only
_LIST = f"""
select {COLUMNS} from control.artifact
where environment_id = $1 and ($2::uuid is null or id < $2)
    and ($3::text[] is null or type = any ($3)) and ($4::text[] is null or state = any ($4))
    and ($5::bytea is null or sha256 = $5) and ($6::uuid is null or job_id = $6)
    and ($7::jsonb is null or labels @> $7) and ($8::timestamptz is null or created_at >= $8)
    and ($9::timestamptz is null or created_at < $9) and ($10::text is null or spec_hash = $10)
    and ($12::jsonb is null or facts -> 'fields' @> $12)
order by id desc limit $11
"""  # noqa: S608 - constants only
# A job holds what its payload is until it ends (from a minute before it is there, as that is noted first), and what it
# put while it runs; other things hold until they are gone.
_REFERENCES = """
with found as (
    select r.kind, r.id, r.created_at > now() - interval '1 minute' as fresh from control.artifact_reference r
    where r.environment_id = $1 and r.artifact_id = $2
    union all
    select 'job', a.job_id, false from control.artifact a
    where a.environment_id = $1 and a.id = $2 and a.job_id is not null and not exists (
        select from control.artifact_reference r
        where r.environment_id = $1 and r.artifact_id = $2 and r.kind = 'job' and r.id = a.job_id
    )
)
select f.kind, f.id, f.kind <> 'job' or not exists (
        select from control.job_end e where e.environment_id = $1 and e.job_id = f.id
    ) as holds
from found f
where f.kind <> 'job' or f.fresh or exists (select from control.job j where j.environment_id = $1 and j.id = f.id)
order by f.id desc limit $3
"""

_reasons = msgspec.json.Decoder(tuple[Reason, ...])
_document = msgspec.json.Decoder(dict[str, Any])
_labels = msgspec.json.Decoder(dict[str, str])


class Filter(msgspec.Struct, frozen=True):
    """What a list is narrowed to; None: not at all."""

    types: Sequence[str] | None = None
    states: Sequence[str] | None = None
    sha256: bytes | None = None
    job_id: UUID | None = None
    labels: dict[str, str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    spec_hash: str | None = None
    fields: dict[str, str] | None = None  # of what ingest found


async def read_artifact(
    connection: Connection, environment_id: UUID, artifact_id: UUID, *, lock: bool = False
) -> Artifact | None:
    """One artifact; with `lock` nobody else changes it until the transaction ends."""
    row = await connection.fetchrow(_READ + (" for update" if lock else ""), environment_id, artifact_id)
    return None if row is None else artifact_of(row)


async def list_artifacts(
    connection: Connection, environment_id: UUID, wanted: Filter, *, before: UUID | None, limit: int
) -> list[Artifact]:
    """Newest first, older than `before`."""
    labels, fields = (
        msgspec.json.encode(pairs).decode() if pairs else None for pairs in (wanted.labels, wanted.fields)
    )
    rows = await connection.fetch(
        _LIST, environment_id, before, wanted.types, wanted.states, wanted.sha256, wanted.job_id, labels,
        wanted.created_after, wanted.created_before, wanted.spec_hash, limit, fields,
    )  # fmt: skip
    return [artifact_of(row) for row in rows]


async def references(
    connection: Connection, environment_id: UUID, artifact_id: UUID, limit: int = 100
) -> list[Reference]:
    """What refers to it, newest first."""
    rows = await connection.fetch(_REFERENCES, environment_id, artifact_id, limit)
    return [Reference(row["kind"], row["id"], row["holds"]) for row in rows]


def artifact_of(row: Any) -> Artifact:
    """A row of `COLUMNS`."""
    fields = dict(row)
    fields["state"] = ArtifactState(fields["state"])
    fields["sha256"] = bytes(fields["sha256"])
    fields["reasons"] = _reasons.decode(fields["reasons"])
    fields["facts"] = _document.decode(fields["facts"])
    fields["labels"] = _labels.decode(fields["labels"])
    return Artifact(**fields)
