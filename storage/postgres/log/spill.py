"""Moving the older lines of long logs from rows into the bucket: 64 KiB of an attempt stay in rows (decision 18).

The object is put first, under a key of its own; then, in one commit, it is named and the rows go. Whoever comes second
finds it named, and deletes its own. Where the environment's storage is full the lines are given up, and counted.
"""

import secrets
from typing import Any, Protocol
from uuid import UUID

import msgspec

from storage.postgres.database import Connection, Database
from waypost.job.record import log_place

INLINE_BYTES = 64 << 10  # of an attempt stay in rows
LONG_BYTES = 131_072  # as the index attempt_log_long says
MAX_OBJECT_BYTES = 4 << 20
LIMIT = 50  # attempts a look

_LONG = """
select environment_id, job_id, number from control.attempt_log where inline_bytes > 131072
order by environment_id, job_id, number limit $1
"""
_CHUNKS = """
select sequence, octet_length(lines) as bytes from control.job_log
where environment_id = $1 and job_id = $2 and number = $3 order by sequence
"""
_LINES = """
select sequence, lines from control.job_log
where environment_id = $1 and job_id = $2 and number = $3 and sequence = any ($4::int[]) order by sequence
"""
_NAME = """
insert into control.log_object (environment_id, job_id, number, first_line, lines, object_key)
values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning true
"""
_FORGET = """
with gone as (
    delete from control.job_log
    where environment_id = $1 and job_id = $2 and number = $3 and sequence = any ($4::int[])
    returning octet_length(lines) as bytes
)
update control.attempt_log set lost_lines = lost_lines + $5,
    inline_bytes = inline_bytes - (select coalesce(sum(bytes), 0) from gone)
where environment_id = $1 and job_id = $2 and number = $3
"""
# Rows went without this (the job's week was dropped): the sum is put right.
_SUM = """
update control.attempt_log l set inline_bytes = (
    select coalesce(sum(octet_length(g.lines)), 0) from control.job_log g
    where g.environment_id = $1 and g.job_id = $2 and g.number = $3
) where l.environment_id = $1 and l.job_id = $2 and l.number = $3
"""


class Objects(Protocol):
    """What is used of the object store."""

    async def put(self, environment_id: UUID, key: str, data: bytes) -> None: ...
    async def delete(self, environment_id: UUID, key: str) -> None: ...


class Seal(Protocol):
    def seal(self, place: str, plaintext: bytes) -> bytes: ...
    def open(self, place: str, sealed: bytes) -> bytes: ...


class Long(msgspec.Struct, frozen=True):
    """An attempt with more in rows than stays there."""

    environment_id: UUID
    job_id: UUID
    number: int


async def long_logs(connection: Connection, limit: int = LIMIT) -> list[Long]:
    return [Long(**dict(row)) for row in await connection.fetch(_LONG, limit)]


async def spill(database: Database, objects: Objects, key: Seal, one: Long, room_bytes: int) -> int:
    """Move one object's worth of the attempt's oldest lines; answers its bytes, 0 when nothing was put.

    `room_bytes`: what the environment may still put. Raises `unavailable`.
    """
    where = one.environment_id, one.job_id, one.number
    async with database.unit() as connection:
        chosen = _oldest(await connection.fetch(_CHUNKS, *where))
        if not chosen:
            await connection.execute(_SUM, *where)
            return 0
        rows = await connection.fetch(_LINES, *where, chosen)
    if not rows:
        return 0
    first, lines = rows[0]["sequence"], _joined(key, one, rows)
    sealed = key.seal(log_place(one.job_id, one.number, first, in_bucket=True), msgspec.json.encode(lines))
    taken = [row["sequence"] for row in rows]
    if len(sealed) > room_bytes:
        async with database.unit() as connection:
            await connection.execute(_FORGET, *where, taken, len(lines))
        return 0
    name = f"jobs/{one.job_id}/log.{one.number}.{first}.{secrets.token_hex(4)}"
    await objects.put(one.environment_id, name, sealed)
    async with database.unit() as connection:
        kept = await connection.fetchval(_NAME, *where, first, len(lines), name)
        if kept:
            await connection.execute(_FORGET, *where, taken, 0)
    if not kept:
        await objects.delete(one.environment_id, name)
        return 0
    return len(sealed)


def _oldest(chunks: list[Any]) -> list[int]:
    """Of chunks in order, those before the newest 64 KiB, as many as one object takes."""
    stays = 0
    for index in range(len(chunks) - 1, -1, -1):
        stays += chunks[index]["bytes"]
        if stays >= INLINE_BYTES:
            break
    else:
        return []
    chosen: list[int] = []
    size = 0
    for chunk in chunks[:index]:
        size += chunk["bytes"]
        if chosen and size > MAX_OBJECT_BYTES:
            break
        chosen.append(chunk["sequence"])
    return chosen


def _joined(key: Seal, one: Long, rows: list[Any]) -> list[msgspec.Raw]:
    decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
    return [
        line
        for row in rows
        for line in decode(key.open(log_place(one.job_id, one.number, row["sequence"]), row["lines"]))
    ]
