-- End jobs that were not started in time. Retries carry no expiry: they were started.
with from_ready as materialized (
    select ctid as at, job_id, environment_id, route, number from control.ready
    where expires_at <= now() order by expires_at limit $1 for update skip locked
), from_due as materialized (
    select ctid as at, job_id, environment_id, route, number from control.due
    where expires_at <= now() order by expires_at limit $1 for update skip locked
), from_hold as materialized (
    select ctid as at, job_id, environment_id, route, number from control.hold
    where expires_at <= now() order by expires_at limit $1 for update skip locked
), gone_ready as (
    delete from control.ready where ctid = any (array(select at from from_ready))
), gone_due as (
    delete from control.due where ctid = any (array(select at from from_due))
), gone_hold as (
    delete from control.hold where ctid = any (array(select at from from_hold))
), gone as materialized (
    select * from from_ready union all select * from from_due union all select * from from_hold
), freed as (
    delete from control.permit where job_id = any (array(select job_id from from_ready)) returning job_id, concurrency_key
), ended as (
    insert into control.job_end (job_id, environment_id, route, state, number)
    select job_id, environment_id, route, 5, number from gone
), counted as (
    insert into control.route_delta (environment_id, route, waiting, retrying, expired)
    select environment_id, route, -count(*), -count(*) filter (where number > 0), count(*) from gone group by environment_id, route
)
select g.job_id, g.environment_id, g.number, f.concurrency_key from gone g left join freed f on f.job_id = g.job_id
