"""Running the statements of retention: by index, whatever the planner thinks of tables it never analysed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from storage.postgres.database import Connection, Database
from storage.postgres.sql import load

_PACKAGE = "storage.postgres.ledger.retention"
_BY_INDEX = (
    "set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off;"
    " set local max_parallel_workers_per_gather = 0"
)


@asynccontextmanager
async def indexed(database: Database) -> AsyncIterator[Connection]:
    """A transaction in which tables are not scanned where an index can be used; bitmaps are allowed, for BRIN."""
    async with database.unit() as connection:
        await connection.execute(_BY_INDEX)
        yield connection


async def fetch(connection: Connection, name: str, *arguments: Any) -> list[Any]:
    """The rows of `<name>.sql`."""
    rows: list[Any] = await connection.fetch(load(_PACKAGE, name), *arguments)
    return rows


async def days_ago(connection: Connection, days: int) -> datetime:
    """That instant, by Postgres' clock."""
    instant: datetime = await connection.fetchval("select now() - make_interval(days => $1::int)", days)
    return instant
