"""Erasing payloads and results that lie in S3: the object first, then the row's reference to it.

A crash between the two leaves a reference to nothing, which the next look removes; never an object that nobody knows.
"""

import asyncio
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from storage.postgres.database import Database
from storage.postgres.ledger.retention.statement import days_ago, fetch, indexed
from waypost.errors import Category, WaypostError
from waypost.ids import NIL, first_id_at

AT_ONCE = 16  # requests to S3
LIMIT = 200  # references a look
KINDS = ("payload", "result")


class Objects(Protocol):
    """What is used of the object store."""

    async def delete(self, environment_id: UUID, key: str) -> None: ...


class ErasedObjects(msgspec.Struct, frozen=True):
    """`erased` objects are gone, with their references; `stuck` ones S3 refused to delete."""

    erased: int = 0
    stuck: int = 0


async def erase_objects(database: Database, objects: Objects, days: int, limit: int = LIMIT) -> ErasedObjects:
    """Erase all objects of jobs that ended more than `days` ago, `limit` at a time.

    Raises `unavailable` when S3 is away; what was deleted until then is forgotten. What S3 refuses stays, and keeps
    nobody waiting. An environment that is gone took its bucket with it: its references are forgotten.
    """
    erased = stuck = 0
    for kind in KINDS:
        after: UUID | None = NIL
        while after is not None:
            found, after = await _page(database, kind, days, after, limit)
            gone, refused = await _delete(database, objects, kind, found)
            erased, stuck = erased + gone, stuck + refused
    return ErasedObjects(erased, stuck)


async def _page(database: Database, kind: str, days: int, after: UUID, limit: int) -> tuple[list[Any], UUID | None]:
    async with indexed(database) as connection:
        before: datetime = await days_ago(connection, days)
        rows = await fetch(connection, f"{kind}_objects", before, first_id_at(before), after, limit)
    return rows, rows[-1]["job_id"] if len(rows) == limit else None


async def _delete(database: Database, objects: Objects, kind: str, rows: list[Any]) -> tuple[int, int]:
    """How many are gone and how many are refused."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def delete(row: Any) -> WaypostError | None:
        async with gate:
            try:
                await objects.delete(row["environment_id"], row["key"])
            except WaypostError as error:
                return None if error.category is Category.NOT_FOUND else error
        return None

    failures = await asyncio.gather(*(delete(row) for row in rows))
    gone = [row for row, failure in zip(rows, failures, strict=True) if failure is None]
    if gone:
        async with indexed(database) as connection:
            jobs = [row["environment_id"] for row in gone], [row["job_id"] for row in gone]
            await fetch(connection, f"forget_{kind}_objects", *jobs)
    for failure in failures:
        if failure is not None and failure.retryable:
            raise failure
    return len(gone), len(rows) - len(gone)
