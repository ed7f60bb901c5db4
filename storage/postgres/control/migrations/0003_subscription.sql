-- Subscriptions and their deliveries.

create table control.subscription (
    id uuid primary key,
    environment_id uuid not null references control.environment,
    url text not null,
    events text[] not null, -- "job.completed", "job.*", "*"
    description text not null default '',
    disabled_at timestamptz,
    disabled_reason text check (disabled_reason in ('asked', 'gone', 'failing')),
    failing_since timestamptz, -- the first failure after the last success
    row_version bigint not null default 1,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,
    check ((disabled_at is null) = (disabled_reason is null))
);
create index subscription_listing on control.subscription (environment_id, id desc) where deleted_at is null;

-- What its deliveries are signed with, sealed with the environment's data key. The newest has the highest ordinal; the one
-- before it signs too until `expires_at`.
create table control.subscription_secret (
    subscription_id uuid not null references control.subscription on delete cascade,
    environment_id uuid not null,
    ordinal integer not null,
    sealed bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz, -- null: until it is rotated
    primary key (subscription_id, ordinal)
);
create index subscription_secret_environment on control.subscription_secret (environment_id);

-- One event for one subscription. The id of a job's event is the job's: a job ends once.
create table control.delivery (
    environment_id uuid not null,
    subscription_id uuid not null,
    id uuid not null,
    event_id uuid not null, -- the header webhook-id
    event text not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    attempts smallint not null default 0,
    body bytea not null, -- sealed
    status integer, -- of the last answer
    error text, -- why the last attempt failed
    finished_at timestamptz,
    primary key (environment_id, subscription_id, id),
    unique (subscription_id, event_id)
) with (fillfactor = 85, autovacuum_vacuum_insert_threshold = 100000);

-- Deliveries that are to be sent, each once: small, so that a claim costs the same behind a long record.
create table control.delivery_queue (
    environment_id uuid not null,
    subscription_id uuid not null,
    delivery_id uuid not null,
    due_at timestamptz not null default now(), -- of a claimed one: when its worker is taken for dead
    tries smallint not null default 0, -- since it was last asked for
    number smallint not null default 0, -- of the attempt
    claim bigint, -- of the worker that has it; the fence
    primary key (environment_id, delivery_id)
) with (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);
create index delivery_queue_due on control.delivery_queue (subscription_id, due_at);

create table control.delivery_attempt (
    environment_id uuid not null,
    subscription_id uuid not null,
    delivery_id uuid not null,
    number smallint not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    duration_ms integer not null,
    status integer,
    error text,
    response bytea, -- sealed: headers and the beginning of the body
    xact xid8 not null default pg_current_xact_id(),
    primary key (environment_id, subscription_id, delivery_id, number)
) with (autovacuum_vacuum_insert_threshold = 100000);
create index delivery_attempt_time on control.delivery_attempt using brin (finished_at)
    with (pages_per_range = 16, autosummarize = on);

-- Events that no ledger row tells of, from their transaction until they are fanned out.
create table control.environment_event (
    number bigint generated always as identity primary key,
    environment_id uuid not null,
    type text not null,
    data jsonb not null,
    at timestamptz not null default clock_timestamp()
);
create index environment_event_environment on control.environment_event (environment_id);

create function control.note_environment_status() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    word text := case
        when new.status = 'ready' and old.status = 'suspended' then 'resumed'
        when new.status in ('ready', 'suspended', 'failed') then new.status
    end;
begin
    if word is not null and exists (
        select from control.subscription s
        where s.environment_id = new.id and s.deleted_at is null and s.disabled_at is null
    ) then
        insert into control.environment_event (environment_id, type, data) values (
            new.id, 'environment.' || word,
            jsonb_build_object('status', new.status, 'previous_status', old.status, 'reason', new.status_reason)
        );
    end if;
    return null;
end $$;
revoke execute on function control.note_environment_status() from public;
create trigger environment_status after update of status on control.environment
    for each row when (old.status is distinct from new.status)
    execute function control.note_environment_status();

-- What ended before there were subscriptions is told to nobody.
insert into control.follower (name) values ('subscription.fan_out');

do $$
declare t text;
begin
    foreach t in array array[
        'subscription', 'subscription_secret', 'delivery', 'delivery_queue', 'delivery_attempt', 'environment_event'
    ] loop
        execute format('alter table control.%I enable row level security', t);
        execute format('alter table control.%I force row level security', t);
        execute format('create policy process on control.%I to waypost_gateway, waypost_worker, waypost_owner
            using (true) with check (true)', t);
        execute format('grant select, insert, update, delete on control.%I to waypost_worker', t);
    end loop;
    foreach t in array array['subscription', 'delivery', 'delivery_queue', 'delivery_attempt'] loop -- no secret, no outbox
        execute format('create policy own on control.%I for select to waypost_environment
            using (environment_id = (select control.role_environment()))', t);
        execute format('grant select on control.%I to waypost_environment', t);
    end loop;
end $$;
grant select, insert, update on control.subscription, control.delivery to waypost_gateway;
grant select, insert, update, delete on control.subscription_secret to waypost_gateway;
grant select, insert, update on control.delivery_queue to waypost_gateway;
grant usage on all sequences in schema control to waypost_worker;
