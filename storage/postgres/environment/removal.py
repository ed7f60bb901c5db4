"""What has gone of an environment that is being deleted, kept from step to step for the audit entry at the end.

Rows are counted in the transaction in which they go. What goes elsewhere (objects) or by itself (fenced jobs) is
counted right after it went: a crash in between leaves that batch out.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.audit.model import Origin

COUNTS = (
    "canceled", "fenced", "jobs", "rows", "objects", "bytes", "keys", "node_credentials", "nodes", "routes",
)  # fmt: skip

_INSERT = """
insert into control.environment_removal (environment_id, requested_by, actor_kind, request_id, source_address)
values ($1, $2, $3, $4, $5)
on conflict (environment_id) do nothing
"""
_READ = f"""
select requested_by, actor_kind, request_id, source_address, requested_at, {", ".join(COUNTS)}
from control.environment_removal where environment_id = $1
"""  # noqa: S608 - constants only
_DELETE = "delete from control.environment_removal where environment_id = $1"


class Removal(msgspec.Struct, frozen=True):
    """Who wanted it, when, and how much of what has gone so far."""

    requested_by: str
    actor_kind: str
    request_id: str | None
    source_address: str | None
    requested_at: datetime
    counts: dict[str, int]


async def insert_removal(
    connection: Connection, environment_id: UUID, actor: str, request_id: str | None, origin: Origin | None = None
) -> None:
    """Begin counting; who asked and from where is kept for the audit entry at the end."""
    kind = origin.actor_kind if origin else actor.partition(":")[0]
    address = origin.source_address if origin else None
    request_id = request_id or (origin.request_id if origin else None)
    await connection.execute(_INSERT, environment_id, actor, kind, request_id, address)


async def count_removed(connection: Connection, environment_id: UUID, **counts: int) -> None:
    """Add to the counts; the names are those of `COUNTS`. Without a removal under way nothing is counted."""
    if unknown := set(counts) - set(COUNTS):
        raise ValueError(f"not counted: {', '.join(sorted(unknown))}")
    sums = ", ".join(f"{name} = {name} + ${number}" for number, name in enumerate(counts, 2))
    await connection.execute(
        f"update control.environment_removal set {sums} where environment_id = $1",  # noqa: S608 - names checked above
        environment_id,
        *counts.values(),
    )


async def read_removal(connection: Connection, environment_id: UUID) -> Removal | None:
    row = await connection.fetchrow(_READ, environment_id)
    if row is None:
        return None
    by, kind, request_id, address, at = list(row)[:5]
    return Removal(by, kind, request_id, address, at, {name: row[name] for name in COUNTS})


async def delete_removal(connection: Connection, environment_id: UUID) -> None:
    """The audit entry has it all now."""
    await connection.execute(_DELETE, environment_id)
