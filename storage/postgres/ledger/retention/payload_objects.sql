-- Up to $4 payloads in S3 of jobs that ended before $1, in order of id after $3; $2 is the least id of $1.
select j.environment_id, j.id as job_id, j.payload_object as key
from control.job j
where j.payload_object is not null and j.id < $2::uuid and j.id > $3::uuid and exists (
    select from control.job_end e
    where e.environment_id = j.environment_id and e.job_id = j.id and e.finished_at < $1::timestamptz
)
order by j.id
limit $4::int
