-- Note when the first answer came for an attempt that was lost, or the first result for one that had run out of time.
-- What else is refused repeats what was taken, and is no news. Answers the attempts that have ended, noted or not.
with told as materialized (
    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::boolean[], $5::timestamptz[])
        as t(environment_id, job_id, attempt_id, result, at)
), tried as (
    update control.attempt a set answer_refused_at = t.at
    from told t
    where (a.environment_id, a.job_id, a.attempt_id) = (t.environment_id, t.job_id, t.attempt_id)
        and a.answer_refused_at is null and (a.outcome = 4 or (a.outcome = 3 and t.result))
), ended as (
    update control.job_end a set answer_refused_at = t.at
    from told t
    where (a.environment_id, a.job_id, a.attempt_id) = (t.environment_id, t.job_id, t.attempt_id)
        and a.answer_refused_at is null and (a.outcome = 4 or (a.outcome = 3 and t.result))
)
select a.attempt_id from told t join control.attempt a using (environment_id, job_id, attempt_id)
union all
select a.attempt_id from told t join control.job_end a using (environment_id, job_id, attempt_id)
