-- Usage events; bounds as in ended.sql, by when they came in.
select environment_id, date_trunc('hour', at) as hour, meter, sum(quantity) as quantity, count(*) as facts
from control.usage_event
where ingested_at >= $3::timestamptz and xact >= $1::text::xid8 and xact < $2::text::xid8
group by 1, 2, 3
