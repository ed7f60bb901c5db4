-- Every attempt of a job, first one first: those that did not end it, the one that did, the one that runs.
select t.*, n.name as node_name, s.process as relay
from (
    select number, attempt_id, session, node, started_at, finished_at, outcome, error, answer_refused_at
    from control.attempt where environment_id = $1::uuid and job_id = $2::uuid
    union all
    select number, attempt_id, session, node, started_at, finished_at, outcome, error, answer_refused_at
    from control.job_end where environment_id = $1 and job_id = $2 and attempt_id is not null
    union all
    select number, attempt_id, session, node, started_at, null, null, null, null
    from control.lease where environment_id = $1 and job_id = $2
) t
left join control.node n on n.id = t.node
left join control.session s on s.id = t.session
order by t.number
