-- What attempts tell that did not end their job; bounds as in ended.sql.
select f.environment_id, f.hour, m.meter, m.quantity, m.facts
from (
    select a.environment_id, date_trunc('hour', a.finished_at) as hour,
        count(*) as attempts,
        sum(extract(epoch from greatest(a.finished_at - a.started_at, '0'))) as run,
        count(*) filter (where a.number = 1) as firsts,
        sum(extract(epoch from greatest(
            a.started_at - greatest(uuid_extract_timestamp(a.job_id), j.run_at), '0'
        ))) filter (where a.number = 1) as queue
    from control.attempt a
    left join lateral (
        select run_at from control.job where environment_id = a.environment_id and id = a.job_id
    ) j on true
    where a.finished_at >= $3::timestamptz and a.xact >= $1::text::xid8 and a.xact < $2::text::xid8
    group by 1, 2
) f
cross join lateral (values
    ('job.attempts', f.attempts::numeric, f.attempts),
    ('job.run_seconds', f.run, f.attempts),
    ('job.queue_seconds', f.queue, f.firsts)
) m(meter, quantity, facts)
where m.quantity > 0
