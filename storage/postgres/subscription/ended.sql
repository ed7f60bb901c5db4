-- Jobs that ended in transactions from $1 to before $2, in the order of their transactions; of each transaction all. $3 is
-- an instant before which none of them ended, $4 the environments that somebody subscribes to. Each part is found by the
-- BRIN index on finished_at (see 0003_event.sql).
select environment_id, job_id, error, xact::text as xact
from control.job_end
where finished_at >= $3::timestamptz and xact >= $1::text::xid8 and xact < $2::text::xid8
    and environment_id = any ($4::uuid[])
order by xact fetch first ($5::int) rows with ties
