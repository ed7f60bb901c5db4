-- Add up what statements appended. The delete takes each row once, whoever folds. A submission is a delta that adds to
-- `waiting` and leaves `running` alone; a retry takes from `running` what it adds; only a claim adds to `running`.
with picked as materialized (
    select ctid as at from control.route_delta limit $1 for update skip locked
), gone as (
    delete from control.route_delta where ctid = any (array(select at from picked))
    returning environment_id, route, waiting, retrying, running, completed, failed, dead_letter, canceled, expired, at
), totals as (
    insert into control.route_count as c (
        route, environment_id, waiting, retrying, running, completed, failed, dead_letter, canceled, expired
    )
    select route, environment_id, sum(waiting), sum(retrying), sum(running), sum(completed), sum(failed), sum(dead_letter),
        sum(canceled), sum(expired)
    from gone group by route, environment_id order by route
    on conflict (route) do update set waiting = c.waiting + excluded.waiting, retrying = c.retrying + excluded.retrying,
        running = c.running + excluded.running, completed = c.completed + excluded.completed,
        failed = c.failed + excluded.failed, dead_letter = c.dead_letter + excluded.dead_letter,
        canceled = c.canceled + excluded.canceled, expired = c.expired + excluded.expired
), minutes as (
    insert into control.route_minute as m (
        route, minute, environment_id, submitted, started, completed, failed, canceled, waiting, running
    )
    select route, date_trunc('minute', at), environment_id,
        coalesce(sum(waiting) filter (where waiting > 0 and running = 0), 0),
        coalesce(sum(running) filter (where running > 0), 0), sum(completed),
        sum(failed + dead_letter + expired), sum(canceled), sum(waiting), sum(running)
    from gone group by route, date_trunc('minute', at), environment_id order by route, date_trunc('minute', at)
    on conflict (route, minute) do update set submitted = m.submitted + excluded.submitted,
        started = m.started + excluded.started, completed = m.completed + excluded.completed,
        failed = m.failed + excluded.failed, canceled = m.canceled + excluded.canceled,
        waiting = m.waiting + excluded.waiting, running = m.running + excluded.running
)
select count(*) from gone
