-- Give permits to the heads of concurrency lines, in order, while fewer than the limit run. A later job of the line never
-- passes an earlier one; the limit is that of the job that wants to start. The caller holds the locks of these keys and
-- took them in an earlier statement: a snapshot older than the lock would count too few permits.
with line as materialized (
    select h.*, coalesce(p.held, 0) as held, row_number() over (partition by h.environment_id, h.concurrency_key order by h.rank, h.key) as nth
    from unnest($1::uuid[], $2::text[]) as a(environment_id, concurrency_key)
    cross join lateral (
        select count(*) as held from control.permit
        where environment_id = a.environment_id and concurrency_key = a.concurrency_key
    ) p
    cross join lateral (
        select h.ctid as at, h.job_id, h.environment_id, h.concurrency_key, h.route, h.rank, h.key, h.number, h.expires_at,
            j.concurrency_limit
        from control.hold h
        join control.job j on j.environment_id = h.environment_id and j.id = h.job_id
        where h.environment_id = a.environment_id and h.concurrency_key = a.concurrency_key
        order by h.rank, h.key
        limit $3::int
        for update of h
    ) h
), fits as materialized (
    select * from (
        select line.*, bool_and(held + nth <= concurrency_limit)
            over (partition by environment_id, concurrency_key order by nth) as free
        from line
    ) l where free
), gone as (
    delete from control.hold where ctid = any (array(select at from fits))
), permitted as (
    insert into control.permit (job_id, environment_id, concurrency_key)
    select job_id, environment_id, concurrency_key from fits
), readied as (
    insert into control.ready (route, rank, key, job_id, environment_id, number, expires_at)
    select route, rank, key, job_id, environment_id, number, expires_at from fits
)
select environment_id, route, rank, count(*) as jobs from fits group by environment_id, route, rank
