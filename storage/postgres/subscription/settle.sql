-- Record attempts and what follows from them. Counts only what the queue still holds under the claim: the fence.
-- $6 verdict: delivered, retry, failed, gone. The caller sorts by delivery; a delivery is in a batch once.
with held as materialized (
    select a.*, q.at, q.environment_id, q.subscription_id
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::smallint[], $5::float8[], $6::text[], $7::int[], $8::text[],
        $9::timestamptz[], $10::int[], $11::bytea[])
        as a(environment, delivery_id, claim, number, delay_seconds, verdict, status, error, started_at, duration_ms, response)
    cross join lateral (
        select ctid as at, environment_id, subscription_id from control.delivery_queue q
        where q.environment_id = a.environment and q.delivery_id = a.delivery_id and q.claim = a.claim
            and q.number = a.number
        for update
    ) q
), over as (
    delete from control.delivery_queue where ctid = any (array(select at from held where verdict <> 'retry'))
), later as (
    update control.delivery_queue q
    set claim = null, due_at = clock_timestamp() + h.delay_seconds * interval '1 second'
    from held h
    where h.verdict = 'retry' and q.environment_id = h.environment_id and q.delivery_id = h.delivery_id
), tried as (
    insert into control.delivery_attempt (
        environment_id, subscription_id, delivery_id, number, started_at, duration_ms, status, error, response
    )
    select environment_id, subscription_id, delivery_id, number, started_at, duration_ms, status, error, response from held
    on conflict do nothing
), told as (
    update control.delivery d
    set attempts = h.number, status = h.status, error = h.error,
        state = case h.verdict when 'delivered' then 'delivered' when 'retry' then 'pending' else 'failed' end,
        finished_at = case when h.verdict <> 'retry' then clock_timestamp() end
    from held h
    where d.environment_id = h.environment_id and d.subscription_id = h.subscription_id and d.id = h.delivery_id
)
select subscription_id, bool_or(verdict = 'delivered') as delivered, bool_or(verdict = 'gone') as gone
from held group by subscription_id
