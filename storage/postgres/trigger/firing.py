"""Firings: written in batches, listed newest first.

The id of an accepted firing is its job's. So a job of a trigger whose firing was never written (the process died before
its batch went out) is listed as an accepted firing all the same: nothing but its request headers is lost.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.ids import first_id_at, instant_of
from waypost.trigger.model import Firing, FiringFilter, Outcome

_INSERT = """
insert into control.firing (environment_id, trigger_id, id, at, outcome, job_id, detail, headers)
select environment_id, trigger_id, id, at, outcome, job_id, detail, headers::jsonb
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::text[], $6::uuid[], $7::text[], $8::text[])
    as f(environment_id, trigger_id, id, at, outcome, job_id, detail, headers)
on conflict do nothing
"""
# Ids bound the time of jobs and, but for catching up, of firings: a firing is written when it happens.
_LIST = """
select id, at, outcome, job_id, detail, headers from control.firing
where environment_id = $1 and trigger_id = $2 and ($3::uuid is null or id < $3)
    and ($5::text[] is null or outcome = any ($5))
    and ($6::timestamptz is null or at >= $6) and ($7::timestamptz is null or at < $7)
order by id desc limit $4
"""
_JOBS = """
select id from control.job
where environment_id = $1 and trigger_id = $2 and ($3::uuid is null or id < $3)
    and ($5::uuid is null or id >= $5) and ($6::uuid is null or id < $6)
order by id desc limit $4
"""
_KNOWN = """
select id from control.firing where environment_id = $1 and trigger_id = $2 and id = any ($3::uuid[])
"""


async def insert_firings(connection: Connection, firings: Sequence[Firing]) -> None:
    """Keep a batch in one statement; one that is there already stays as it is."""
    rows = [(f.environment_id, f.trigger_id, f.id, f.at, f.outcome.value, f.job_id, f.detail, _text(f.headers))
            for f in firings]  # fmt: skip
    await connection.execute(_INSERT, *(list(column) for column in zip(*rows, strict=True)))


async def list_firings(
    connection: Connection,
    environment_id: UUID,
    trigger_id: UUID,
    wanted: FiringFilter,
    *,
    before: UUID | None,
    limit: int,
) -> list[Firing]:
    """Newest first, older than `before`. `connection` speaks as the environment's role."""
    outcomes = [outcome.value for outcome in wanted.outcomes] or None
    rows = await connection.fetch(
        _LIST, environment_id, trigger_id, before, limit, outcomes, wanted.since, wanted.until
    )
    found = [_firing(environment_id, trigger_id, row) for row in rows]
    if wanted.outcomes and Outcome.ACCEPTED not in wanted.outcomes:
        return found
    lost = await _of_jobs(connection, environment_id, trigger_id, wanted, before, limit)
    if not lost:
        return found
    return sorted([*found, *lost], key=lambda firing: firing.id, reverse=True)[:limit]


async def _of_jobs(
    connection: Connection,
    environment_id: UUID,
    trigger_id: UUID,
    wanted: FiringFilter,
    before: UUID | None,
    limit: int,
) -> list[Firing]:
    """Firings that only their jobs tell of."""
    bounds = _id_at(wanted.since), _id_at(wanted.until)
    jobs = [row["id"] for row in await connection.fetch(_JOBS, environment_id, trigger_id, before, limit, *bounds)]
    if not jobs:
        return []
    known = {row["id"] for row in await connection.fetch(_KNOWN, environment_id, trigger_id, jobs)}
    return [
        Firing(job, environment_id, trigger_id, instant_of(job), Outcome.ACCEPTED, job)
        for job in jobs
        if job not in known
    ]


def _id_at(instant: datetime | None) -> UUID | None:
    return None if instant is None else first_id_at(instant)


def _text(headers: Any) -> str | None:
    return None if headers is None else msgspec.json.encode(headers).decode()


def _firing(environment_id: UUID, trigger_id: UUID, row: Any) -> Firing:
    headers = None if row["headers"] is None else msgspec.json.decode(row["headers"], type=dict[str, str])
    return Firing(
        row["id"], environment_id, trigger_id, row["at"], Outcome(row["outcome"]), row["job_id"], row["detail"], headers
    )
