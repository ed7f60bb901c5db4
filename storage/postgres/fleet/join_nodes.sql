-- Nodes that joined, or whose relay has a new session: a row each, connected.
insert into control.node (
    id, environment_id, session, credential_id, name, tags, functions, sdk, version, max_in_flight, in_flight, completed, failed
)
select a.id, a.environment_id, $1::bigint, a.credential_id, a.name, a.tags::jsonb, a.functions::jsonb, a.sdk, a.version,
    a.max_in_flight, a.in_flight, a.completed, a.failed
from unnest(
    $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::int[], $11::int[],
    $12::bigint[], $13::bigint[]
) as a(id, environment_id, credential_id, name, tags, functions, sdk, version, max_in_flight, in_flight, completed, failed)
where exists (select from control.environment e where e.id = a.environment_id and e.deleted_at is null)
on conflict (id) do update
    set session = excluded.session, last_seen_at = now(), disconnected_at = null, disconnect_reason = null
