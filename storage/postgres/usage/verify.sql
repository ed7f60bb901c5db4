-- The sums of hours from $4 on against the facts of transactions from $1 to before $2 that were written after $3: how many
-- there are of each, how many differ, and the first that does. An environment whose usage is closed has no facts any more.
, found as materialized (
    select f.environment_id, f.hour, f.meter, sum(f.quantity) as quantity, sum(f.facts)::bigint as facts
    from facts f
    left join control.environment n on n.id = f.environment_id
    left join control.organization o on o.id = f.environment_id
    where f.hour >= $4::timestamptz and (n.id is not null and n.usage_closed_at is null or o.id is not null)
    group by 1, 2, 3
), kept as materialized (
    select h.environment_id, h.hour, h.meter, sum(h.quantity) as quantity, sum(h.facts)::bigint as facts
    from control.usage_hour h
    left join control.environment n on n.id = h.environment_id
    where h.hour >= $4::timestamptz and n.usage_closed_at is null
    group by 1, 2, 3
), differing as (
    select environment_id, hour, meter, k.quantity as summed, k.facts as summed_facts, f.quantity as told, f.facts as told_facts,
        count(*) over () as differences
    from kept k full join found f using (environment_id, hour, meter)
    where (k.quantity, k.facts) is distinct from (f.quantity, f.facts)
    order by hour, environment_id, meter
    limit 1
)
select t.sums, t.facts, coalesce(d.differences, 0) as differences, d.environment_id, d.hour as at, d.meter,
    trim_scale(d.summed) as summed, d.summed_facts, trim_scale(d.told) as told, d.told_facts
from (select (select count(*) from kept) as sums, (select coalesce(sum(facts), 0)::bigint from found) as facts) t
left join differing d on true
