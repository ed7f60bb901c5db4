-- What an ended session still holds, with what is needed to decide what follows.
select l.job_id, l.attempt_id, l.number, j.policy
from control.lease l
left join control.job j on j.environment_id = l.environment_id and j.id = l.job_id
where l.session = $1
order by l.job_id
limit $2
