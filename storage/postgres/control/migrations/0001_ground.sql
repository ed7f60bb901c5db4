-- The control schema's first version: tenancy, access, nodes, the job ledger, platform jobs.
-- Run as waypost_owner. The roles named here are made by storage.postgres.cluster before any migration.

-- Tenancy ---------------------------------------------------------------------------------------------------------------

create table control.organization (
    id uuid primary key,
    slug text not null unique,
    name text not null,
    row_version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table control.project (
    id uuid primary key,
    organization_id uuid not null references control.organization,
    slug text not null,
    name text not null,
    description text not null default '',
    row_version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (organization_id, slug)
);

create table control.environment (
    id uuid primary key,
    organization_id uuid not null references control.organization,
    project_id uuid not null references control.project,
    slug text not null,
    name text not null,
    posture text not null check (posture in ('dev', 'staging', 'prod')),
    backend text not null default 'postgres',
    tenancy text not null default 'closed' check (tenancy in ('closed', 'open')),
    database_cluster text not null default 'main',
    status text not null default 'provisioning'
        check (status in ('provisioning', 'ready', 'failed', 'suspended', 'deleting', 'deleted')),
    status_reason text,
    limits jsonb not null default '{}',
    row_version bigint not null default 1,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz
);
-- Names can be used again after deletion (decision 5).
create unique index environment_slug on control.environment (organization_id, slug) where deleted_at is null;
create index environment_project on control.environment (project_id, id desc);

create table control.environment_step (
    environment_id uuid not null references control.environment,
    ordinal smallint not null,
    name text not null,
    state text not null default 'pending' check (state in ('pending', 'running', 'done', 'failed')),
    started_at timestamptz,
    finished_at timestamptz,
    error text,
    primary key (environment_id, name)
);

-- Sealed secrets of an environment: `data_key` is wrapped by the key-encryption key `kek_id`, so that changing that key
-- re-wraps one row; `database_password` and `s3_credentials` are sealed with the data key (`kek_id` null) and go with it.
create table control.environment_secret (
    environment_id uuid not null references control.environment,
    name text not null,
    sealed bytea not null,
    kek_id text,
    check ((name = 'data_key') = (kek_id is not null)),
    created_at timestamptz not null default now(),
    primary key (environment_id, name)
);

create table control.signing_key (
    kid text primary key,
    environment_id uuid not null references control.environment,
    algorithm text not null default 'RS256',
    public_jwk jsonb not null,
    sealed_private bytea not null, -- with the environment's data key
    published_at timestamptz not null default now(),
    retired_at timestamptz
);
create index signing_key_environment on control.signing_key (environment_id);

-- Access ----------------------------------------------------------------------------------------------------------------

create table control.api_key (
    id uuid primary key,
    public_id text not null unique,
    organization_id uuid not null references control.organization,
    environment_id uuid references control.environment, -- null: a key of the organization
    name text not null,
    role text not null check (role in ('org_admin', 'project_admin', 'operator', 'viewer')),
    secret_hash bytea not null, -- SHA-256 of the whole key text
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    replaced_by uuid,
    last_used_at timestamptz
);
create index api_key_owner on control.api_key (organization_id, environment_id, id desc);

create table control.node_credential (
    id uuid primary key,
    environment_id uuid not null references control.environment,
    client_id text not null unique,
    secret_hash bytea not null,
    name text not null,
    allowed_tags jsonb, -- null: any
    functions jsonb, -- null: any
    created_by text not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    last_used_at timestamptz
);
create index node_credential_environment on control.node_credential (environment_id, id desc);

-- Audit: insert-only for everyone but its reader.
create table control.audit (
    id uuid primary key,
    organization_id uuid not null,
    project_id uuid,
    environment_id uuid,
    actor text not null,
    action text not null,
    target text not null,
    outcome text not null,
    request_id text,
    source_address text,
    details jsonb,
    at timestamptz not null default now()
);
create index audit_organization on control.audit (organization_id, id desc);

-- Relays and nodes --------------------------------------------------------------------------------------------------------

-- One row a start of a relay (or a worker): what expires when a process dies (decision 12a).
create table control.session (
    id bigint generated always as identity primary key,
    process text not null, -- "relay-1"
    kind text not null check (kind in ('relay', 'worker')),
    address text not null,
    pid integer not null,
    started_at timestamptz not null default now(),
    lease_until timestamptz not null,
    ended_at timestamptz
);
create index session_live on control.session (lease_until) where ended_at is null;

create table control.node (
    id uuid primary key,
    environment_id uuid not null references control.environment,
    session bigint not null,
    credential_id uuid not null,
    name text not null,
    tags jsonb not null, -- {"gpu": "", "mem_gb": "24"}
    functions jsonb not null, -- [{"name", "max_in_flight", "input_schema"?, "output_schema"?}]
    sdk text,
    version text,
    max_in_flight integer not null,
    in_flight integer not null default 0,
    completed bigint not null default 0,
    failed bigint not null default 0,
    round_trip_ms double precision,
    draining boolean not null default false,
    connected_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    disconnected_at timestamptz,
    disconnect_reason text
);
create index node_connected on control.node (environment_id) where disconnected_at is null;
create index node_listing on control.node (environment_id, id desc);
create index node_session on control.node (session) where disconnected_at is null;

-- Routes ------------------------------------------------------------------------------------------------------------------

create table control.route (
    id integer generated always as identity primary key,
    environment_id uuid not null references control.environment,
    function text not null,
    selectors jsonb not null, -- canonical texts, sorted
    created_at timestamptz not null default now(),
    unique (environment_id, function, selectors)
);

create table control.function_pause (
    environment_id uuid not null references control.environment,
    function text not null,
    note text not null default '',
    paused_by text not null,
    paused_at timestamptz not null default now(),
    primary key (environment_id, function)
);

-- The ledger --------------------------------------------------------------------------------------------------------------
-- Which table holds a job is its state: due (not yet), hold (waits for a permit), ready, lease (running), job_end.

create table control.job (
    id uuid not null,
    environment_id uuid not null,
    route integer not null,
    rank smallint not null, -- 9 - priority: 0 is first
    submitted_by text not null,
    policy text, -- JSON, null = all defaults
    labels jsonb,
    payload bytea, -- sealed; empty once it was erased (what is sealed is never empty)
    payload_object text,
    run_at timestamptz,
    expires_at timestamptz,
    concurrency_key text,
    concurrency_limit integer,
    traceparent text,
    replay_of uuid,
    trigger_id uuid,
    primary key (environment_id, id)
) partition by range (id);
create index job_replay on control.job (environment_id, replay_of) where replay_of is not null;
create index job_trigger on control.job (environment_id, trigger_id, id) where trigger_id is not null;
create index job_object on control.job (id) where payload_object is not null; -- retention deletes objects by it

-- A table and not a GIN index on job.labels: containment of jsonb is not leakproof, so under row security no index
-- would be used for it; equality of text is.
create table control.job_label (
    environment_id uuid not null,
    label text not null, -- "KEY=VALUE"
    job_id uuid not null,
    primary key (environment_id, label, job_id)
) partition by range (job_id);

create table control.ready (
    route integer not null,
    rank smallint not null,
    key uuid not null, -- the job id, or a fresh UUIDv7 on a retry
    job_id uuid not null,
    environment_id uuid not null,
    number smallint not null default 0, -- attempts so far
    expires_at timestamptz,
    primary key (route, rank, key)
) with (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);
create index ready_expiry on control.ready (expires_at) where expires_at is not null;

create table control.due (
    job_id uuid primary key,
    due_at timestamptz not null,
    environment_id uuid not null,
    route integer not null,
    rank smallint not null,
    key uuid not null,
    number smallint not null default 0,
    expires_at timestamptz,
    concurrency_key text
) with (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);
create index due_time on control.due (due_at);
create index due_environment on control.due (environment_id);
create index due_expiry on control.due (expires_at) where expires_at is not null;

create table control.hold (
    environment_id uuid not null,
    concurrency_key text not null,
    rank smallint not null,
    key uuid not null,
    job_id uuid not null,
    route integer not null,
    number smallint not null default 0,
    expires_at timestamptz,
    primary key (environment_id, concurrency_key, rank, key)
);
create index hold_expiry on control.hold (expires_at) where expires_at is not null;

-- Who counts against a concurrency key: from leaving `hold` until the attempt is settled.
create table control.permit (
    job_id uuid primary key,
    environment_id uuid not null,
    concurrency_key text not null
);
create index permit_key on control.permit (environment_id, concurrency_key);

create table control.lease (
    job_id uuid primary key, -- a job cannot be held twice
    attempt_id bigint not null,
    session bigint not null,
    environment_id uuid not null,
    route integer not null,
    rank smallint not null,
    key uuid not null,
    number smallint not null,
    node uuid not null,
    started_at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);

create table control.job_end (
    job_id uuid not null,
    environment_id uuid not null,
    route integer not null,
    state smallint not null, -- waypost.job.model.End
    outcome smallint, -- waypost.job.model.Outcome of the last attempt; null when none began
    number smallint not null,
    attempt_id bigint,
    session bigint,
    node uuid,
    started_at timestamptz,
    finished_at timestamptz not null default clock_timestamp(),
    result bytea, -- sealed
    result_object text,
    error bytea, -- sealed
    cancel_requested_at timestamptz,
    primary key (environment_id, job_id) -- the last guard of "exactly one end"
) partition by range (job_id);
create index job_end_time on control.job_end using brin (finished_at) with (pages_per_range = 16, autosummarize = on);
create index job_end_object on control.job_end (job_id) where result_object is not null; -- retention deletes objects by it

-- Attempts that did not end their job; the last one is in job_end.
create table control.attempt (
    environment_id uuid not null,
    job_id uuid not null,
    number smallint not null,
    attempt_id bigint not null,
    session bigint not null,
    node uuid not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    outcome smallint not null,
    error bytea, -- sealed
    retry_key uuid not null, -- where it stands in `ready` or `due` after this
    primary key (environment_id, job_id, number)
);
create index attempt_time on control.attempt using brin (finished_at) with (pages_per_range = 16, autosummarize = on);

-- Only while the job runs; its end keeps the instant.
create table control.cancel_request (
    job_id uuid primary key,
    environment_id uuid not null,
    requested_by text not null,
    requested_at timestamptz not null default now()
);

create table control.job_log (
    environment_id uuid not null,
    job_id uuid not null,
    number smallint not null, -- the attempt's
    sequence integer not null,
    lines bytea not null, -- sealed JSON array of {at, level, message}
    primary key (environment_id, job_id, number, sequence)
);

create table control.idempotency (
    environment_id uuid not null, -- or the organization's id
    scope text not null,
    key text not null,
    reference uuid not null,
    request_hash bytea not null,
    answer bytea, -- what was answered first, where it cannot be made again from the reference
    expires_at timestamptz not null,
    primary key (environment_id, scope, key)
);
create index idempotency_expiry on control.idempotency using brin (expires_at) with (pages_per_range = 16, autosummarize = on);

-- Counts without hot rows: statements append deltas, the worker folds them (`E/queue`, admission, rates).
create table control.route_delta (
    environment_id uuid not null,
    route integer not null,
    waiting integer not null default 0,
    running integer not null default 0,
    completed integer not null default 0,
    failed integer not null default 0, -- ended otherwise than completed
    at timestamptz not null default now()
) with (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);

create table control.route_count (
    route integer primary key,
    environment_id uuid not null,
    waiting bigint not null default 0,
    running bigint not null default 0,
    completed bigint not null default 0,
    failed bigint not null default 0
);
create index route_count_environment on control.route_count (environment_id);

create table control.route_minute (
    route integer not null,
    minute timestamptz not null,
    environment_id uuid not null,
    submitted bigint not null default 0,
    completed bigint not null default 0,
    failed bigint not null default 0,
    primary key (route, minute)
);

-- Platform jobs: the queued row is the outbox, Dramatiq carries hints (decision 13). -----------------------------------------

create table control.platform_job (
    id uuid primary key,
    kind text not null, -- "environment.provision"
    environment_id uuid,
    subject uuid not null, -- what it is about; handlers read the rest from the truth
    state text not null default 'queued' check (state in ('queued', 'running', 'completed', 'failed', 'dead_letter')),
    number smallint not null default 0,
    max_attempts smallint not null default 5,
    run_at timestamptz not null default now(),
    hinted_at timestamptz,
    session bigint,
    attempt_id bigint,
    error text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz
);
create index platform_job_open on control.platform_job (run_at) where state in ('queued', 'running');
create unique index platform_job_once on control.platform_job (kind, subject) where state in ('queued', 'running');

-- Partitions by id range: a UUIDv7 begins with its millisecond, so a range of ids is a range of time. --------------------------

create table control.job_default partition of control.job default;
create table control.job_label_default partition of control.job_label default;
create table control.job_end_default partition of control.job_end default;

-- The least UUIDv7 of a day's first millisecond (UTC), as waypost.ids.first_id_at makes it.
create function control.first_id_of(day date) returns uuid
    language sql immutable parallel safe
    return (lpad(to_hex(extract(epoch from day)::bigint * 1000), 12, '0') || '70008000000000000000')::uuid;

-- One week's partitions, the week that begins on `monday`. False when they are there already, or when the default partition
-- holds rows of that week already: those stay there, nothing is lost. Making tables needs ownership: hence the definer.
create function control.make_partition(monday date) returns boolean
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '2s'
as $$
declare
    suffix text := '_w' || to_char(monday, 'YYYYMMDD');
    parent text;
begin
    if extract(isodow from monday) <> 1 then
        raise exception '% is not a Monday', monday;
    end if;
    if to_regclass('control.job' || suffix) is not null then
        return false;
    end if;
    foreach parent in array array['job', 'job_label', 'job_end'] loop
        execute format('create table control.%I partition of control.%I for values from (%L) to (%L)',
            parent || suffix, parent, control.first_id_of(monday), control.first_id_of(monday + 7));
    end loop;
    return true;
exception
    when check_violation or duplicate_table then
        return false;
end $$;
revoke execute on function control.make_partition(date) from public;
grant execute on function control.make_partition(date) to waypost_worker;
select control.make_partition(date_trunc('week', now() at time zone 'UTC')::date + 7 * week) from generate_series(0, 2) as week;

-- Retention (decision 20) --------------------------------------------------------------------------------------------------

-- Bodies of jobs that ended before this instant are erased. One row, locked by the worker that erases.
create table control.erasure (
    single boolean primary key default true check (single),
    until timestamptz not null
);
insert into control.erasure (until) values (now()); -- nothing ended before there was a ledger

-- Weeks that were dropped and whose attempts and logs are still to be deleted.
create table control.dropped_week (
    monday date primary key,
    dropped_at timestamptz not null default now()
);

-- Drop one week's partitions. False, and nothing is done, when they are not there, while a job of that week waits or runs
-- (its `run_at` may lie a year ahead), when one ended after `ended_before`, when a body still has an object in S3, or when
-- the locks are not to be had at once. Jobs of that week can only end, never begin to wait: what was looked at stays true.
create function control.drop_partition(monday date, ended_before timestamptz) returns boolean
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '200ms'
as $$
declare
    suffix text := '_w' || to_char(monday, 'YYYYMMDD');
    low uuid := control.first_id_of(monday);
    high uuid := control.first_id_of(monday + 7);
    parent text;
    wanted boolean;
begin
    if extract(isodow from monday) <> 1 then
        raise exception '% is not a Monday', monday;
    end if;
    if monday + 7 > (now() at time zone 'UTC')::date - 30 then
        raise exception 'the week of % is younger than 30 days', monday;
    end if;
    if to_regclass('control.job' || suffix) is null then
        return false;
    end if;
    execute format('select exists (select from control.%I where payload_object is not null)
        or exists (select from control.%I where result_object is not null)
        or exists (select from control.%2$I where finished_at >= $1)', 'job' || suffix, 'job_end' || suffix)
        into wanted using ended_before;
    if wanted then
        return false;
    end if;
    if exists ( -- one statement, one snapshot: a job that moves between these tables is seen in one of them
        select from control.due where job_id >= low and job_id < high union all
        select from control.lease where job_id >= low and job_id < high union all
        select from control.ready where job_id >= low and job_id < high union all
        select from control.hold where job_id >= low and job_id < high
    ) then
        return false;
    end if;
    foreach parent in array array['job', 'job_label', 'job_end'] loop
        execute format('drop table if exists control.%I', parent || suffix);
    end loop;
    insert into control.dropped_week (monday) values (drop_partition.monday) on conflict do nothing;
    return true;
exception
    when lock_not_available or deadlock_detected or undefined_table then
        return false;
end $$;
revoke execute on function control.drop_partition(date, timestamptz) from public;
grant execute on function control.drop_partition(date, timestamptz) to waypost_worker;

-- Row security: an environment's role sees its own rows, whatever the application asks (decision 1). ----------------------------

create function control.role_environment() returns uuid
    language sql stable parallel safe
    return substr(current_user::text, 5)::uuid; -- env_<32 hex digits>

do $$
declare t text;
begin
    foreach t in array array[
        'job', 'job_label', 'ready', 'due', 'hold', 'permit', 'lease', 'job_end', 'attempt', 'cancel_request', 'job_log',
        'route', 'route_count', 'route_delta', 'route_minute', 'function_pause', 'node'
    ] loop
        execute format('alter table control.%I enable row level security', t);
        execute format('alter table control.%I force row level security', t);
        execute format('create policy own on control.%I for select to waypost_environment
            using (environment_id = (select control.role_environment()))', t);
        execute format('create policy process on control.%I to waypost_gateway, waypost_relay, waypost_worker, waypost_owner
            using (true) with check (true)', t);
        execute format('grant select on control.%I to waypost_environment', t);
    end loop;
end $$;
grant execute on function control.role_environment() to waypost_environment;
grant usage on schema control to waypost_environment, waypost_gateway, waypost_relay, waypost_worker, waypost_provisioner, waypost_auditor;
-- Reading attempts needs the relays' names, nothing else of their sessions.
grant select (id, process) on control.session to waypost_environment;

-- Gateway: submits and cancels; reads no job (that is the environment's role).
grant select on control.organization, control.project, control.environment, control.environment_step, control.environment_secret,
    control.signing_key, control.api_key, control.node_credential, control.session, control.node, control.route,
    control.function_pause, control.idempotency, control.platform_job, control.audit, control.route_count, control.route_delta,
    control.cancel_request to waypost_gateway;
grant insert, update on control.organization, control.project, control.environment, control.environment_step,
    control.environment_secret, control.api_key, control.node_credential, control.route, control.function_pause,
    control.idempotency, control.platform_job, control.cancel_request to waypost_gateway;
grant delete on control.function_pause, control.idempotency to waypost_gateway;
grant insert on control.job, control.job_label, control.ready, control.due, control.hold, control.permit, control.job_end, control.route_delta, control.audit
    to waypost_gateway;
grant select, delete on control.ready, control.due, control.hold, control.permit to waypost_gateway;
grant select (job_id, environment_id, session, route, number, attempt_id) on control.lease to waypost_gateway;
grant select (environment_id, id, route, rank, concurrency_key, concurrency_limit) on control.job to waypost_gateway;
grant select (environment_id, job_id, state) on control.job_end to waypost_gateway;
grant select (environment_id, job_id, number, retry_key) on control.attempt to waypost_gateway;
grant update (draining) on control.node to waypost_gateway;

-- Relay: claims and settles.
grant select on control.environment, control.environment_secret, control.signing_key, control.node_credential, control.session,
    control.node, control.route, control.function_pause, control.job, control.ready, control.due, control.hold, control.permit,
    control.lease, control.cancel_request, control.attempt to waypost_relay;
grant insert on control.session, control.node, control.lease, control.job_end, control.attempt, control.due, control.ready,
    control.hold, control.permit, control.job_log, control.route_delta to waypost_relay;
grant update on control.session, control.node, control.lease to waypost_relay; -- FOR UPDATE on lease needs it
grant update on control.ready, control.hold to waypost_relay; -- FOR UPDATE SKIP LOCKED
grant delete on control.ready, control.lease, control.permit, control.hold, control.cancel_request to waypost_relay;
grant update on control.ready, control.due, control.hold to waypost_gateway; -- FOR UPDATE

-- Worker: timers, sweepers, platform jobs.
grant select, insert, update, delete on all tables in schema control to waypost_worker;
revoke insert, update, delete on control.audit from waypost_worker;
grant insert on control.audit to waypost_worker, waypost_auditor;
grant usage on all sequences in schema control to waypost_gateway, waypost_relay, waypost_worker;

-- Provisioner: makes what an environment needs; the worker opens this login only while it provisions.
grant select on control.environment to waypost_provisioner;

-- Every process looks at the version before it starts; only the owner moves it.
grant select on control.alembic_version to waypost_gateway, waypost_relay, waypost_worker;
revoke insert, update, delete on control.alembic_version from waypost_worker;
