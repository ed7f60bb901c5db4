-- Nodes that left; one that another relay has taken over meanwhile is not touched: its id is new there.
update control.node n
set disconnected_at = now(), disconnect_reason = a.reason, in_flight = 0, completed = a.completed, failed = a.failed
from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) as a(id, reason, completed, failed)
where n.id = a.id and n.disconnected_at is null
