"""Sums of usage as they are asked for. Exact: PostgreSQL adds decimals, nobody else adds anything."""

from datetime import UTC

from storage.postgres.database import Connection
from storage.postgres.sql import load
from waypost.usage.model import UsageFilter, UsageSum


async def list_sums(connection: Connection, wanted: UsageFilter, limit: int) -> list[UsageSum]:
    """The sums, latest first, at most `limit`."""
    rows = await connection.fetch(
        load("storage.postgres.usage", "listing"),
        *(wanted.organization_id, wanted.environment_id, wanted.since, wanted.until),
        list(wanted.meters) or None,
        None if wanted.projects is None else list(wanted.projects),
        *(thing in wanted.by for thing in ("project", "environment", "day", "hour")),
        _whole_days(wanted),
        limit,
    )
    return [UsageSum(**row) for row in rows]


def _whole_days(wanted: UsageFilter) -> bool:
    ends = (wanted.since.astimezone(UTC), wanted.until.astimezone(UTC))
    return "hour" not in wanted.by and all(at.time().isoformat() == "00:00:00" for at in ends)
