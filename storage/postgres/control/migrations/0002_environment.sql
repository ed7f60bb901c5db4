-- Suspending, resuming and deleting environments.

-- The part of its life that an environment is in, and the steps of each part.
alter table control.environment add column phase text not null default 'provision'
    check (phase in ('provision', 'suspend', 'resume', 'delete'));
alter table control.environment_step add column phase text not null default 'provision'
    check (phase in ('provision', 'suspend', 'resume', 'delete'));
alter table control.environment_step drop constraint environment_step_pkey, add primary key (environment_id, phase, name);

-- An environment that is going: who wanted it, and what has gone so far, for the audit entry at the end.
create table control.environment_removal (
    environment_id uuid primary key references control.environment,
    requested_by text not null,
    actor_kind text not null,
    request_id text,
    source_address text,
    requested_at timestamptz not null default now(),
    canceled bigint not null default 0, -- jobs that waited
    fenced bigint not null default 0, -- jobs that ran
    jobs bigint not null default 0, -- of all states
    rows bigint not null default 0, -- of the control schema, jobs among them
    objects bigint not null default 0,
    bytes bigint not null default 0, -- of those objects
    keys bigint not null default 0,
    node_credentials bigint not null default 0,
    nodes bigint not null default 0, -- connected when it began
    routes bigint not null default 0
);

-- One row: when a worker last compared what there is with what there should be.
create table control.reconciliation (
    single boolean primary key default true check (single),
    at timestamptz not null default '-infinity'
);
insert into control.reconciliation default values;

grant select, insert on control.environment_removal to waypost_gateway;
grant select, insert, update, delete on control.environment_removal to waypost_worker;
grant select, update on control.reconciliation to waypost_worker;
-- A step that makes or drops something is recorded in the transaction that does so.
grant select, update on control.environment_step to waypost_provisioner;
