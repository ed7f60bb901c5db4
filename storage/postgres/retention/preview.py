"""What a sweep would take now. `connection` speaks as the environment's role; nothing is changed."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from storage.postgres.database import Connection
from storage.postgres.sql import load
from waypost.retention.model import AUDIT, KINDS, MAX_COUNT, Going


async def preview(connection: Connection, environment_id: UUID, days: Mapping[str, int]) -> dict[str, Going]:
    """By name of the kind, with these days; counted up to `MAX_COUNT`. Not the audit, which no environment may read."""
    now = await instant_now(connection)
    instants = [now - timedelta(days=days[name]) for name in KINDS if name != AUDIT]
    rows = await connection.fetch(
        load("storage.postgres.retention", "preview"), environment_id, *instants, MAX_COUNT + 1
    )
    return {row["kind"]: Going(min(row["count"], MAX_COUNT), row["count"] > MAX_COUNT, row["oldest"]) for row in rows}


async def instant_now(connection: Connection) -> datetime:
    """By Postgres' clock (decision 16)."""
    now: datetime = await connection.fetchval("select now()")
    return now
