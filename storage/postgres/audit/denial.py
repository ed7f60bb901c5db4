"""Denials as audit entries: many in one statement, each in the audit of whom the credential belongs to.

A credential that proved nothing is not made an actor: its owner's audit says which one was tried, as the target.
"""

from collections.abc import Sequence

import msgspec

from storage.postgres.database import Connection
from waypost.audit.model import Denial, Outcome
from waypost.ids import new_id

_INSERT = f"""
insert into control.audit (
    id, organization_id, project_id, environment_id, actor, actor_kind, action, target, outcome, count, request_id,
    source_address, details
)
select d.id, coalesce(d.organization_id, k.organization_id, e.organization_id),
    coalesce(d.project_id, ke.project_id, e.project_id), coalesce(d.environment_id, k.environment_id, e.id),
    d.actor, d.actor_kind, d.action,
    case when k.id is not null then 'api_key:' || k.id when c.id is not null then 'node_credential:' || c.id
        else d.target end,
    '{Outcome.DENIED.value}', d.count, d.request_id, d.source_address, d.details
from unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[],
    $10::text[], $11::text[], $12::jsonb[], $13::text[]
) as d(id, organization_id, project_id, environment_id, actor, actor_kind, action, target, count, request_id,
    source_address, details, public_id)
left join control.api_key k on k.public_id = d.public_id
left join control.environment ke on ke.id = k.environment_id
left join control.node_credential c on c.client_id = d.public_id
left join control.environment e on e.id = c.environment_id
"""  # noqa: S608 - constants only


async def insert_denials(connection: Connection, denials: Sequence[Denial]) -> None:
    """One entry each."""
    await connection.execute(
        _INSERT,
        [new_id() for _ in denials],
        *([getattr(denial, name) for denial in denials] for name in _COLUMNS),
        [None if denial.details is None else msgspec.json.encode(denial.details).decode() for denial in denials],
        [denial.public_id for denial in denials],
    )


_COLUMNS = (
    "organization_id", "project_id", "environment_id", "actor", "actor_kind", "action", "target", "count",
    "request_id", "source_address",
)  # fmt: skip
