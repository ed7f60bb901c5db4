-- What changed about connected nodes. `draining` only ever goes on: the gateway may have set it meanwhile.
update control.node n
set in_flight = a.in_flight, completed = a.completed, failed = a.failed, round_trip_ms = a.round_trip_ms,
    draining = n.draining or a.draining, last_seen_at = now() - a.silent_seconds * interval '1 second'
from unnest($2::uuid[], $3::int[], $4::bigint[], $5::bigint[], $6::float8[], $7::bool[], $8::float8[])
    as a(id, in_flight, completed, failed, round_trip_ms, draining, silent_seconds)
where n.id = a.id and n.session = $1::bigint
