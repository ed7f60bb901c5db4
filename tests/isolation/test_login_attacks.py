"""Past the application: the environment's real login and every process's, against the run's PostgreSQL."""

import re
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from storage.postgres.cluster import DATABASE, LOGIN_ROLES, PROCESS_ROLES
from storage.postgres.database import role_name
from tests.isolation.conftest import Tenant
from tests.isolation.statement import PACKAGES, ROOT

CODE = (".py", ".sql")
REFUSED = asyncpg.InsufficientPrivilegeError

# {other} is the other environment's role and schema, {pid} the backend of another login.
ENVIRONMENT_ATTACKS = """
select * from {other}.tenant
insert into {other}.tenant values ('x')
update {other}.tenant set created_at = now()
delete from {other}.tenant
explain select * from {other}.tenant
drop schema {other} cascade
set role {other}
set role waypost_owner
set role waypost_worker
set role waypost_environment
set session authorization {other}
set session authorization waypost_owner
select set_config('role', '{other}', false)
select set_config('role', 'waypost_worker', true)
select set_config('session_authorization', 'waypost_owner', false)
grant {other} to current_user
grant waypost_environment to {other}
grant waypost_worker to current_user
select * from control.environment_secret
select * from control.signing_key
select * from control.api_key
select * from control.node_credential
select * from control.organization
select * from control.project
select * from control.environment
select * from control.audit
select * from control.idempotency
select * from control.platform_job
select * from control.kek
select * from control.person
select * from control.membership
select address from control.session
select sealed from control.environment_secret
select query_to_xml_and_xmlschema('select * from control.api_key', true, false, '')
select query_to_xml('select * from control.api_key', true, false, '')
select * from pg_authid
select * from pg_shadow
select * from pg_roles
select * from pg_user
select * from pg_db_role_setting
select * from pg_stat_activity
select * from pg_stat_get_activity(null)
select * from pg_stat_user_tables
select * from pg_stat_database
select * from pg_stat_io
select pg_stat_get_live_tuples('control.job_end'::regclass)
select pg_stat_get_tuples_inserted('control.ready'::regclass)
select stavalues1 is null from pg_statistic
select * from pg_locks
select * from pg_lock_status()
select pg_total_relation_size('control.job_end_default')
select pg_database_size('waypost')
select * from pg_replication_slots
select * from pg_prepared_xacts
select * from pg_hba_file_rules
select * from pg_file_settings
select * from pg_ls_waldir()
select pg_read_file('/etc/passwd')
select pg_read_binary_file('PG_VERSION')
select pg_ls_dir('/')
select pg_stat_file('/etc/passwd')
copy tenant to program 'id'
copy tenant from program 'id'
copy (select 1) to '/tmp/waypost-isolation'
copy tenant from '/etc/passwd'
select lo_create(0)
select lo_from_bytea(0, 'x')
select lo_import('/etc/passwd')
select * from pg_largeobject_metadata
select * from pg_largeobject
select pg_terminate_backend({pid})
select pg_cancel_backend({pid})
select pg_advisory_lock(1)
select pg_advisory_xact_lock(hashtextextended('waypost.provision.{other}', 0))
select pg_try_advisory_lock(1)
select pg_notify('x', 'y')
select pg_logical_emit_message(true, 'x', 'y')
select pg_export_snapshot()
select pg_create_logical_replication_slot('x', 'pgoutput')
select pg_switch_wal()
select pg_reload_conf()
select pg_rotate_logfile()
select pg_stat_reset()
create extension dblink
create extension postgres_fdw
create schema mine
create table mine (x int)
create table control.mine (x int)
create temporary table ready (x int)
create temporary view ready as select 1
create view mine as select 1
create view control.mine as select 1
create function mine() returns int language sql as 'select 1'
create function control.mine() returns int language sql as 'select 1'
create function public.mine() returns int language sql as 'select 1'
create type mine as (x int)
create type control.mine as (x int)
create domain public.mine as int
create operator control.=== (leftarg = int, rightarg = int, function = int4eq)
create aggregate control.mine (int) (sfunc = int4pl, stype = int)
create statistics control.mine on id, route from control.job
create publication mine for all tables
create subscription mine connection 'host=x' publication y
create database mine
create role mine
create policy mine on control.job using (true)
create trigger mine before insert on control.job execute function suppress_redundant_updates_trigger()
create index mine on tenant (created_at)
alter table tenant add column x int
alter table tenant owner to {other}
alter table control.job disable row level security
alter table control.job no force row level security
alter default privileges for role waypost_owner in schema control grant all on tables to public
alter default privileges for role {other} grant all on tables to public
alter role {other} password 'x'
alter role {other} nologin
alter role current_user bypassrls
alter role current_user createrole
alter role current_user superuser
alter role current_user connection limit 1000
alter role current_user in database waypost set session_preload_libraries = 'x'
alter system set fsync = off
alter database waypost set log_statement = 'none'
alter function control.role_environment() owner to current_user
alter schema control owner to current_user
reassign owned by {other} to current_user
drop owned by {other}
drop function control.role_environment()
set session_replication_role = replica
set log_statement = 'none'
set lo_compat_privileges = on
load 'auto_explain'
checkpoint
comment on table control.job is 'x'
do $x$ begin perform 1; end $x$
select control.make_partition('2040-01-02')
select control.drop_partition('2020-01-06', now())
select nextval('control.session_id_seq')
select last_value from control.session_id_seq
update alembic_version set version_num = '9999'
""".strip().splitlines()


@pytest.fixture
async def own(tenants: tuple[Tenant, Tenant]) -> Any:
    async with tenants[0].login() as connection:
        yield connection


@pytest.fixture(scope="session")
async def busy_backend(platform: Any) -> Any:
    """The pid of a connection that is in the middle of a statement with a secret in it."""
    connection = await asyncpg.connect(platform.database_url("waypost_gateway"))
    await connection.execute("begin; select 'a secret of the gateway'")
    yield await connection.fetchval("select pg_backend_pid()")
    await connection.close()


@pytest.mark.parametrize("attack", ENVIRONMENT_ATTACKS, ids=lambda attack: attack[:60])
async def test_an_environments_login_is_refused(
    own: Any, tenants: tuple[Tenant, Tenant], busy_backend: int, attack: str
) -> None:
    """By PostgreSQL, for want of the privilege: not for an error in the statement."""
    statement = attack.format(other=role_name(tenants[1].id), pid=busy_backend)
    with pytest.raises(REFUSED):
        await own.execute(statement)


async def test_an_environment_enters_no_other_database(tenants: tuple[Tenant, Tenant]) -> None:
    """Neither the cluster's own, where it could make things, nor a template."""
    for database in ("postgres", "template1"):
        with pytest.raises(REFUSED):
            await asyncpg.connect(tenants[0].database_url.replace(f"/{DATABASE}?", f"/{database}?"))


async def test_what_is_accepted_changes_nothing(own: Any, tenants: tuple[Tenant, Tenant], platform: Any) -> None:
    """Statements that PostgreSQL answers with a warning only: the privilege is not given, nothing is analyzed, and the
    default privileges of one's own are those of a role that can make nothing."""
    warnings: list[str] = []
    own.add_log_listener(lambda _connection, message: warnings.append(message.message))
    for statement in ("grant select on control.job to public", "analyze control.job", "vacuum control.job"):
        await own.execute(statement)
    assert len(warnings) >= 3
    assert all("no privileges" in warning or "permission denied" in warning for warning in warnings)
    async with tenants[1].login() as other:
        assert {row[0] for row in await other.fetch("select environment_id from control.job")} == {tenants[1].id}


async def test_statistics_of_row_secured_tables_are_not_shown(own: Any, platform: Any) -> None:
    """Most common values and histograms of the ledger would hold other environments' labels and functions."""
    admin = await asyncpg.connect(platform.database_url("postgres"))
    await admin.execute("analyze control.route; analyze control.job_label")
    assert await admin.fetchval("select count(*) from pg_stats where tablename = 'route'") > 0
    await admin.close()
    for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
        shown = await own.fetch(f"select distinct tablename from {view} where schemaname = 'control'")
        assert {row["tablename"] for row in shown} <= {"session"}  # relays and workers: of no tenant, not row-secured


async def test_a_name_cannot_be_put_before_ours(own: Any, tenants: tuple[Tenant, Tenant]) -> None:
    """A search path of one's own choice leads nowhere else: policies and functions name their schema."""
    for path in ("pg_temp, control, pg_catalog", "public, control", f"{role_name(tenants[1].id)}, control"):
        await own.execute(f"set search_path = {path}")
        assert {row[0] for row in await own.fetch("select environment_id from control.job")} == {tenants[0].id}
        assert await own.fetchval("select control.role_environment()") == tenants[0].id


async def test_nothing_passes_through_notifications(own: Any, platform: Any) -> None:
    """LISTEN cannot be refused; nothing of the platform is ever said there."""
    gateway = await asyncpg.connect(platform.database_url("waypost_gateway"))
    channels = await gateway.fetch("select pg_listening_channels()")
    await gateway.close()
    assert channels == []
    sources = [
        path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.*") if path.suffix in CODE
    ]
    assert len(sources) > 200
    said = re.compile(r"pg_notify\(|add_listener\(|[\"'](listen|notify) [a-z_]+[;,\"']", re.IGNORECASE)
    assert not [text[:200] for text in sources if said.search(text)]


# --- processes ------------------------------------------------------------------------------------------------------

PROCESS_ATTACKS = [
    "select * from {environment}.tenant",
    "insert into {environment}.tenant values ('x')",
    "set role waypost_owner",
    "set role waypost_provisioner",
    "set role waypost_environment",
    "set session authorization waypost_owner",
    "select set_config('role', 'waypost_owner', false)",
    "select * from pg_authid",
    "select pg_read_file('/etc/passwd')",
    "copy (select 1) to program 'id'",
    "create table control.mine (x int)",
    "create function control.mine() returns int language sql as 'select 1'",
    "create temporary table ready (x int)",
    "alter table control.job disable row level security",
    "alter table control.job no force row level security",
    "create policy mine on control.job using (true)",
    "update control.audit set actor = 'x'",
    "delete from control.audit",
    "truncate control.audit",
    "update control.alembic_version set version_num = '0000'",
    "alter role {environment} password 'x'",
    "alter role current_user bypassrls",
    "alter default privileges for role waypost_owner in schema control grant all on tables to public",
    "drop table control.job",
    "drop schema {environment} cascade",
    "select pg_terminate_backend({pid})",
    "select query_to_xml('select * from {environment}.tenant', true, false, '')",
]
# What each process must not reach of what another one needs.
OWN_LIMITS = {
    "waypost_gateway": [
        "create role mine",
        "select payload from control.job",
        "select result from control.job_end",
        "select lines from control.job_log",
        "select error from control.attempt",
        "update control.job_end set state = 1",
        "update control.lease set attempt_id = 1",
        "delete from control.lease",
        "delete from control.kek",
        "select control.make_partition('2040-01-02')",
        "create schema mine",
    ],
    "waypost_relay": [
        "create role mine",
        "select * from control.api_key",
        "select * from control.audit",
        "select * from control.person",
        "select * from control.idempotency",
        "insert into control.environment_secret (environment_id, name, sealed) values (gen_random_uuid(), 'x', 'x')",
        "update control.environment_secret set sealed = ''",
        "insert into control.job (id, environment_id) values (gen_random_uuid(), gen_random_uuid())",
        "update control.environment set status = 'ready'",
        "insert into control.kek values ('kek_mine')",
        "create schema mine",
    ],
    "waypost_worker": ["create role mine", "create schema mine", "alter role waypost_gateway password 'x'"],
    "waypost_provisioner": [
        "select * from control.environment_secret",
        "select * from control.api_key",
        "select * from control.job",
        "select * from control.signing_key",
        "alter role waypost_worker password 'x'",
        "grant waypost_owner to waypost_provisioner",
        "grant waypost_worker to waypost_provisioner",
    ],
    "waypost_auditor": [
        "create role mine",
        "create schema mine",
        "select * from control.environment_secret",
        "select secret_hash from control.api_key",
        "select * from control.job",
        "select * from control.organization",
        "set role {environment}",
        "set role waypost_worker",
    ],
}
# A process that may do this by its duty: only the provisioner makes and removes environments' schemas and roles.
_DUTIES = {
    "waypost_provisioner": (
        "select * from {environment}",
        "insert into {environment}",
        "alter role {environment}",
        "drop schema {environment}",
        "select query_to_xml",
    )
}
PROCESS_CASES = [
    (role, attack)
    for role in (*PROCESS_ROLES, "waypost_provisioner", "waypost_auditor")
    for attack in (*PROCESS_ATTACKS, *OWN_LIMITS[role])
    if not attack.startswith(_DUTIES.get(role, ("-",))) and attack != f"set role {role}"
]


@pytest.fixture(scope="session")
async def owner_backend(platform: Any) -> Any:
    """The pid of a connection of the owner, whom no process is a member of."""
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield await connection.fetchval("select pg_backend_pid()")
    await connection.close()


@pytest.mark.parametrize(("role", "attack"), PROCESS_CASES, ids=lambda text: text[:50])
async def test_a_process_login_is_refused(
    platform: Any, tenants: tuple[Tenant, Tenant], owner_backend: int, role: str, attack: str
) -> None:
    """What is not a process's duty is not in its login's power."""
    connection = await asyncpg.connect(platform.database_url(role))
    try:
        with pytest.raises(REFUSED):
            await connection.execute(attack.format(environment=role_name(tenants[0].id), pid=owner_backend))
    finally:
        await connection.close()


async def test_a_process_becomes_environments_and_no_other_process(
    platform: Any, tenants: tuple[Tenant, Tenant]
) -> None:
    """Gateway, relay and worker become an environment to read for it; the worker the auditor, to seal. Nobody else."""
    allowed = {(role, "environment") for role in PROCESS_ROLES} | {("waypost_worker", "waypost_auditor")}
    found = set()
    for role in (*PROCESS_ROLES, "waypost_provisioner", "waypost_auditor", "waypost_owner"):
        connection = await asyncpg.connect(platform.database_url(role))
        for target in (*LOGIN_ROLES, "postgres", "waypost_environment", role_name(tenants[0].id)):
            if target == role:
                continue
            try:
                await connection.execute(f"set role {target}; reset role")
            except REFUSED:
                continue
            found.add((role, "environment" if target.startswith("env_") else target))
        await connection.close()
    assert found <= allowed
    assert {(role, "environment") for role in PROCESS_ROLES} <= found


async def test_an_environment_of_nobody_has_no_role(platform: Any) -> None:
    """A process cannot become what was never provisioned."""
    connection = await asyncpg.connect(platform.database_url("waypost_gateway"))
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await connection.execute(f"set role {role_name(uuid4())}")
    await connection.close()
