"""Audit entries: inserted in the transaction of the change (decision 30), never changed.

The insert goes out with the COMMIT: a round trip of its own made a write 11 to 16 % dearer.
"""

from typing import Any

import msgspec

from storage.postgres.database import Connection, literal, with_commit
from waypost.audit.model import AuditEntry, Origin

_COLUMNS = (
    "id, organization_id, project_id, environment_id, actor, actor_kind, action, target, outcome, count, request_id, "
    "source_address, details"
)


async def insert_audit(connection: Connection, entry: AuditEntry, origin: Origin | None = None) -> None:
    """Add one entry, in the transaction of `connection`; what it does not say of its origin, `origin` does.

    In a unit of work it is written with the COMMIT: nothing in the same unit can read it.
    """
    e, o = entry, origin or Origin(entry.actor, entry.actor.partition(":")[0])
    same_environment = e.environment_id is not None and e.environment_id == o.environment_id
    values: tuple[Any, ...] = (
        e.id,
        e.organization_id,
        e.project_id or (o.project_id if same_environment else None),
        e.environment_id,
        e.actor,
        e.actor_kind or o.actor_kind,
        e.action,
        e.target,
        e.outcome,
        e.count,
        e.request_id or o.request_id,
        e.source_address or o.source_address,
        None if e.details is None else msgspec.json.encode(e.details).decode(),
    )
    texts = ", ".join(literal(value if value is None or isinstance(value, int) else str(value)) for value in values)
    await with_commit(connection, f"insert into control.audit ({_COLUMNS}) values ({texts})")  # noqa: S608 - literals
