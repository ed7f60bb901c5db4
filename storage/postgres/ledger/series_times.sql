-- How long jobs waited for their first attempt and how long last attempts ran, by the minute in which that was over. Told
-- from a sample, so that a million jobs cost what a thousand do: of the jobs submitted in each slice of time (a range of ids)
-- at most `most` ends are looked at, found by primary key. A job that was to start later waits from then on. The `limit 1`
-- keeps the planner from reading the whole of control.job.
with mine as materialized (
    select id from control.route where environment_id = $1::uuid and ($2::text is null or function = $2)
), seen as materialized (
    select e.job_id, e.route, e.number, e.started_at, e.finished_at
    from unnest($4::uuid[], $5::uuid[], $6::int[]) as slice(low, high, most)
    cross join lateral (
        select job_id, route, number, started_at, finished_at
        from control.job_end
        where environment_id = $1 and job_id >= slice.low and job_id < slice.high
        order by job_id
        limit slice.most
    ) e
), took as (
    select s.started_at as at, greatest(s.started_at - greatest(uuid_extract_timestamp(s.job_id), j.run_at), interval '0') as start,
        null::interval as run
    from seen s
    join mine on mine.id = s.route
    cross join lateral (select run_at from control.job where environment_id = $1 and id = s.job_id limit 1) j
    where s.number = 1 and s.started_at >= $3::timestamptz
    union all
    select s.finished_at, null, s.finished_at - s.started_at
    from seen s
    join mine on mine.id = s.route
    where s.started_at is not null and s.finished_at >= $3
)
select minute, count(start_ms) as starts, count(run_ms) as runs,
    percentile_cont(array[0.5, 0.99]) within group (order by start_ms) as start_ms,
    percentile_cont(array[0.5, 0.99]) within group (order by run_ms) as run_ms
from (
    select date_trunc('minute', at) as minute, (extract(epoch from start) * 1000)::float8 as start_ms,
        (extract(epoch from run) * 1000)::float8 as run_ms
    from took
) t
group by minute
order by minute
