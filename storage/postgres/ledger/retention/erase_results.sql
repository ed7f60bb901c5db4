update control.job_end e set result = null
from unnest($1::uuid[], $2::uuid[]) as a(environment_id, job_id)
where e.environment_id = a.environment_id and e.job_id = a.job_id and e.result is not null
returning 1
