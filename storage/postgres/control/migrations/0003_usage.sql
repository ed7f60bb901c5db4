-- Usage events, meters and their sums (decision 31).

-- What was counted and no other row tells: custom meters, calls of the API, samples. `environment_id` is the organization's
-- id for what belongs to no environment. Quantities are exact decimals.
create table control.usage_event (
    environment_id uuid not null,
    source text not null,
    id text not null,
    meter text not null,
    quantity numeric not null check (quantity <> 'NaN' and abs(quantity) < 'Infinity'),
    at timestamptz not null,
    subject text,
    ingested_at timestamptz not null default clock_timestamp(),
    xact xid8 not null default pg_current_xact_id(),
    primary key (environment_id, source, id)
) with (autovacuum_vacuum_insert_threshold = 100000);
create index usage_event_time on control.usage_event using brin (ingested_at) with (pages_per_range = 16, autosummarize = on);

-- The sums. They outlive environment and project; `project_id` and `environment_id` are the organization's id for what
-- belongs to none. What came in after its hour had closed is in rows of its own.
create table control.usage_hour (
    organization_id uuid not null,
    project_id uuid not null,
    environment_id uuid not null,
    meter text not null,
    hour timestamptz not null,
    adjustment boolean not null,
    quantity numeric not null,
    facts bigint not null, -- how many rows are in it
    updated_at timestamptz not null default now(),
    primary key (organization_id, environment_id, hour, meter, adjustment)
) with (fillfactor = 80);
create index usage_hour_time on control.usage_hour (organization_id, hour);
create index usage_hour_environment on control.usage_hour (environment_id, hour);
create index usage_hour_age on control.usage_hour using brin (hour); -- for retention

create table control.usage_day (
    organization_id uuid not null,
    project_id uuid not null,
    environment_id uuid not null,
    meter text not null,
    day date not null, -- UTC
    adjustment boolean not null,
    quantity numeric not null,
    facts bigint not null,
    updated_at timestamptz not null default now(),
    primary key (organization_id, environment_id, day, meter, adjustment)
) with (fillfactor = 80);
create index usage_day_time on control.usage_day (organization_id, day);
create index usage_day_environment on control.usage_day (environment_id, day);

-- The last that was added of an environment that goes: its rows are deleted then, and nothing more of it is counted.
alter table control.environment add column usage_closed_at timestamptz;

-- What happened before there were meters is in no sum.
insert into control.follower (name) values ('usage.roll_up');

do $$
declare t text;
begin
    foreach t in array array['usage_event', 'usage_hour', 'usage_day'] loop
        execute format('alter table control.%I enable row level security', t);
        execute format('alter table control.%I force row level security', t);
        execute format('create policy process on control.%I to waypost_gateway, waypost_worker, waypost_owner
            using (true) with check (true)', t);
        execute format('create policy own on control.%I for select to waypost_environment
            using (environment_id = (select control.role_environment()))', t);
        execute format('grant select on control.%I to waypost_environment', t);
    end loop;
end $$;
grant select, insert on control.usage_event to waypost_gateway;
grant select on control.usage_hour, control.usage_day to waypost_gateway;
grant select, insert, delete on control.usage_event to waypost_worker;
grant select, insert, update, delete on control.usage_hour to waypost_worker;
grant select, insert, update on control.usage_day to waypost_worker;
