"""Audit entries of what the gateway changes, written in the transaction of the change (decision 30)."""

from gateway.endpoint import Call
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.tenancy.unit import PostgresTenancy
from waypost.audit.model import AuditEntry, Origin
from waypost.ids import new_id


def origin_of(call: Call) -> Origin:
    """Who makes this request, and from where."""
    principal, exchange = call.principal, call.exchange
    scope = call.place.scope
    return Origin(
        actor=principal.actor,
        actor_kind=principal.kind.value,
        request_id=exchange.request_id,
        source_address=exchange.address or None,
        project_id=scope.project_id,
        environment_id=scope.environment_id,
    )


def tenancy(connection: Connection, call: Call) -> PostgresTenancy:
    """The unit of work of a request: its audit entries say who asked, and from where."""
    return PostgresTenancy(connection, origin_of(call))


async def record(
    connection: Connection, call: Call, action: str, target: str, details: dict[str, str] | None = None
) -> None:
    """`action` is `noun.verb`, `target` is `noun:<id>`; `details` hold neither secrets nor bodies."""
    scope = call.place.scope
    entry = AuditEntry(
        id=new_id(),
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        environment_id=scope.environment_id,
        actor=call.principal.actor,
        action=action,
        target=target,
        details=details,
    )
    await insert_audit(connection, entry, origin_of(call))
