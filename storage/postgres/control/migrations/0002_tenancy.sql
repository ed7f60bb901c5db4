-- Changing and deleting along the tree; limits.

-- `settings` mean something to the organization only. `limits` are what an operator set for it (waypost.limit).
alter table control.organization add column settings jsonb not null default '{}', add column limits jsonb not null default '{}';
-- So no gateway can raise a limit: it may not write the column.
revoke insert, update on control.organization from waypost_gateway;
grant insert (id, slug, name, settings, created_at, updated_at) on control.organization to waypost_gateway;
grant update (slug, name, settings, row_version, updated_at) on control.organization to waypost_gateway;
grant select (id, limits) on control.organization to waypost_relay; -- of nodes connected

-- A project that is being deleted takes no environment; it is gone when its last environment is.
alter table control.project
    add column status text not null default 'active' check (status in ('active', 'deleting', 'deleted')),
    add column deleted_at timestamptz,
    add column deleted_by text, -- who asked, and with which request: for the audit entry at the end
    add column deleted_request_id text,
    add check ((status = 'deleted') = (deleted_at is not null));
-- Names can be used again after deletion (decision 5).
alter table control.project drop constraint project_organization_id_slug_key;
create unique index project_slug on control.project (organization_id, slug) where deleted_at is null;
create index project_listing on control.project (organization_id, id desc) where deleted_at is null;

-- What an environment's bucket holds, as a worker last found it.
create table control.environment_storage (
    environment_id uuid primary key references control.environment,
    bytes bigint not null,
    objects bigint not null,
    measured_at timestamptz not null default now(),
    next_at timestamptz not null default now()
);
create index environment_storage_next on control.environment_storage (next_at);
grant select on control.environment_storage to waypost_gateway;
grant select, insert, update, delete on control.environment_storage to waypost_worker;
