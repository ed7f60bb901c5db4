-- Counts by function: what was folded plus what was not yet, never a count over the jobs. The oldest waiting job of a
-- queue is the first of each rank: ten probes a route. Processes of before 0004 move `waiting` without `retrying`, so
-- after a rolling upgrade that can be off, but never more than waits.
with counted as (
    select route, sum(waiting) as waiting, least(greatest(sum(retrying), 0), sum(waiting)) as retrying,
        sum(running) as running, sum(completed) as completed, sum(failed) as failed,
        sum(dead_letter) as dead_letter, sum(canceled) as canceled, sum(expired) as expired
    from (
        select route, waiting, retrying, running, completed, failed, dead_letter, canceled, expired
        from control.route_count where environment_id = $1::uuid
        union all
        select route, waiting, retrying, running, completed, failed, dead_letter, canceled, expired
        from control.route_delta where environment_id = $1
    ) c
    group by route
)
select r.function, sum(c.waiting)::bigint as waiting, sum(c.retrying)::bigint as retrying, sum(c.running)::bigint as running,
    sum(c.completed)::bigint as completed, sum(c.failed)::bigint as failed, sum(c.dead_letter)::bigint as dead_letter,
    sum(c.canceled)::bigint as canceled, sum(c.expired)::bigint as expired, min(o.oldest) as oldest_waiting_at
from counted c
join control.route r on r.id = c.route and r.environment_id = $1
left join lateral (
    select min(uuid_extract_timestamp(q.key)) as oldest
    from generate_series(0, 9) as ranks(rank)
    cross join lateral (
        select key from control.ready where route = c.route and rank = ranks.rank::smallint order by key limit 1
    ) q
) o on c.waiting > 0
group by r.function
order by r.function
