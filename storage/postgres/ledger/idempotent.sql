-- What an idempotency key in use stands for: (ordinal of the question, first job, hash of the first request).
select a.ordinal, i.reference, i.request_hash
from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as a(environment_id, scope, key, ordinal)
cross join lateral (
    select reference, request_hash
    from control.idempotency
    where environment_id = a.environment_id and scope = a.scope and key = a.key
) i
