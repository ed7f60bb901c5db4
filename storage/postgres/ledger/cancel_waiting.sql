-- End one job that waits, wherever it waits: in its queue, until it is due, or in the line of its concurrency key.
-- No row = it does not wait (or moved at this very instant). A claim that holds the queue's row wins: the delete waits for
-- its commit and finds nothing.
with job as materialized (
    select id, environment_id, route, rank, concurrency_key, coalesce(
        (select a.retry_key from control.attempt a
            where a.environment_id = j.environment_id and a.job_id = j.id order by a.number desc limit 1),
        id
    ) as key
    from control.job j
    where environment_id = $1::uuid and id = $2::uuid
), from_ready as (
    delete from control.ready
    where route = (select route from job) and rank = (select rank from job) and key = (select key from job) and job_id = $2
    returning job_id, environment_id, route, number
), from_due as (
    delete from control.due where job_id = $2 and environment_id = $1 returning job_id, environment_id, route, number
), from_hold as (
    delete from control.hold
    where environment_id = $1 and concurrency_key = (select concurrency_key from job) and rank = (select rank from job)
        and key = (select key from job) and job_id = $2
    returning job_id, environment_id, route, number
), gone as (
    select * from from_ready union all select * from from_due union all select * from from_hold
), freed as (
    delete from control.permit where job_id = any (array(select job_id from gone)) returning concurrency_key
), ended as (
    insert into control.job_end (job_id, environment_id, route, state, number, cancel_requested_at)
    select job_id, environment_id, route, 4, number, now() from gone
), counted as (
    insert into control.route_delta (environment_id, route, waiting, retrying, canceled)
    select environment_id, route, -1, -(number > 0)::int, 1 from gone
)
select number, (select concurrency_key from freed) as concurrency_key from gone
