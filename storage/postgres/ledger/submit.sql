-- Keep a batch of submissions of any environments: idempotency, jobs, their place in the queue, counts. One statement, so
-- that concurrent requests share a commit. Answers the ids that were kept; the others met an idempotency key in use.
-- Of an environment that is being deleted, or is gone, nothing is kept, whatever a gateway still believes (`closed`).
-- The caller removes repeated (environment, scope, key) from a batch first: one row cannot be taken twice here.
-- What is never null and the same in all rows (environment, route, rank, submitter, scope) may come as one element.
-- Measured, backend CPU a row, 200-byte payloads, with (without) idempotency keys: 28 (19) µs at batches of 40, 18 (11-18) at
-- 128, 18 (10) at 1,000; the same behind a million queued rows. On two idle cores from 1,000 waiting clients: 30,000/s.
with closing as materialized (
    select id from control.environment where id = any ($2::uuid[]) and status in ('deleting', 'deleted')
), asked as materialized (
    select id, coalesce(environment_id, ($2::uuid[])[1]) as environment_id, coalesce(route, ($3::int[])[1]) as route,
        coalesce(rank, ($4::smallint[])[1]) as rank, coalesce(submitted_by, ($5::text[])[1]) as submitted_by,
        policy, labels, payload, payload_object, run_at, delay_seconds,
        expires_in_seconds, concurrency_key, concurrency_limit, traceparent, replay_of, trigger_id,
        coalesce(scope, ($18::text[])[1]) as scope, idempotency_key, request_hash
    from unnest(
        $1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::text[],
        $10::timestamptz[], $11::float8[], $12::int[], $13::text[], $14::int[], $15::text[], $16::uuid[], $17::uuid[],
        $18::text[], $19::text[], $20::bytea[]
    ) as a(
        id, environment_id, route, rank, submitted_by, policy, labels, payload, payload_object,
        run_at, delay_seconds, expires_in_seconds, concurrency_key, concurrency_limit, traceparent, replay_of, trigger_id,
        scope, idempotency_key, request_hash
    )
    where coalesce(environment_id, ($2::uuid[])[1]) <> all (array(select id from closing))
), fresh as (
    insert into control.idempotency as i (environment_id, scope, key, reference, request_hash, expires_at)
    select environment_id, scope, idempotency_key, id, request_hash, now() + interval '24 hours'
    from asked
    where idempotency_key is not null
    order by environment_id, scope, idempotency_key -- one lock order in every batch: no deadlock between batches
    on conflict (environment_id, scope, key) do update
        set reference = excluded.reference, request_hash = excluded.request_hash, answer = null, expires_at = excluded.expires_at
        where i.expires_at <= now()
    returning reference
), kept as materialized (
    select a.*, a.at is not null and a.at > now() as waits
    from (
        select asked.*,
            coalesce(run_at, now() + delay_seconds * interval '1 second') as at,
            case when expires_in_seconds is not null then now() + expires_in_seconds * interval '1 second' end as expires_at
        from asked
        where idempotency_key is null or id in (select reference from fresh)
    ) a
), jobs as (
    insert into control.job (
        id, environment_id, route, rank, submitted_by, policy, labels, payload, payload_object, run_at, expires_at,
        concurrency_key, concurrency_limit, traceparent, replay_of, trigger_id
    )
    select id, environment_id, route, rank, submitted_by, policy, labels::jsonb, payload, payload_object, at, expires_at,
        concurrency_key, concurrency_limit, traceparent, replay_of, trigger_id
    from kept
), labelled as (
    insert into control.job_label (environment_id, label, job_id)
    select k.environment_id, pair.key || '=' || pair.value, k.id
    from kept k cross join lateral jsonb_each_text(k.labels::jsonb) pair
    where k.labels is not null
), readied as (
    insert into control.ready (route, rank, key, job_id, environment_id, expires_at)
    select route, rank, id, id, environment_id, expires_at from kept where not waits and concurrency_key is null
), held as (
    insert into control.hold (environment_id, concurrency_key, rank, key, job_id, route, expires_at)
    select environment_id, concurrency_key, rank, id, id, route, expires_at from kept where not waits and concurrency_key is not null
), delayed as (
    insert into control.due (job_id, due_at, environment_id, route, rank, key, expires_at, concurrency_key)
    select id, at, environment_id, route, rank, id, expires_at, concurrency_key from kept where waits
), counted as (
    insert into control.route_delta (environment_id, route, waiting)
    select environment_id, route, count(*) from kept group by environment_id, route
)
select id, false as closed from kept
union all
select id, true as closed from closing
