"""Audit entries of what the gateway changes by itself, written in the transaction of the change (decision 30)."""

from gateway.endpoint import Call
from storage.postgres.database import Connection
from storage.postgres.tenancy.audit import insert_audit
from waypost.ids import new_id
from waypost.tenancy.model import AuditEntry


async def record(
    connection: Connection, call: Call, action: str, target: str, details: dict[str, str] | None = None
) -> None:
    """`action` is `noun.verb`, `target` is `noun:<id>`; `details` hold neither secrets nor bodies."""
    scope = call.place.scope
    await insert_audit(
        connection,
        AuditEntry(
            id=new_id(),
            organization_id=scope.organization_id,
            project_id=scope.project_id,
            environment_id=scope.environment_id,
            actor=call.principal.actor,
            action=action,
            target=target,
            request_id=call.exchange.request_id,
            source_address=call.exchange.address or None,
            details=details,
        ),
    )
