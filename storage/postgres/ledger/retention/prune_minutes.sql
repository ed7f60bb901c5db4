delete from control.route_minute where ctid = any (array(
    select m.at from control.route r cross join lateral (
        select ctid as at from control.route_minute
        where route = r.id and minute < now() - interval '2 days' limit $1::int
        for update skip locked
    ) m limit $1
))
returning 1
