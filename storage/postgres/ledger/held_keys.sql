-- Every concurrency key with a line, by a loose index scan: its cost is keys, not waiting jobs.
with recursive walk as (
    (select environment_id, concurrency_key from control.hold order by environment_id, concurrency_key limit 1)
    union all
    select n.environment_id, n.concurrency_key
    from walk w
    cross join lateral (
        select environment_id, concurrency_key
        from control.hold
        where (environment_id, concurrency_key) > (w.environment_id, w.concurrency_key)
        order by environment_id, concurrency_key
        limit 1
    ) n
)
select environment_id, concurrency_key from walk
