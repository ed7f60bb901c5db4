-- Move jobs whose time has come into their queue, or into the line of their concurrency key.
with picked as materialized (
    select ctid as at, job_id, environment_id, route, rank, key, number, expires_at, concurrency_key
    from control.due
    where due_at <= now()
    order by due_at
    limit $1
    for update skip locked
), gone as (
    delete from control.due where ctid = any (array(select at from picked))
), readied as (
    insert into control.ready (route, rank, key, job_id, environment_id, number, expires_at)
    select route, rank, key, job_id, environment_id, number, expires_at from picked where concurrency_key is null
), lined as (
    insert into control.hold (environment_id, concurrency_key, rank, key, job_id, route, number, expires_at)
    select environment_id, concurrency_key, rank, key, job_id, route, number, expires_at
    from picked where concurrency_key is not null
)
select environment_id, route, rank, concurrency_key, count(*) as jobs
from picked group by environment_id, route, rank, concurrency_key
