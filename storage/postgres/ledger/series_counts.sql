-- What happened in each of the last minutes, of all functions or one: the folded minutes plus what was not folded yet, never
-- a count over the jobs. Minutes in which nothing happened are left out.
with mine as materialized (
    select id from control.route where environment_id = $1::uuid and ($2::text is null or function = $2)
)
select minute, sum(submitted)::bigint as submitted, sum(started)::bigint as started, sum(completed)::bigint as completed,
    sum(failed)::bigint as failed, sum(canceled)::bigint as canceled, sum(waiting)::bigint as waiting, sum(running)::bigint as running
from (
    select m.minute, m.submitted, m.started, m.completed, m.failed, m.canceled, m.waiting, m.running
    from mine join control.route_minute m on m.route = mine.id and m.minute >= $3::timestamptz
    union all
    select date_trunc('minute', d.at), case when d.waiting > 0 and d.running = 0 then d.waiting else 0 end,
        greatest(d.running, 0), d.completed, d.failed + d.dead_letter + d.expired, d.canceled,
        d.waiting, d.running
    from mine join control.route_delta d on d.route = mine.id and d.environment_id = $1
) c
where minute >= $3
group by minute
order by minute
