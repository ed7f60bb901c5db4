-- Attempts of deliveries; bounds as in ended.sql.
select environment_id, date_trunc('hour', finished_at) as hour, 'webhook.deliveries' as meter, count(*)::numeric as quantity,
    count(*) as facts
from control.delivery_attempt
where finished_at >= $3::timestamptz and xact >= $1::text::xid8 and xact < $2::text::xid8
group by 1, 2
