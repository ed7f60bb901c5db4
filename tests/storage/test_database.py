"""The pools of a process: what begins and ends in one round trip, and what never reaches the next user."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from storage.postgres.database import Database, role_name
from waypost import ids
from waypost.errors import WaypostError


@pytest.fixture(scope="session")
async def environment_id(platform: Any) -> AsyncIterator[UUID]:
    """A role and schema as an environment has them, without the rest of an environment."""
    identifier = ids.new_id()
    role = role_name(identifier)
    admin = await asyncpg.connect(platform.database_url("postgres"))
    await admin.execute(
        f"""
        create role {role}; create schema {role} authorization {role}; create table {role}.note (text text);
        alter table {role}.note owner to {role}; grant {role} to waypost_gateway with inherit false, set true;
        """
    )
    yield identifier
    await admin.execute(f"drop schema {role} cascade; drop owned by {role}; drop role {role}")
    await admin.close()


@pytest.fixture
async def database(platform: Any) -> AsyncIterator[Database]:
    """One connection a pool, so that whoever comes next gets the one just used."""
    opened = await Database.open(platform.database_url("waypost_gateway"), name="test", pool_size=1, hot_size=1)
    yield opened
    await opened.close()


async def session_of(connection: Any) -> tuple[Any, ...]:
    row = await connection.fetchrow(
        "select current_user::text, current_setting('search_path'), current_setting('statement_timeout'),"
        " pg_backend_pid()"
    )
    return tuple(row)


async def test_an_environments_transaction_is_its_roles(database: Database, environment_id: UUID) -> None:
    """Role, search path and statement timeout are set; what is written is committed at the end."""
    async with database.as_environment(environment_id) as connection:
        user, path, timeout, _ = await session_of(connection)
        assert (user, path, timeout) == (role_name(environment_id), f"{role_name(environment_id)}, pg_catalog", "30s")
        await connection.execute("insert into note values ('kept')")
    async with database.as_environment(environment_id) as connection:
        assert await connection.fetchval("select count(*) from note where text = 'kept'") == 1


async def test_beginning_and_ending_are_one_query_each(database: Database, environment_id: UUID) -> None:
    """Each query is a round trip: one to begin, the body's own, one to end, and none when the connection goes back."""
    await database.ping()
    queries: list[str] = []
    async with database._general.acquire() as connection:
        backend = connection._con
    with backend.query_logger(lambda record: queries.append(record.query)):
        async with database.as_environment(environment_id) as connection:
            await connection.execute("select 2")
    assert len(queries) == 3
    assert queries[0].startswith("BEGIN")
    assert queries[1] == "select 2"
    assert queries[2].startswith("COMMIT")


@pytest.mark.parametrize(
    "change",
    [
        "set statement_timeout = '7s'",
        "set search_path = pg_catalog",
        "select set_config('role', current_user, false)",
        "select set_config('waypost.x', 'y', false)",
        "declare open_still cursor with hold for select 'theirs'",
        "listen anything",
    ],
)
@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_nothing_of_a_session_reaches_its_next_user(
    database: Database, environment_id: UUID, change: str, ends: str
) -> None:
    """Whatever an environment's transaction or a unit changed, committed or not, on the same connection."""

    async def use(begin: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        async with begin() as connection:
            await connection.execute(change)
            if ends == "badly":
                raise ZeroDivisionError

    async with database.unit() as connection:
        clean = await session_of(connection)
    for begin in (lambda: database.as_environment(environment_id), database.unit):
        with suppress(ZeroDivisionError):
            await use(begin)
        async with database.unit() as connection:
            assert await session_of(connection) == clean
            assert await connection.fetchval("select current_setting('waypost.x', true)") in (None, "")
            assert await connection.fetch("select name from pg_cursors where is_holdable") == []
            assert await connection.fetch("select pg_listening_channels()") == []


async def test_an_error_rolls_back(database: Database, environment_id: UUID) -> None:
    """Of the body, and of a statement; the connection serves on."""

    async def write(then: str) -> None:
        async with database.as_environment(environment_id) as connection:
            await connection.execute("insert into note values ('lost')")
            await connection.execute(then)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await write("select 1/0")
    with pytest.raises(asyncpg.UndefinedTableError):
        await write("select * from nothing")
    async with database.as_environment(environment_id) as connection:
        assert await connection.fetchval("select count(*) from note where text = 'lost'") == 0


async def test_a_canceled_user_leaves_a_clean_connection(database: Database, environment_id: UUID) -> None:
    """Canceled in the middle of a statement, rolled back, and the one connection of the pool is free again."""
    began = asyncio.Event()

    async def work() -> None:
        async with database.as_environment(environment_id) as connection:
            await connection.execute("insert into note values ('canceled')")
            began.set()
            await connection.execute("select pg_sleep(30)")

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20), database.as_environment(environment_id) as connection:
        assert await connection.fetchval("select count(*) from note where text = 'canceled'") == 0


async def test_units_that_all_need_a_second_connection_do_not_wait_for_each_other(
    platform: Any, environment_id: UUID
) -> None:
    """As many units as the pool has connections, each of which reads as the environment before it commits."""
    database = await Database.open(platform.database_url("waypost_gateway"), name="test", pool_size=2, hot_size=1)
    met = asyncio.Barrier(2)

    async def work() -> str:
        async with database.unit():
            await met.wait()
            async with database.as_environment(environment_id) as connection:
                return str(await connection.fetchval("select current_user"))

    try:
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(work() for _ in range(6))) == [role_name(environment_id)] * 6
    finally:
        await database.close()


async def test_what_a_holder_started_waits_like_anybody_else_once_it_is_over(platform: Any) -> None:
    """A task of the background that begins within a unit does not take the connection that holders need."""
    database = await Database.open(platform.database_url("waypost_gateway"), name="test", pool_size=1, hot_size=1)
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        await database.ping()

    async with database.unit():
        task = asyncio.create_task(later())
    async with database.unit():
        go.set()
        assert not (await asyncio.wait({task}, timeout=0.5))[0]
        await asyncio.wait_for(database.ping(), 20)  # of the one who holds
    await asyncio.wait_for(task, 20)
    await database.close()


async def test_who_holds_a_connection_of_one_database_holds_none_of_another(platform: Any) -> None:
    """A worker has two: each lets out as many as it says."""
    url = platform.database_url("waypost_gateway")
    one, other = [await Database.open(url, name="test", pool_size=size, hot_size=1) for size in (2, 1)]
    async with one.unit(), other.unit():

        async def work() -> None:
            async with one.unit():
                await other.ping()

        task = asyncio.create_task(work(), context=contextvars.Context())
        assert not (await asyncio.wait({task}, timeout=0.5))[0]
        await asyncio.wait_for(asyncio.gather(one.ping(), other.ping()), 20)
    await asyncio.wait_for(task, 20)
    await asyncio.gather(one.close(), other.close())


async def test_an_environment_without_a_role_is_not_found(database: Database) -> None:
    """404, and the connection serves on."""
    with pytest.raises(WaypostError) as caught:
        async with database.as_environment(ids.new_id()):
            pass
    assert caught.value.code == "not_found"
    await database.ping()


async def test_a_lost_connection_is_unavailable_and_replaced(database: Database, platform: Any) -> None:
    """A backend that is ended in the middle of a transaction: 503 for that one, the next gets a new connection."""
    admin = await asyncpg.connect(platform.database_url("postgres"))

    async def lose() -> None:
        async with database.unit() as connection:
            backend = await connection.fetchval("select pg_backend_pid()")
            await admin.execute("select pg_terminate_backend($1)", backend)
            await connection.execute("select 1")

    with pytest.raises(WaypostError) as caught:
        await lose()
    await admin.close()
    assert (caught.value.code, caught.value.retryable) == ("unavailable", True)
    await database.ping()


async def test_a_server_that_is_away_is_unavailable() -> None:
    """Opening does not fail, using does, with 503."""
    database = await Database.open("postgresql://x:y@/z?host=/nowhere", name="test")
    with pytest.raises(WaypostError) as caught:
        await database.ping()
    assert caught.value.code == "unavailable"
    await database.close()


async def test_a_full_disk_is_said_and_the_connection_serves_on(database: Database) -> None:
    """PostgreSQL refuses what it cannot write and lives: 503 that says so, retryable, and nothing was kept."""
    full = "do $$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$"
    with pytest.raises(WaypostError, match="disk of PostgreSQL is full") as caught:
        async with database.unit() as connection:
            await connection.execute(full)
    assert (caught.value.code, caught.value.retryable, caught.value.extra) == (
        "unavailable", True, {"reason": "disk_full"}
    )  # fmt: skip
    await database.ping()


async def test_hot_connections_have_the_planner_pinned(database: Database) -> None:
    """Those of decision 12; claims do not wait for the disk, submissions and results do."""
    names = ("enable_seqscan", "enable_bitmapscan", "enable_sort", "enable_hashjoin", "enable_mergejoin", "jit")
    for synchronous in (True, False):
        async with database.hot(synchronous_commit=synchronous) as connection:
            for name in names:
                assert await connection.fetchval("select current_setting($1)", name) == "off"
            assert await connection.fetchval("select current_setting('plan_cache_mode')") == "force_generic_plan"
            expected = "on" if synchronous else "off"
            assert await connection.fetchval("select current_setting('synchronous_commit')") == expected
    async with database.unit() as connection:
        assert await connection.fetchval("select current_setting('enable_seqscan')") == "on"
