-- End running jobs. A row counts only if session and attempt are those of the lease: the fence (decision 12a).
-- The caller sorts by job id and removes repeats (else one repeat breaks the batch, and unsorted batches deadlock).
-- Permit and cancel request are looked up by primary key, row by row: joins of the batch with itself grow with its square.
-- Measured, backend CPU a row: 19-22 µs at 32 rows, 12-13 at 128, 9-12 at 1,000; the same behind a million queued rows.
with held as materialized (
    select l.*, a.state, a.outcome, a.result, a.result_object, a.error, p.concurrency_key, c.requested_at
    from unnest($2::uuid[], $3::bigint[], $4::smallint[], $5::smallint[], $6::bytea[], $7::text[], $8::bytea[])
        as a(job_id, attempt_id, state, outcome, result, result_object, error)
    cross join lateral (
        select ctid as at, job_id, attempt_id, session, environment_id, route, rank, number, node, started_at
        from control.lease
        where job_id = a.job_id and attempt_id = a.attempt_id and session = $1::bigint
        for update
    ) l
    left join lateral (select concurrency_key from control.permit where job_id = l.job_id) p on true
    left join lateral (select requested_at from control.cancel_request where job_id = l.job_id) c on true
), gone as (
    delete from control.lease where ctid = any (array(select at from held))
), ended as (
    insert into control.job_end (
        job_id, environment_id, route, state, outcome, number, attempt_id, session, node, started_at, result, result_object,
        error, cancel_requested_at
    )
    select job_id, environment_id, route, state, outcome, number, attempt_id, session, node, started_at, result, result_object,
        error, requested_at
    from held
), counted as (
    insert into control.route_delta (environment_id, route, running, completed, failed, dead_letter, canceled)
    select environment_id, route, -count(*), count(*) filter (where state = 1), count(*) filter (where state = 2),
        count(*) filter (where state = 3), count(*) filter (where state = 4)
    from held group by environment_id, route
), freed as (
    delete from control.permit where job_id = any (array(select job_id from held where concurrency_key is not null))
), heard as (
    delete from control.cancel_request where job_id = any (array(select job_id from held where requested_at is not null))
)
select job_id, environment_id, route, rank, number, concurrency_key, false as canceled from held
