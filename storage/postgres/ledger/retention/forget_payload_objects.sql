update control.job j set payload_object = null, payload = ''
from unnest($1::uuid[], $2::uuid[]) as a(environment_id, job_id)
where j.environment_id = a.environment_id and j.id = a.job_id and j.payload_object is not null
returning 1
