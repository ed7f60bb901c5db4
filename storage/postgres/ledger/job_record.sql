-- What is known of the jobs in `page` (a CTE that the caller puts in front), newest first. $1 is the environment, $2 says
-- whether bodies are read.
select j.id, j.environment_id, j.route, r.function, r.selectors, j.rank, j.submitted_by, j.policy, j.labels, j.run_at,
    j.expires_at, j.traceparent, j.replay_of, j.trigger_id,
    case when $2::boolean then j.payload end as payload, case when $2 then j.payload_object end as payload_object,
    (select n.id from control.job n
        where n.environment_id = $1::uuid and n.replay_of = j.id order by n.id desc limit 1) as replayed_by,
    e.state as ended, e.outcome as end_outcome, e.number as end_number, e.attempt_id as end_attempt_id, e.node as end_node,
    e.started_at as end_started_at, e.finished_at, e.result_object as end_result_object,
    case when $2 then e.result end as result, case when $2 then e.error end as end_error,
    l.number as lease_number, l.attempt_id as lease_attempt_id, l.node as lease_node, l.started_at as lease_started_at,
    a.number as last_number, a.attempt_id as last_attempt_id, a.node as last_node, a.started_at as last_started_at,
    a.finished_at as last_finished_at, a.outcome as last_outcome, case when $2 then a.error end as last_error,
    coalesce(e.cancel_requested_at, c.requested_at) as cancel_requested_at
from page
join control.job j on j.environment_id = $1 and j.id = page.id
join control.route r on r.id = j.route
left join control.job_end e on e.environment_id = $1 and e.job_id = j.id
left join control.lease l on l.job_id = j.id
left join control.cancel_request c on c.job_id = j.id
left join lateral (
    select * from control.attempt where environment_id = $1 and job_id = j.id order by number desc limit 1
) a on true
order by j.id desc
