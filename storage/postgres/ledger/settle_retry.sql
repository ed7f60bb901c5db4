-- Put running jobs back: into `due` when there is a delay, else into the queue (or the line of its concurrency key).
-- Same fence and same order as settle_end. A job that somebody wants canceled is not tried again: it ends here.
with held as materialized (
    select l.*, a.outcome, a.error, a.delay_seconds, a.retry_key, j.concurrency_key, c.requested_at,
        c.requested_at is not null as canceled
    from unnest($2::uuid[], $3::bigint[], $4::smallint[], $5::bytea[], $6::float8[], $7::uuid[])
        as a(job_id, attempt_id, outcome, error, delay_seconds, retry_key)
    cross join lateral (
        select ctid as at, job_id, attempt_id, session, environment_id, route, rank, number, node, started_at
        from control.lease
        where job_id = a.job_id and attempt_id = a.attempt_id and session = $1::bigint
        for update
    ) l
    cross join lateral (
        select concurrency_key from control.job where environment_id = l.environment_id and id = l.job_id
    ) j
    left join lateral (select requested_at from control.cancel_request where job_id = l.job_id) c on true
), gone as (
    delete from control.lease where ctid = any (array(select at from held))
), ended as (
    insert into control.job_end (
        job_id, environment_id, route, state, outcome, number, attempt_id, session, node, started_at, error, cancel_requested_at
    )
    select job_id, environment_id, route, 4, outcome, number, attempt_id, session, node, started_at, error, requested_at
    from held where canceled
), heard as (
    delete from control.cancel_request where job_id = any (array(select job_id from held where canceled))
), recorded as (
    insert into control.attempt (
        environment_id, job_id, number, attempt_id, session, node, started_at, outcome, error, retry_key
    )
    select environment_id, job_id, number, attempt_id, session, node, started_at, outcome, error, retry_key
    from held where not canceled
), freed as (
    delete from control.permit where job_id = any (array(select job_id from held where concurrency_key is not null))
), readied as (
    insert into control.ready (route, rank, key, job_id, environment_id, number)
    select route, rank, retry_key, job_id, environment_id, number
    from held where not canceled and delay_seconds <= 0 and concurrency_key is null
), lined as (
    insert into control.hold (environment_id, concurrency_key, rank, key, job_id, route, number)
    select environment_id, concurrency_key, rank, retry_key, job_id, route, number
    from held where not canceled and delay_seconds <= 0 and concurrency_key is not null
), delayed as (
    insert into control.due (job_id, due_at, environment_id, route, rank, key, number, concurrency_key)
    select job_id, now() + delay_seconds * interval '1 second', environment_id, route, rank, retry_key, number, concurrency_key
    from held where not canceled and delay_seconds > 0
), counted as (
    insert into control.route_delta (environment_id, route, waiting, retrying, running, canceled)
    select environment_id, route, count(*) filter (where not canceled), count(*) filter (where not canceled), -count(*),
        count(*) filter (where canceled)
    from held group by environment_id, route
)
select job_id, environment_id, route, rank, number, concurrency_key, canceled from held
