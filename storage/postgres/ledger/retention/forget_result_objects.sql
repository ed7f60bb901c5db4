update control.job_end e set result_object = null
from unnest($1::uuid[], $2::uuid[]) as a(environment_id, job_id)
where e.environment_id = a.environment_id and e.job_id = a.job_id and e.result_object is not null
returning 1
