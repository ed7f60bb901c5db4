-- Ask for the end of a running job; asking again changes nothing. Answers who runs it; no row = it does not run.
with running as (
    select job_id, environment_id, session, attempt_id, number from control.lease where job_id = $2::uuid and environment_id = $1::uuid
), asked as (
    insert into control.cancel_request (job_id, environment_id, requested_by)
    select job_id, environment_id, $3::text from running
    on conflict (job_id) do nothing
)
select session, attempt_id, number from running
