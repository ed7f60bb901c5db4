-- Sums of organization $1, or of its environment $2, from $3 to before $4; of meters $5 and projects $6, null means all; told
-- apart by project ($7), environment ($8), day ($9) and hour ($10). Whole days ($11) come from the sums by day. At most $12.
select u.meter, trim_scale(sum(u.quantity)) as quantity, trim_scale(coalesce(sum(u.quantity) filter (where u.adjustment), 0)) as adjustment,
    u.at, u.project_id, p.slug as project, u.environment_id, n.slug as environment
from (
    select meter, quantity, adjustment,
        case when $10::boolean then hour when $9::boolean then date_trunc('day', hour, 'UTC') end as at,
        case when $7::boolean then nullif(project_id, organization_id) end as project_id,
        case when $8::boolean then nullif(environment_id, organization_id) end as environment_id
    from control.usage_hour
    where not $11::boolean and organization_id = $1 and hour >= $3::timestamptz and hour < $4::timestamptz
        and ($2::uuid is null or environment_id = $2) and ($5::text[] is null or meter = any($5))
        and ($6::uuid[] is null or project_id = any($6))
    union all
    select meter, quantity, adjustment,
        case when $9::boolean then day::timestamp at time zone 'UTC' end,
        case when $7::boolean then nullif(project_id, organization_id) end,
        case when $8::boolean then nullif(environment_id, organization_id) end
    from control.usage_day
    where $11::boolean and organization_id = $1
        and day >= ($3::timestamptz at time zone 'UTC')::date and day < ($4::timestamptz at time zone 'UTC')::date
        and ($2::uuid is null or environment_id = $2) and ($5::text[] is null or meter = any($5))
        and ($6::uuid[] is null or project_id = any($6))
) u
left join control.project p on p.id = u.project_id
left join control.environment n on n.id = u.environment_id
group by u.meter, u.at, u.project_id, p.slug, u.environment_id, n.slug
order by u.at desc nulls last, p.slug, u.project_id, n.slug, u.environment_id, u.meter
limit $12
