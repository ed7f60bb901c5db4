, summed as materialized (
    select coalesce(n.organization_id, o.id) as organization_id, coalesce(n.project_id, o.id) as project_id, f.environment_id,
        f.meter, f.hour, f.hour + interval '25 hours' <= now() as adjustment, sum(f.quantity) as quantity,
        sum(f.facts)::bigint as facts
    from facts f
    left join control.environment n on n.id = f.environment_id
    left join control.organization o on o.id = f.environment_id
    where (n.usage_closed_at is null and n.id is not null or o.id is not null)
        and ($4::uuid is null or f.environment_id = $4)
    group by 1, 2, 3, 4, 5, 6
), hours as (
    insert into control.usage_hour as h
        (organization_id, project_id, environment_id, meter, hour, adjustment, quantity, facts)
    select organization_id, project_id, environment_id, meter, hour, adjustment, quantity, facts from summed
    on conflict (organization_id, environment_id, hour, meter, adjustment) do update
        set quantity = h.quantity + excluded.quantity, facts = h.facts + excluded.facts, updated_at = now()
), days as (
    insert into control.usage_day as d
        (organization_id, project_id, environment_id, meter, day, adjustment, quantity, facts)
    select organization_id, project_id, environment_id, meter, (hour at time zone 'UTC')::date, adjustment, sum(quantity),
        sum(facts)::bigint
    from summed group by 1, 2, 3, 4, 5, 6
    on conflict (organization_id, environment_id, day, meter, adjustment) do update
        set quantity = d.quantity + excluded.quantity, facts = d.facts + excluded.facts, updated_at = now()
)
select coalesce(sum(facts), 0)::bigint from summed
