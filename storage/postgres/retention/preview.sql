-- What a sweep of environment $1 would take, by kind: how many (up to $8 and one more), and the oldest one's instant. $2 to
-- $7 are the instants before which payloads, jobs, logs, firings, deliveries and artifacts are too old.
select 'payload_days' as kind, count(*) as count, min(at) as oldest from (
    select e.finished_at as at from control.job_end e
    left join control.job j on j.environment_id = $1::uuid and j.id = e.job_id
    where e.environment_id = $1 and e.finished_at < $2::timestamptz
        and (e.result is not null or e.result_object is not null or j.payload <> '' or j.payload_object is not null)
    limit $8::int
) p
union all
select 'job_days', count(*), min(at) from (
    select finished_at as at from control.job_end where environment_id = $1 and finished_at < $3::timestamptz limit $8
) p
union all
select 'log_days', count(*), min(at) from (
    select e.finished_at as at from control.attempt_log l
    join control.job_end e on e.environment_id = $1 and e.job_id = l.job_id and e.finished_at < $4::timestamptz
    where l.environment_id = $1 limit $8
) p
union all
select 'firing_days', count(*), min(at) from (
    select at from control.firing where environment_id = $1 and at < $5::timestamptz limit $8
) p
union all
select 'delivery_days', count(*), min(at) from (
    select finished_at as at from control.delivery
    where environment_id = $1 and state <> 'pending' and finished_at < $6::timestamptz limit $8
) p
union all
select 'artifact_days', count(*), min(at) from (
    select a.created_at as at from control.artifact a
    where a.environment_id = $1 and a.state <> 'uploading' and (a.expires_at < now() or a.created_at < $7::timestamptz)
        and not exists (
            select from control.artifact_reference r where r.environment_id = $1 and r.artifact_id = a.id
                and (r.kind <> 'job' or not exists (
                    select from control.job_end e where e.environment_id = $1 and e.job_id = r.id
                ) and exists (select from control.job j where j.environment_id = $1 and j.id = r.id))
        )
        and (a.job_id is null or exists (
            select from control.job_end e where e.environment_id = $1 and e.job_id = a.job_id
        ) or not exists (select from control.job j where j.environment_id = $1 and j.id = a.job_id))
    limit $8
) p
