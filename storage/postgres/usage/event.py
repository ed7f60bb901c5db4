"""Usage events as rows: told once, however often they come, and calls of the API as events of the gateways."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from storage.postgres.database import Connection
from waypost.usage.model import API_CALLS, OWN_SOURCE, Ingested, UsageEvent

_INSERT = """
insert into control.usage_event (environment_id, source, id, meter, quantity, at, subject)
select $1::uuid, e.source, e.id, e.meter, e.quantity, coalesce(e.at, now()), e.subject
from unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::timestamptz[], $7::text[])
    as e(source, id, meter, quantity, at, subject)
on conflict do nothing
"""
# What is about something that is gone is its organization's.
_CALLS = """
insert into control.usage_event (environment_id, source, id, meter, quantity, at)
select case when n.usage_closed_at is null then c.id else n.organization_id end, $1::text, $2::text || ':' || c.id,
    $3::text, c.calls, now()
from unnest($4::uuid[], $5::bigint[]) as c(id, calls)
left join control.environment n on n.id = c.id
on conflict do nothing
"""


async def insert_events(connection: Connection, environment_id: UUID, events: Sequence[UsageEvent]) -> Ingested:
    """Keep the events that are new by `(source, id)` in this environment."""
    columns = list(zip(*((e.source, e.id, e.meter, e.quantity, e.at, e.subject) for e in events), strict=True))
    status: str = await connection.execute(_INSERT, environment_id, *map(list, columns))
    accepted = int(status.rpartition(" ")[2])
    return Ingested(accepted, len(events) - accepted)


async def insert_calls(connection: Connection, batch: str, calls: Mapping[UUID, int]) -> None:
    """Keep how often the API was called about each environment or organization. `batch` is a name that no other
    batch has: the same one again changes nothing."""
    source = f"{OWN_SOURCE}gateway"
    await connection.execute(_CALLS, source, batch, API_CALLS, list(calls), list(calls.values()))
