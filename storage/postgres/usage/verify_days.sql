-- The sums of days from $1 on against those of their hours, as verify.sql.
with found as materialized (
    select organization_id, environment_id, (hour at time zone 'UTC')::date as day, meter, adjustment,
        sum(quantity) as quantity, sum(facts)::bigint as facts
    from control.usage_hour where hour >= $1::date::timestamp at time zone 'UTC'
    group by 1, 2, 3, 4, 5
), kept as materialized (
    select organization_id, environment_id, day, meter, adjustment, quantity, facts from control.usage_day where day >= $1::date
), differing as (
    select environment_id, day, meter, k.quantity as summed, k.facts as summed_facts, f.quantity as told, f.facts as told_facts,
        count(*) over () as differences
    from kept k full join found f using (organization_id, environment_id, day, meter, adjustment)
    where (k.quantity, k.facts) is distinct from (f.quantity, f.facts)
    order by day, environment_id, meter
    limit 1
)
select t.sums, t.facts, coalesce(d.differences, 0) as differences, d.environment_id,
    d.day::timestamp at time zone 'UTC' as at, d.meter, trim_scale(d.summed) as summed, d.summed_facts,
    trim_scale(d.told) as told, d.told_facts
from (select (select count(*) from kept) as sums, (select coalesce(sum(facts), 0)::bigint from found) as facts) t
left join differing d on true
