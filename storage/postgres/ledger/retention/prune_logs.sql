-- Up to $3 chunks of logs of jobs with ids in [$1, $2), environment by environment: by the primary key.
delete from control.job_log where ctid = any (array(
    select a.at from control.environment e cross join lateral (
        select ctid as at from control.job_log
        where environment_id = e.id and job_id >= $1::uuid and job_id < $2::uuid limit $3::int
        for update skip locked
    ) a limit $3
))
returning 1
