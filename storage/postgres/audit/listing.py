"""Lists of audit entries, newest first, each filter by an index of its own.

Ids are made by the processes' clocks, `at` by Postgres': a time bounds the ids only with some slack, and `at` decides.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.audit.model import AuditFilter, WrittenEntry
from waypost.ids import first_id_at

COLUMNS = """
e.id, e.at, e.transaction, e.organization_id, e.project_id, e.environment_id, e.actor, e.actor_kind, e.action, e.target,
e.outcome, e.count, e.request_id, e.source_address, e.details
"""
# An entry's `at` is when its transaction began, its id is made within; clocks of machines differ.
_SLACK = timedelta(hours=1)

_EQUAL = ("organization_id", "project_id", "environment_id", "actor", "target", "outcome", "request_id")
_PLACES = {
    table: f"select id from control.{table} where organization_id = $1 and slug = $2 order by id desc limit 1"  # noqa: S608
    for table in ("project", "environment")
}


async def place_of_slug(connection: Connection, table: str, organization_id: UUID, slug: str) -> UUID | None:
    """The newest `project` or `environment` of that slug, also one that was deleted."""
    found: UUID | None = await connection.fetchval(_PLACES[table], organization_id, slug)
    return found


async def list_entries(
    connection: Connection, wanted: AuditFilter, *, before: UUID | None, limit: int
) -> list[WrittenEntry]:
    """Up to `limit` entries that match, newest first, older than `before`."""
    conditions, arguments = _conditions(wanted, before)
    arguments.append(limit)
    rows = await connection.fetch(
        f"select {COLUMNS} from control.audit e where {' and '.join(conditions)} order by e.id desc"  # noqa: S608 - ours
        f" limit ${len(arguments)}",
        *arguments,
    )
    return [written_entry(row) for row in rows]


def _conditions(wanted: AuditFilter, before: UUID | None) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    arguments: list[Any] = []

    def add(condition: str, value: Any) -> None:
        arguments.append(value)
        conditions.append(condition.format(f"${len(arguments)}"))

    for name in _EQUAL:
        if (value := getattr(wanted, name)) is not None:
            add(f"e.{name} = {{}}", value)
    if wanted.action is not None:
        noun, _, verb = wanted.action.partition(".")
        add("split_part(e.action, '.', 1) = {}", noun)
        if verb != "*":
            add("e.action = {}", wanted.action)
    if wanted.since is not None:
        _bound(add, ">=", wanted.since, -_SLACK)
    if wanted.until is not None:
        _bound(add, "<", wanted.until, _SLACK)
    if before is not None:
        add("e.id < {}", before)
    return conditions or ["true"], arguments


def _bound(add: Any, sign: str, instant: datetime, slack: timedelta) -> None:
    add(f"e.at {sign} {{}}", instant)
    add(f"e.id {sign} {{}}", first_id_at(instant + slack))


def written_entry(row: Any) -> WrittenEntry:
    """The entry of a row of `COLUMNS`."""
    fields = dict(row)
    if fields["details"] is not None:
        fields["details"] = msgspec.json.decode(fields["details"])
    return WrittenEntry(**fields)
