"""The rows of control.node: who is connected where, how busy, since when. Written in batches, about once a second.

Nobody routes by these rows: they are what people see. A relay that dies leaves its rows; the sweeper marks them lost.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from storage.postgres import sql
from storage.postgres.database import Database


class NodeRow(msgspec.Struct, frozen=True):
    """A node as it joined. `tags` and `functions` are JSON text."""

    id: UUID
    environment_id: UUID
    credential_id: UUID
    name: str
    tags: str
    functions: str
    sdk: str | None
    version: str | None
    max_in_flight: int
    in_flight: int
    completed: int
    failed: int


class NodeReport(msgspec.Struct, frozen=True):
    """What changes while a node is connected. `silent_seconds`: since when nothing was heard of it."""

    id: UUID
    in_flight: int
    completed: int
    failed: int
    round_trip_ms: float | None
    draining: bool
    silent_seconds: float


class Departure(msgspec.Struct, frozen=True):
    id: UUID
    reason: str
    completed: int
    failed: int


async def join(database: Database, session: int, rows: Sequence[NodeRow]) -> None:
    """Keep the rows as connected to this session; a row that is there already is taken over."""
    await _run(database, "join", [session], rows, NodeRow)


async def report(database: Database, session: int, reports: Sequence[NodeReport]) -> None:
    """Write what changed; rows of another session are left alone."""
    await _run(database, "report", [session], reports, NodeReport)


async def leave(database: Database, departures: Sequence[Departure]) -> None:
    """Mark nodes as gone, with the reason in words."""
    await _run(database, "leave", [], departures, Departure)


async def _run(
    database: Database, name: str, first: list[int], rows: Sequence[msgspec.Struct], kind: type[msgspec.Struct]
) -> None:
    if not rows:
        return
    columns = [[getattr(row, field) for row in rows] for field in kind.__struct_fields__]
    async with database.unit() as connection:
        await connection.execute(sql.load(__package__, f"{name}_nodes"), *first, *columns)
