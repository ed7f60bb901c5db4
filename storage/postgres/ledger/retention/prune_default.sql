-- Up to $3 jobs that the default partition holds (their week had none in time): ended, ids below $1, no object left, ended
-- before $2. With all that belongs to them.
with old as materialized (
    select j.environment_id, j.id from control.job_default j
    where j.id < $1::uuid and j.payload_object is null and exists (
        select from control.job_end e
        where e.environment_id = j.environment_id and e.job_id = j.id and e.finished_at < $2::timestamptz
            and e.result_object is null
    )
    order by j.id limit $3::int for update skip locked
), labels as (
    delete from control.job_label_default l using old where l.environment_id = old.environment_id and l.job_id = old.id
), ends as (
    delete from control.job_end_default e using old where e.environment_id = old.environment_id and e.job_id = old.id
), attempts as (
    delete from control.attempt a using old where a.environment_id = old.environment_id and a.job_id = old.id
), logs as (
    delete from control.job_log g using old where g.environment_id = old.environment_id and g.job_id = old.id
)
delete from control.job_default j using old where j.environment_id = old.environment_id and j.id = old.id
returning 1
