-- A platform job is not younger than its id: $2 is the least id of 30 days ago.
delete from control.platform_job where id in (
    select id from control.platform_job
    where id < $2::uuid and finished_at < now() - interval '30 days'
        and state in ('completed', 'failed', 'dead_letter')
    order by id limit $1::int for update skip locked
)
returning 1
