-- State changes of an environment from an instant on, oldest first: what an event stream resumes from. An attempt that is
-- over tells of two: when it began to run and when it ended. $3: one job only, or null.
select * from (
    select id as job_id, 'queued' as state, 0 as number, uuid_extract_timestamp(id) as at
    from control.job where environment_id = $1::uuid and id >= $4::uuid and ($3::uuid is null or id = $3)
    union all
    select job_id, 'running', number, started_at
    from control.lease where environment_id = $1 and started_at >= $2::timestamptz and ($3 is null or job_id = $3)
    union all
    select job_id, 'running', number, started_at
    from control.attempt where environment_id = $1 and finished_at >= $2 and started_at >= $2 and ($3 is null or job_id = $3)
    union all
    select job_id, 'running', number, started_at
    from control.job_end
    where environment_id = $1 and finished_at >= $2 and started_at >= $2 and attempt_id is not null and ($3 is null or job_id = $3)
    union all
    select job_id, 'retrying', number, finished_at
    from control.attempt where environment_id = $1 and finished_at >= $2 and ($3 is null or job_id = $3)
    union all
    select job_id, (array['completed', 'failed', 'dead_letter', 'canceled', 'expired'])[state], number, finished_at
    from control.job_end where environment_id = $1 and finished_at >= $2 and ($3 is null or job_id = $3)
) s
order by at, number
limit $5
