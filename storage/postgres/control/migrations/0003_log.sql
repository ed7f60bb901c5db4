-- Bulk replays, logs of attempts, retention by environment.

-- Ended jobs that are run again, in order. `position` moves in the transaction that keeps the new jobs, so that each of
-- `job_ids` is replayed once, whatever dies in between.
create table control.bulk_replay (
    environment_id uuid not null references control.environment,
    id uuid not null,
    state text not null default 'queued' check (state in ('queued', 'running', 'completed', 'canceled', 'failed')),
    job_ids bytea not null, -- 16 bytes each
    matched integer not null,
    position integer not null default 0, -- so many of them are decided
    replayed integer not null default 0,
    skipped integer not null default 0,
    skips jsonb not null default '[]', -- the first of them: [{job_id, code, message}]
    selection jsonb not null, -- as it was asked for
    overrides bytea, -- sealed JSON
    error text,
    created_by text not null,
    traceparent text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    primary key (environment_id, id)
);
alter table control.bulk_replay alter column job_ids set storage external; -- read slice by slice

-- What is known of an attempt's log. Its lines are numbered from 0; chunks of them are in job_log (whose `sequence` is the
-- number of a chunk's first line), older ones in the bucket.
create table control.attempt_log (
    environment_id uuid not null,
    job_id uuid not null,
    number smallint not null,
    lines integer not null, -- that were kept: the next one's number
    bytes bigint not null, -- of these, before sealing
    dropped_lines integer not null default 0, -- said, and not kept
    lost_lines integer not null default 0, -- kept once: the environment's storage was full when they were to move there
    inline_bytes bigint not null default 0, -- in job_log, sealed
    closed boolean not null default false, -- the attempt is over, and nothing more will come
    primary key (environment_id, job_id, number)
);
create index attempt_log_long on control.attempt_log (environment_id, job_id, number) where inline_bytes > 131072;

create table control.log_object (
    environment_id uuid not null,
    job_id uuid not null,
    number smallint not null,
    first_line integer not null,
    lines integer not null,
    object_key text not null,
    primary key (environment_id, job_id, number, first_line)
);

-- How long this environment's things are kept, in days, where that is shorter than the operator says.
alter table control.environment add column retention jsonb not null default '{}';

-- When an environment is next swept, and what the last sweep came to.
create table control.retention_sweep (
    environment_id uuid primary key references control.environment,
    next_at timestamptz not null default now(),
    erased_until timestamptz not null, -- bodies of jobs that ended before this are erased
    swept_at timestamptz,
    removed jsonb not null default '{}'
);
create index retention_sweep_next on control.retention_sweep (next_at);

do $$
declare t text;
begin
    foreach t in array array['bulk_replay', 'attempt_log', 'log_object', 'retention_sweep'] loop
        execute format('alter table control.%I enable row level security', t);
        execute format('alter table control.%I force row level security', t);
        execute format('create policy process on control.%I to waypost_gateway, waypost_relay, waypost_worker, waypost_owner
            using (true) with check (true)', t);
        execute format('create policy own on control.%I for select to waypost_environment
            using (environment_id = (select control.role_environment()))', t);
        execute format('grant select on control.%I to waypost_environment', t);
        execute format('grant select, insert, update, delete on control.%I to waypost_worker', t);
    end loop;
end $$;
grant select, insert on control.bulk_replay, control.retention_sweep to waypost_gateway;
grant update (state, finished_at) on control.bulk_replay to waypost_gateway;
grant update (next_at) on control.retention_sweep to waypost_gateway;
grant select, insert, update on control.attempt_log to waypost_relay;
grant select (environment_id, job_id, number, sequence) on control.job_log to waypost_relay; -- which chunks are there
