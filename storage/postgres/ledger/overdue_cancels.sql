-- Jobs that run on although their grace is over ($1 seconds), and requests whose job does not run any more.
select c.job_id, c.environment_id, l.session, l.attempt_id
from control.cancel_request c
left join control.lease l on l.job_id = c.job_id
where c.requested_at < now() - $1::float8 * interval '1 second'
order by c.job_id
limit $2
