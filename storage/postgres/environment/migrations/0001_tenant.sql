-- The data-plane tenants of an environment (decision 4). A closed environment has one: its own id.
create table tenant (
    tenant_id text primary key check (tenant_id <> ''),
    created_at timestamptz not null default now()
);
insert into tenant (tenant_id) values (substr(current_schema(), 5)::uuid::text);
