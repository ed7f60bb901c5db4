-- Where a job stands, and whether its function is paused: at most one of the five places holds it.
with job as materialized (
    select j.id, j.route, j.rank, j.concurrency_key, r.function, a.finished_at, coalesce(a.number, 0) as number,
        coalesce(a.retry_key, j.id) as key
    from control.job j
    join control.route r on r.id = j.route
    left join lateral (
        select * from control.attempt where environment_id = $1 and job_id = j.id order by number desc limit 1
    ) a on true
    where j.environment_id = $1::uuid and j.id = $2::uuid
)
select job.number, uuid_extract_timestamp(job.key) as queued_at, coalesce(job.finished_at, uuid_extract_timestamp(job.id)) as due_since,
    job.concurrency_key, d.due_at, h.job_id is not null as held, q.job_id is not null as ready,
    l.started_at, l.number as lease_number, e.finished_at as ended_at, e.number as end_number,
    p.note as paused_note, p.paused_by, p.paused_at
from job
left join control.due d on d.job_id = job.id
left join control.hold h on h.environment_id = $1 and h.concurrency_key = job.concurrency_key and h.rank = job.rank
    and h.key = job.key
left join control.ready q on q.route = job.route and q.rank = job.rank and q.key = job.key
left join control.lease l on l.job_id = job.id
left join control.job_end e on e.environment_id = $1 and e.job_id = job.id
left join control.function_pause p on p.environment_id = $1 and p.function = job.function
