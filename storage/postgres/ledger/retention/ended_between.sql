-- Up to $4 jobs that ended in [$1, $2), by their ends' BRIN. Jobs with ids from $3 on cannot have: their weeks are left out.
select environment_id, job_id from control.job_end
where finished_at >= $1::timestamptz and finished_at < $2::timestamptz and job_id < $3::uuid
limit $4::int
