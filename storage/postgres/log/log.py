"""Keeping what attempts say, and reading it. Lines of an attempt are numbered from 0; a chunk is known by its first."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from storage.postgres.database import Connection, Database
from storage.postgres.sql import load
from waypost.job.record import AttemptLog, LogPiece

_PACKAGE = "storage.postgres.log"
_STANDING = """
select number, lines, bytes, dropped_lines + lost_lines as dropped_lines, closed from control.attempt_log
where environment_id = $1 and job_id = $2 order by number
"""
_LIMITS = """
select e.id, e.limits, o.limits as organization_limits
from control.environment e join control.organization o on o.id = e.organization_id where e.id = any ($1::uuid[])
"""


class Chunk(msgspec.Struct, frozen=True):
    """Lines on their way into a row, sealed under `job:<job>:log:<number>:<first line>`."""

    environment_id: UUID
    job_id: UUID
    number: int
    first_line: int
    lines: bytes


class Standing(msgspec.Struct, frozen=True):
    """How an attempt's log stands with its chunks: sums from its beginning."""

    environment_id: UUID
    job_id: UUID
    number: int
    lines: int
    bytes: int
    dropped_lines: int
    closed: bool


async def keep_logs(database: Database, chunks: Sequence[Chunk], standings: Sequence[Standing]) -> None:
    """Keep chunks and standings, one of each attempt, in one commit. Repeating it changes nothing."""
    columns = [_columns(chunks, Chunk), _columns(standings, Standing)]
    async with database.unit() as connection:
        await connection.execute(load(_PACKAGE, "keep"), *columns[0], *columns[1])


async def read_pieces(
    connection: Connection, environment_id: UUID, job_id: UUID, attempt: int | None, start: tuple[int, int], limit: int
) -> list[LogPiece]:
    """Up to `limit` pieces in order, from the one that holds line `start` (attempt, line) on."""
    rows = await connection.fetch(load(_PACKAGE, "chunk"), environment_id, job_id, attempt, *start, limit)
    return [LogPiece(**dict(row)) for row in rows]


async def read_standings(connection: Connection, environment_id: UUID, job_id: UUID) -> list[AttemptLog]:
    """Of every attempt that said anything, in order."""
    return [AttemptLog(**dict(row)) for row in await connection.fetch(_STANDING, environment_id, job_id)]


async def read_limits(
    database: Database, environment_ids: Sequence[UUID]
) -> dict[UUID, tuple[dict[str, int], dict[str, int]]]:
    """By environment: what is set for its organization, and for itself."""
    async with database.unit() as connection:
        rows = await connection.fetch(_LIMITS, list(environment_ids))
    decode = msgspec.json.Decoder(dict[str, int]).decode
    return {row["id"]: (decode(row["organization_limits"]), decode(row["limits"])) for row in rows}


def _columns(rows: Sequence[msgspec.Struct], kind: type[msgspec.Struct]) -> list[list[object]]:
    return [[getattr(row, name) for row in rows] for name in kind.__struct_fields__]
