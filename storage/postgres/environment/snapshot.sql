-- A new environment's schema at its newest version, in one go; run with search_path = the new schema. A test proves that it
-- equals the migrations from 0001 on. Grants come from the schema's default privileges, set before this runs.
create table alembic_version (
    version_num varchar(32) not null,
    constraint alembic_version_pkc primary key (version_num)
);
insert into alembic_version (version_num) values ('0001');

-- The data-plane tenants of an environment (decision 4). A closed environment has one: its own id.
create table tenant (
    tenant_id text primary key check (tenant_id <> ''),
    created_at timestamptz not null default now()
);
insert into tenant (tenant_id) values (substr(current_schema(), 5)::uuid::text);
