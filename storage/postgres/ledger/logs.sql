-- The sealed log chunks of a job, in order, after (number, sequence).
select number, sequence, lines
from control.job_log
where environment_id = $1::uuid and job_id = $2::uuid and (number, sequence) > ($3::smallint, $4::int)
order by number, sequence
limit $5
