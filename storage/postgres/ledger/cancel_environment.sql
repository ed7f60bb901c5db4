-- End up to $3 jobs of an environment ($1, its routes $2) in each of the places where jobs wait. No row = none waits that
-- nobody else holds: a claim or a sweep that holds one wins, and moves it to where the next look finds it.
with from_ready as (
    delete from control.ready where ctid = any (array(
        select ctid from control.ready where route = any ($2::int[]) limit $3 for update skip locked))
    returning job_id, environment_id, route, number
), from_due as (
    delete from control.due where ctid = any (array(
        select ctid from control.due where environment_id = $1 limit $3 for update skip locked))
    returning job_id, environment_id, route, number
), from_hold as (
    delete from control.hold where ctid = any (array(
        select ctid from control.hold where environment_id = $1 limit $3 for update skip locked))
    returning job_id, environment_id, route, number
), gone as (
    select * from from_ready union all select * from from_due union all select * from from_hold
), freed as (
    delete from control.permit where job_id = any (array(select job_id from gone))
), ended as (
    insert into control.job_end (job_id, environment_id, route, state, number, cancel_requested_at)
    select job_id, environment_id, route, 4, number, now() from gone
), counted as (
    insert into control.route_delta (environment_id, route, waiting, retrying, canceled)
    select environment_id, route, -count(*), -count(*) filter (where number > 0), count(*) from gone group by environment_id, route
)
select job_id, number from gone
