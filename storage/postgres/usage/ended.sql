-- What ends of jobs tell, of transactions from $1 to before $2 that wrote after $3: see waypost.usage. A job is looked up
-- by primary key for when it could begin and how large its payload is: sealing adds 28 bytes, the name of an object ends in
-- the size, and what retention erased counts as nothing.
select f.environment_id, f.hour, m.meter, m.quantity, m.facts
from (
    select e.environment_id, date_trunc('hour', e.finished_at) as hour,
        count(*) as ends,
        count(*) filter (where e.attempt_id is not null) as attempts,
        sum(extract(epoch from greatest(e.finished_at - e.started_at, '0'))) filter (where e.attempt_id is not null) as run,
        count(*) filter (where e.attempt_id is not null and e.number = 1) as firsts,
        sum(extract(epoch from greatest(
            e.started_at - greatest(uuid_extract_timestamp(e.job_id), j.run_at), '0'
        ))) filter (where e.attempt_id is not null and e.number = 1) as queue,
        count(*) filter (where e.state = 1) as completed,
        count(*) filter (where e.state = 2) as failed,
        count(*) filter (where e.state = 3) as dead,
        count(*) filter (where e.state = 4) as canceled,
        count(*) filter (where e.state = 5) as expired,
        sum(j.bytes) as bytes
    from control.job_end e
    left join lateral (
        select run_at, coalesce(
            substring(payload_object from '\.([0-9]+)$')::numeric, greatest(octet_length(payload) - 28, 0)
        ) as bytes
        from control.job where environment_id = e.environment_id and id = e.job_id
    ) j on true
    where e.finished_at >= $3::timestamptz and e.xact >= $1::text::xid8 and e.xact < $2::text::xid8
    group by 1, 2
) f
cross join lateral (values
    ('job.attempts', f.attempts::numeric, f.attempts),
    ('job.run_seconds', f.run, f.attempts),
    ('job.queue_seconds', f.queue, f.firsts),
    ('job.payload_bytes', f.bytes, f.ends),
    ('job.ended.completed', f.completed::numeric, f.completed),
    ('job.ended.failed', f.failed::numeric, f.failed),
    ('job.ended.dead_letter', f.dead::numeric, f.dead),
    ('job.ended.canceled', f.canceled::numeric, f.canceled),
    ('job.ended.expired', f.expired::numeric, f.expired)
) m(meter, quantity, facts)
where m.quantity > 0
