-- What a minute of a route was, for charts: besides what came and ended, what started, and how the numbers of waiting and
-- running jobs moved. Minutes from before this revision have zeros: the charts of the first hour after it begin flat.
alter table control.route_minute
    add column started bigint not null default 0, -- attempts
    add column waiting bigint not null default 0, -- how much it moved, also downwards
    add column running bigint not null default 0;
