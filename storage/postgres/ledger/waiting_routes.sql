-- Which (route, rank) of these routes are not empty, by a loose index scan: one probe an empty route, one more a rank in use.
with recursive walk as (
    select a.route, f.rank
    from unnest($1::int[]) as a(route)
    cross join lateral (select rank from control.ready where route = a.route order by rank limit 1) f
    union all
    select w.route, n.rank
    from walk w
    cross join lateral (
        select rank from control.ready where route = w.route and rank > w.rank order by rank limit 1
    ) n
)
select route, rank from walk
