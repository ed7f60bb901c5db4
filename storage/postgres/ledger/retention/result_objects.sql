-- Up to $4 results in S3 of jobs that ended before $1, in order of id after $3; $2 is the least id of $1.
select environment_id, job_id, result_object as key
from control.job_end
where result_object is not null and job_id < $2::uuid and job_id > $3::uuid and finished_at < $1::timestamptz
order by job_id
limit $4::int
