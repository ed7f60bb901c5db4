-- The last hour of each function: rates from the folded minutes, durations from the newest ends of the environment (a
-- sample of at most 2,000: percentiles over all would be a count over the table).
with hour as (
    select r.function, sum(m.submitted)::bigint as submitted, sum(m.completed)::bigint as completed,
        sum(m.failed)::bigint as failed, sum(m.canceled)::bigint as canceled
    from control.route r
    join control.route_minute m on m.route = r.id and m.minute > now() - interval '1 hour'
    where r.environment_id = $1::uuid
    group by r.function
), newest as materialized (
    select route, extract(epoch from finished_at - started_at) * 1000 as ms
    from (
        select route, started_at, finished_at from control.job_end where environment_id = $1 order by job_id desc limit 2000
    ) e
    where started_at is not null and finished_at > now() - interval '1 hour'
), took as (
    select r.function, percentile_cont(0.5) within group (order by ms) as p50_ms, percentile_cont(0.99) within group (order by ms) as p99_ms
    from newest join control.route r on r.id = newest.route
    group by r.function
)
select f.function, coalesce(h.submitted, 0) as submitted, coalesce(h.completed, 0) as completed, coalesce(h.failed, 0) as failed,
    coalesce(h.canceled, 0) as canceled, t.p50_ms::float8, t.p99_ms::float8
from (select distinct function from control.route where environment_id = $1) f
left join hour h using (function)
left join took t using (function)
order by f.function
