"""Audit entries: inserted in the transaction of the change (decision 30), never changed."""

import msgspec

from storage.postgres.database import Connection
from waypost.audit.model import AuditEntry, Origin

_INSERT = """
insert into control.audit (
    id, organization_id, project_id, environment_id, actor, actor_kind, action, target, outcome, count, request_id,
    source_address, details
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""


async def insert_audit(connection: Connection, entry: AuditEntry, origin: Origin | None = None) -> None:
    """Add one entry, in the transaction of `connection`; what it does not say of its origin, `origin` does."""
    e, o = entry, origin or Origin(entry.actor, entry.actor.partition(":")[0])
    same_environment = e.environment_id is not None and e.environment_id == o.environment_id
    await connection.execute(
        _INSERT,
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
