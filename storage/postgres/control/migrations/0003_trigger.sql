-- Triggers (webhooks, schedules) and their firings.

create table control.trigger (
    id uuid primary key,
    environment_id uuid not null references control.environment,
    kind text not null check (kind in ('webhook', 'schedule')),
    name text not null,
    job jsonb not null, -- waypost.job.model.JobSpec without payload, defaults left out
    settings jsonb not null, -- webhook: verify, filter, map, rate_per_second; schedule: schedule, overlap, catch_up, jitter_seconds
    paused_at timestamptz,
    paused_by text,
    row_version bigint not null default 1,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz
);
create index trigger_listing on control.trigger (environment_id, id desc) where deleted_at is null;

-- What a webhook's senders sign with, sealed with the environment's data key. The newest has the highest ordinal; the one
-- before it ends at `expires_at`, so that two are valid while a secret is rotated.
create table control.trigger_secret (
    trigger_id uuid not null references control.trigger on delete cascade,
    environment_id uuid not null,
    ordinal integer not null,
    sealed bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz, -- null: until it is rotated
    primary key (trigger_id, ordinal)
);
create index trigger_secret_environment on control.trigger_secret (environment_id);

-- One row a time that a trigger fired, or should have and did not. The id of an accepted firing is its job's, so that a
-- firing whose row was lost in a crash is still known by its job (control.job.trigger_id).
create table control.firing (
    environment_id uuid not null,
    trigger_id uuid not null,
    id uuid not null,
    at timestamptz not null, -- webhook: received; schedule: due
    outcome text not null check (outcome in (
        'accepted', 'duplicate', 'bad_signature', 'stale', 'filtered', 'skipped_overlap', 'missed', 'refused'
    )),
    job_id uuid, -- of a duplicate: the first one's
    detail text,
    headers jsonb, -- of the request, credentials masked
    primary key (environment_id, trigger_id, id)
) with (autovacuum_vacuum_insert_threshold = 100000);
create index firing_time on control.firing using brin (at) with (pages_per_range = 16, autosummarize = on);

-- When a schedule is due next. Its row is its lock: no leader, SKIP LOCKED (decision 14).
create table control.schedule (
    trigger_id uuid primary key references control.trigger on delete cascade,
    environment_id uuid not null,
    next_at timestamptz, -- null: never again, or paused. With jitter later than it is due
    last_due_at timestamptz not null -- up to and with this due time everything is decided
) with (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);
create index schedule_next on control.schedule (next_at) where next_at is not null;
create index schedule_environment on control.schedule (environment_id);

do $$
declare t text;
begin
    foreach t in array array['trigger', 'trigger_secret', 'firing', 'schedule'] loop
        execute format('alter table control.%I enable row level security', t);
        execute format('alter table control.%I force row level security', t);
        execute format('create policy process on control.%I to waypost_gateway, waypost_worker, waypost_owner
            using (true) with check (true)', t);
    end loop;
    foreach t in array array['trigger', 'firing', 'schedule'] loop -- no environment's role sees a secret, sealed or not
        execute format('create policy own on control.%I for select to waypost_environment
            using (environment_id = (select control.role_environment()))', t);
        execute format('grant select on control.%I to waypost_environment', t);
    end loop;
end $$;

grant select, insert, update on control.trigger to waypost_gateway;
grant select, insert, update, delete on control.trigger_secret, control.schedule to waypost_gateway;
grant select, insert on control.firing to waypost_gateway;
grant select, insert, update, delete on control.trigger, control.trigger_secret, control.firing, control.schedule to waypost_worker;
