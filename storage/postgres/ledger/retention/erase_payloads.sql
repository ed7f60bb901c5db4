-- Empty is the mark of what was erased; a job without a payload has null.
update control.job j set payload = ''
from unnest($1::uuid[], $2::uuid[]) as a(environment_id, job_id)
where j.environment_id = a.environment_id and j.id = a.job_id and j.payload <> ''
returning 1
