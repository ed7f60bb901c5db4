-- Up to $6 chunks of a job's log in order, from the one that holds line $5 of attempt $4 on; of attempt $3 alone when it is
-- not null. `lines` is sealed; null: the chunk lies in the bucket under `object_key`, with `line_count` lines. One statement, so that a chunk that
-- moves to the bucket meanwhile is seen in one of the two places.
(
    select number, sequence as first_line, 0 as line_count, lines, null as object_key from control.job_log
    where environment_id = $1::uuid and job_id = $2::uuid and ($3::smallint is null or number = $3)
        and (number, sequence) >= ($4::smallint, coalesce((
            select max(sequence) from control.job_log
            where environment_id = $1 and job_id = $2 and number = $4 and sequence <= $5::int
        ), 0))
    order by number, sequence limit $6::int
)
union all
(
    select number, first_line, lines, null, object_key from control.log_object
    where environment_id = $1 and job_id = $2 and ($3 is null or number = $3)
        and (number > $4 or number = $4 and first_line + lines > $5)
    order by number, first_line limit $6
)
order by number, first_line
limit $6
