"""Rows of control.bulk_replay: made with the list of its jobs, moved on in the transaction that keeps the new ones."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from storage.postgres.database import STATEMENT_SECONDS, Connection
from storage.postgres.ledger.listing import page_of
from storage.postgres.sql import load
from waypost.errors import invalid
from waypost.job.model import End, JobState
from waypost.job.record import JobFilter
from waypost.job.replay import MAX_SKIPS, BulkReplay, ReplayState, Skip

_PACKAGE = "storage.postgres.replay"
_ID_BYTES = 16
_COLUMNS = """
id, environment_id, state, matched, position, replayed, skipped, skips, selection, overrides, error, created_by,
traceparent, created_at, started_at, finished_at
"""
_GIVEN = "with page as materialized (select distinct unnest($3::uuid[]) as id)\n"
_INSERT = f"""
insert into control.bulk_replay (
    environment_id, id, job_ids, matched, selection, overrides, created_by, traceparent
) values ($1, $2, $3, $4, $5, $6, $7, $8) returning {_COLUMNS}
"""  # noqa: S608 - constants only
_READ = f"select {_COLUMNS} from control.bulk_replay where environment_id = $1 and id = $2"  # noqa: S608 - constants only
_LIST = f"""
select {_COLUMNS} from control.bulk_replay
where environment_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3
"""  # noqa: S608 - constants only
_CANCEL = f"""
update control.bulk_replay set state = 'canceled', finished_at = now()
where environment_id = $1 and id = $2 and state in ('queued', 'running') returning {_COLUMNS}
"""  # noqa: S608 - constants only
_BEGIN = f"""
update control.bulk_replay set state = 'running', started_at = coalesce(started_at, now())
where environment_id = $1 and id = $2 and state in ('queued', 'running') returning {_COLUMNS}
"""  # noqa: S608 - constants only
_SLICE = """
select substr(job_ids, $3 * 16 + 1, $4 * 16) from control.bulk_replay where environment_id = $1 and id = $2
"""
_HOLD = """
select true from control.bulk_replay
where environment_id = $1 and id = $2 and state = 'running' and position = $3 for update
"""
_ADVANCE = f"""
update control.bulk_replay set position = position + $3, replayed = replayed + $4, skipped = skipped + $5,
    skips = case when jsonb_array_length(skips) < {MAX_SKIPS} then skips || $6::jsonb else skips end
where environment_id = $1 and id = $2
"""  # noqa: S608 - constants only
_FINISH = """
update control.bulk_replay set state = $3, error = $4, finished_at = now()
where environment_id = $1 and id = $2 and state in ('queued', 'running')
"""

_skips = msgspec.json.Decoder(list[Skip])


class Chosen(msgspec.Struct, frozen=True):
    """A job of a selection; `state` None: it has not ended."""

    id: UUID
    state: JobState | None
    function: str


async def choose(connection: Connection, environment_id: UUID, wanted: JobFilter, limit: int) -> list[Chosen]:
    """The newest `limit` jobs that `wanted` lets through, oldest first. `connection` speaks as the environment.

    Raises 422 `selection_too_wide` when they cannot be found in time: a rare state in a long ledger.
    """
    page, values = page_of(wanted, limit, None)
    try:
        rows = await connection.fetch(page + load(_PACKAGE, "chosen"), environment_id, True, *values)
    except asyncpg.QueryCanceledError:
        raise invalid(
            "selection_too_wide",
            f"Looking for these jobs takes longer than {STATEMENT_SECONDS} s; narrow it down with created_after.",
            "/created_after",
        ) from None
    return _chosen(rows)


async def choose_given(connection: Connection, environment_id: UUID, ids: Sequence[UUID]) -> list[Chosen]:
    """Those of `ids` that the environment has, oldest first, each once."""
    return _chosen(await connection.fetch(_GIVEN + load(_PACKAGE, "chosen"), environment_id, True, list(ids)))


async def insert_replay(
    connection: Connection,
    environment_id: UUID,
    replay_id: UUID,
    job_ids: Sequence[UUID],
    *,
    selection: bytes,
    overrides: bytes | None,
    created_by: str,
    traceparent: str | None,
) -> BulkReplay:
    packed = b"".join(one.bytes for one in job_ids)
    values = (packed, len(job_ids), selection.decode(), overrides, created_by, traceparent)
    return _replay(await connection.fetchrow(_INSERT, environment_id, replay_id, *values))


async def read_replay(connection: Connection, environment_id: UUID, replay_id: UUID) -> BulkReplay | None:
    row = await connection.fetchrow(_READ, environment_id, replay_id)
    return None if row is None else _replay(row)


async def list_replays(
    connection: Connection, environment_id: UUID, *, before: UUID | None, limit: int
) -> list[BulkReplay]:
    """Newest first."""
    return [_replay(row) for row in await connection.fetch(_LIST, environment_id, before, limit)]


async def cancel_replay(connection: Connection, environment_id: UUID, replay_id: UUID) -> BulkReplay | None:
    """Canceled as it is now: no job more is replayed after the commit. None when it has ended, or never was."""
    row = await connection.fetchrow(_CANCEL, environment_id, replay_id)
    return None if row is None else _replay(row)


async def begin_replay(connection: Connection, environment_id: UUID, replay_id: UUID) -> BulkReplay | None:
    """The replay, running; None when it has ended."""
    row = await connection.fetchrow(_BEGIN, environment_id, replay_id)
    return None if row is None else _replay(row)


async def next_jobs(connection: Connection, replay: BulkReplay, limit: int) -> list[UUID]:
    """Up to `limit` of its jobs that are not decided, in order."""
    packed = await connection.fetchval(_SLICE, replay.environment_id, replay.id, replay.position, limit)
    return [UUID(bytes=packed[at : at + _ID_BYTES]) for at in range(0, len(packed or b""), _ID_BYTES)]


async def hold_replay(connection: Connection, replay: BulkReplay) -> bool:
    """Whether it still stands where `replay` says; its row is held until the commit."""
    return await connection.fetchval(_HOLD, replay.environment_id, replay.id, replay.position) is True


async def advance_replay(connection: Connection, replay: BulkReplay, replayed: int, skips: Sequence[Skip]) -> None:
    """So many jobs more are decided; the caller holds the row."""
    told = msgspec.json.encode(skips[:MAX_SKIPS]).decode()
    count = replayed + len(skips)
    await connection.execute(_ADVANCE, replay.environment_id, replay.id, count, replayed, len(skips), told)


async def finish_replay(
    connection: Connection, environment_id: UUID, replay_id: UUID, state: ReplayState, error: str | None = None
) -> None:
    """Its end, unless it has one."""
    await connection.execute(_FINISH, environment_id, replay_id, state.value, error)


def _chosen(rows: Sequence[Any]) -> list[Chosen]:
    return [
        Chosen(row["id"], None if row["state"] is None else End(row["state"]).state, row["function"]) for row in rows
    ]


def _replay(row: Any) -> BulkReplay:
    fields = dict(row)
    selection = msgspec.Raw(fields["selection"].encode())
    changed = {"state": ReplayState(fields["state"]), "skips": _skips.decode(fields["skips"]), "selection": selection}
    return BulkReplay(**(fields | changed))
