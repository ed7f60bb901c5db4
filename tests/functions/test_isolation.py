"""Environments are closed to each other in the servers themselves, whatever an application asks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import msgspec
import pytest

from functions.environment.phase import EnvironmentPorts
from storage.objects.store import ObjectStore, S3Credentials, open_store
from storage.postgres.tenancy import role_name
from storage.secrets import DATABASE_PASSWORD, S3_CREDENTIALS, place
from waypost import ids
from waypost.secret import SealError

Pair = tuple[UUID, UUID]
LEDGER = (
    "job", "ready", "due", "hold", "permit", "lease", "job_end", "attempt", "cancel_request", "job_log",
    "route", "route_count", "route_delta", "route_minute", "function_pause", "node",
)  # fmt: skip


@asynccontextmanager
async def login(platform: Any, role: str, password: str) -> AsyncIterator[Any]:
    address = urlsplit(platform.database_url("postgres"))
    url = urlunsplit(address._replace(netloc=f"{role}:{password}@"))
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def own_login(platform: Any, ports: EnvironmentPorts, pair: Pair) -> AsyncIterator[Any]:
    """The first environment's own login."""
    password = await ports.keys.get_secret(pair[0], DATABASE_PASSWORD)
    assert password is not None
    async with login(platform, role_name(pair[0]), password.decode()) as connection:
        yield connection


@pytest.fixture(scope="session")
async def rows_of_both(ports: EnvironmentPorts, pair: Pair) -> None:
    """One route, job, queue entry and pause in each of the two environments."""
    async with ports.database.unit() as connection:
        for environment in pair:
            route = await connection.fetchval(
                "insert into control.route (environment_id, function, selectors) values ($1, 'f', '[]') returning id",
                environment,
            )
            job = ids.new_id()
            await connection.execute(
                "insert into control.job (id, environment_id, route, rank, submitted_by) values ($1, $2, $3, 4, 'x')",
                *(job, environment, route),
            )
            await connection.execute(
                "insert into control.due (job_id, due_at, environment_id, route, rank, key)"
                " values ($1, now() + interval '1 day', $2, $3, 4, $1)",
                *(job, environment, route),
            )
            await connection.execute(
                "insert into control.function_pause (environment_id, function, paused_by) values ($1, 'f', 'x')",
                environment,
            )


async def test_an_environments_login_reads_its_own_schema_only(own_login: Any, pair: Pair) -> None:
    """Its tenant is there; the other's schema is refused by PostgreSQL."""
    assert await own_login.fetchval("select tenant_id from tenant") == str(pair[0])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await own_login.fetch(f"select * from {role_name(pair[1])}.tenant")  # noqa: S608 - names that we made
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await own_login.execute(f"insert into {role_name(pair[1])}.tenant values ('x')")  # noqa: S608 - names that we made


async def test_row_security_shows_an_environments_own_rows(own_login: Any, pair: Pair, rows_of_both: None) -> None:
    """In every table of the ledger, without a word about the environment in the query."""
    for table in LEDGER:
        found = {row[0] for row in await own_login.fetch(f"select environment_id from control.{table}")}  # noqa: S608 - names that we made
        assert found <= {pair[0]}, table
    assert await own_login.fetchval("select count(*) from control.job") == 1
    assert await own_login.fetchval("select count(*) from control.due") == 1


async def test_the_pool_sees_the_same_as_the_environments_login(
    ports: EnvironmentPorts, pair: Pair, rows_of_both: None
) -> None:
    """A process that has become the environment's role sees that environment, each time another one."""
    for environment in (*pair, *pair):
        async with ports.database.as_environment(environment) as connection:
            assert {row[0] for row in await connection.fetch("select environment_id from control.job")} == {environment}
            assert await connection.fetchval("select tenant_id from tenant") == str(environment)


async def test_an_environments_login_becomes_nobody_else(own_login: Any, pair: Pair) -> None:
    """Neither the other environment, nor a process, nor the group, nor the provisioner."""
    for role in (
        role_name(pair[1]),
        "waypost_gateway",
        "waypost_worker",
        "waypost_owner",
        "waypost_environment",
        "waypost_provisioner",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own_login.execute(f"SET ROLE {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own_login.fetchval("select set_config('role', $1, false)", role)


@pytest.mark.parametrize(
    "statement",
    [
        "create table control.mine (x int)",
        "create table mine (x int)",
        "create temporary table mine (x int)",
        "create schema mine",
        "drop table tenant",
        "update alembic_version set version_num = '9999'",
        "insert into control.permit values (gen_random_uuid(), gen_random_uuid(), 'x')",
        "delete from control.job",
        "update control.lease set attempt_id = 1",
        "select * from control.environment_secret",
        "select * from control.signing_key",
        "select * from control.api_key",
        "select * from control.environment",
        "select * from control.audit",
        "select address from control.session",
        "select * from pg_authid",
        "copy tenant to program 'id'",
        "select pg_read_file('/etc/passwd')",
        "alter table control.job disable row level security",
    ],
)
async def test_an_environments_login_may_nothing_else(own_login: Any, statement: str) -> None:
    """It reads its rows of the ledger and works on its own tables; everything else is refused."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await own_login.execute(statement)


async def test_a_process_reads_no_tenant_table_by_itself(platform: Any, pair: Pair) -> None:
    """Membership is not inheritance: without becoming the role, gateway, relay and worker see nothing."""
    for role in ("waypost_gateway", "waypost_relay", "waypost_worker", "waypost_auditor"):
        connection = await asyncpg.connect(platform.database_url(role))
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"select * from {role_name(pair[0])}.tenant")  # noqa: S608 - names that we made
        finally:
            await connection.close()


async def test_the_auditor_becomes_no_environment(platform: Any, pair: Pair) -> None:
    """Only the three processes are members."""
    connection = await asyncpg.connect(platform.database_url("waypost_auditor"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SET ROLE {role_name(pair[0])}")
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["waypost_gateway", "waypost_worker", "waypost_relay", "waypost_auditor"])
async def test_audit_entries_cannot_be_changed(platform: Any, role: str) -> None:
    """By no process, not even the one that writes them."""
    connection = await asyncpg.connect(platform.database_url(role))
    try:
        for statement in (
            "update control.audit set actor = 'x'",
            "delete from control.audit",
            "truncate control.audit",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_wrong_password_is_refused(platform: Any, pair: Pair) -> None:
    """Also on the local socket."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with login(platform, role_name(pair[0]), "guess"):
            pass


async def test_an_environments_s3_key_opens_its_own_bucket_only(
    ports: EnvironmentPorts, s3: tuple[str, str, str], pair: Pair
) -> None:
    """Reading, writing, deleting and listing of the other's bucket are refused; its own works."""
    import obstore
    from obstore.exceptions import BaseError

    store = ObjectStore(s3[0], ports.keys)
    for environment in pair:
        await store.put(environment, "payload/1", str(environment).encode())
    kept = await ports.keys.get_secret(pair[0], S3_CREDENTIALS)
    assert kept is not None
    stranger = open_store(s3[0], pair[1], msgspec.json.decode(kept, type=S3Credentials))
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: obstore.get_async(stranger, "payload/1"),
        lambda: obstore.put_async(stranger, "payload/2", b"x", use_multipart=False),
        lambda: obstore.put_async(stranger, "payload/1", b"x", use_multipart=False),
        lambda: obstore.delete_async(stranger, "payload/1"),
        lambda: obstore.list_with_delimiter_async(stranger),
    ]
    for attempt in attempts:
        with pytest.raises((BaseError, PermissionError)) as caught:
            await attempt()
        assert "AccessDenied" in str(caught.value) or "Access Denied" in str(caught.value)
    for environment in pair:
        assert await store.get(environment, "payload/1") == str(environment).encode()


async def test_sealed_bytes_open_with_their_environments_key_only(ports: EnvironmentPorts, pair: Pair) -> None:
    """What one environment sealed is noise to the other."""
    first, second = [await ports.keys.data_key(environment) for environment in pair]
    sealed = first.seal("job:1:payload", b"secret")
    with pytest.raises(SealError):
        second.open("job:1:payload", sealed)
    with pytest.raises(SealError):
        first.open(place(pair[1], "payload"), sealed)
