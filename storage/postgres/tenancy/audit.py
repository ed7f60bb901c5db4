"""Audit entries: inserted in the transaction of the change (decision 30), never changed."""

import msgspec

from storage.postgres.database import Connection
from waypost.tenancy.model import AuditEntry

_INSERT = """
insert into control.audit (
    id, organization_id, project_id, environment_id, actor, action, target, outcome, request_id, source_address, details
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""


async def insert_audit(connection: Connection, entry: AuditEntry) -> None:
    e = entry
    details = None if e.details is None else msgspec.json.encode(e.details).decode()
    await connection.execute(
        _INSERT,
        e.id,
        e.organization_id,
        e.project_id,
        e.environment_id,
        e.actor,
        e.action,
        e.target,
        e.outcome,
        e.request_id,
        e.source_address,
        details,
    )
