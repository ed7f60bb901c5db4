-- The jobs in `page` (a CTE that the caller puts in front), oldest first; `state` is null of those that have not ended.
-- $1 is the environment, $2 true.
select p.id, e.state, r.function from page p
join control.job j on j.environment_id = $1::uuid and j.id = p.id
join control.route r on r.id = j.route
left join control.job_end e on e.environment_id = $1 and e.job_id = p.id
where $2::boolean order by p.id
