-- Jobs are counted by their own states: of those that wait, how many are tried again; of those that ended otherwise than
-- completed, how. Ends of before stay under `failed`, where all of them were counted: most of their rows are gone.
alter table control.route_delta
    add column retrying integer not null default 0, -- of `waiting`
    add column dead_letter integer not null default 0,
    add column canceled integer not null default 0,
    add column expired integer not null default 0;
alter table control.route_count
    add column retrying bigint not null default 0,
    add column dead_letter bigint not null default 0,
    add column canceled bigint not null default 0,
    add column expired bigint not null default 0;
alter table control.route_minute add column canceled bigint not null default 0; -- `failed` is all others

update control.route_count c set retrying = w.retrying
from (
    select route, count(*) as retrying
    from (
        select route from control.ready where number > 0
        union all select route from control.due where number > 0
        union all select route from control.hold where number > 0
    ) r
    group by route
) w
where c.route = w.route;
