"""Every table, every statement, as an environment's own login: its rows, and nothing to tell of anybody else's."""

import asyncpg
import pytest

from storage.postgres.database import role_name
from tests.isolation.closed_ground import ClosedGround

REFUSED = asyncpg.InsufficientPrivilegeError
# What an environment's role may see of tables that are not its own: the relays' names.
OPEN_COLUMNS = {("session", "id"), ("session", "process")}


async def test_an_environment_reads_its_own_rows_of_every_table(closed: ClosedGround) -> None:
    """Some are its own, some the other's; in whatever way it asks."""
    assert len(closed.tables) >= 17
    async with closed.environment(closed.first) as own:
        for table in closed.tables:
            count = await closed.count(table, closed.first)
            assert count > 0
            assert await closed.count(table, closed.second) > 0
            ways = [
                f"select environment_id from control.{table}",
                f"select environment_id from control.{table} where environment_id = '{closed.second}' or true",
                f"select environment_id from control.{table} order by tableoid, ctid desc",
                f"select environment_id from control.{table} t join (select 1) x on true",
                f"with t as materialized (table control.{table}) select environment_id from t",
                f"select (select environment_id) from control.{table}",
            ]
            for way in ways:
                found = [row[0] for row in await own.fetch(way)]
                assert found == [closed.first] * count, (table, way)
            foreign = f"select count(*) from control.{table} where environment_id = '{closed.second}'"
            assert await own.fetchval(foreign) == 0, table
            assert await own.fetchval(f"select count(*) from control.{table}") == count, table
            copied: list[bytes] = []

            async def take(data: bytes, into: list[bytes] = copied) -> None:
                into.append(data)

            await own.copy_from_query(f"select environment_id from control.{table}", output=take)
            assert b"".join(copied).split() == [str(closed.first).encode()] * count, table


async def test_an_environment_changes_no_row_of_any_table(closed: ClosedGround) -> None:
    """Not even its own: the ledger is the platform's to write."""
    async with closed.environment(closed.first) as own:
        for table in closed.tables:
            for statement in (
                f"insert into control.{table} (environment_id) values ('{closed.first}')",
                f"insert into control.{table} (environment_id) values ('{closed.second}')",
                f"update control.{table} set environment_id = '{closed.first}'",
                f"delete from control.{table}",
                f"truncate control.{table}",
                f"select * from control.{table} for update",
                f"select * from control.{table} for key share",
                f"merge into control.{table} t using (select 1) s on true when matched then delete",
                f"copy control.{table} (environment_id) from stdin",
            ):
                with pytest.raises(REFUSED):
                    await own.execute(statement)


async def test_an_environment_reads_nothing_of_what_is_closed_to_it(closed: ClosedGround) -> None:
    """Row-secured against mistakes of the processes; an environment's role is not let in at all."""
    async with closed.environment(closed.first) as own:
        for table in closed.hidden:
            for statement in (f"table control.{table}", f"delete from control.{table}"):
                with pytest.raises(REFUSED):
                    await own.execute(statement)


async def test_row_security_cannot_be_turned_off(closed: ClosedGround) -> None:
    """Whoever asks to see everything gets an error instead of everything."""
    async with closed.environment(closed.first) as own:
        await own.execute("set row_security = off")
        for table in closed.tables:
            with pytest.raises(REFUSED, match="row-level security"):
                await own.fetch(f"select * from control.{table}")
            with pytest.raises(REFUSED):
                await own.execute(f"alter table control.{table} disable row level security")
            with pytest.raises(REFUSED):
                await own.execute(f"create policy mine on control.{table} using (true)")


async def test_a_condition_that_tells_is_never_asked_of_foreign_rows(closed: ClosedGround) -> None:
    """Cheap, leaky conditions (an error names the value, a division tells true from false) see own rows only, however
    the planner is led."""
    leaks = (
        "1 / (environment_id = '{0}')::int > 0",
        "case when environment_id <> '{0}' then ('leaked ' || environment_id::text)::int else 1 end > 0",
        "(case when environment_id = '{0}' then '1' else environment_id::text end)::int = 1",
        "environment_id::text ~ '^{0}$' and 1 / (environment_id = '{0}')::int > 0",
    )
    settings = ("set enable_indexscan = off", "set enable_seqscan = off", "set plan_cache_mode = force_generic_plan")
    async with closed.environment(closed.first) as own:
        for setting in settings:
            await own.execute(setting)
            for table in closed.tables:
                count = await closed.count(table, closed.first)
                for leak in leaks:
                    condition = leak.format(closed.first)
                    found = await own.fetchval(f"select count(*) from control.{table} where {condition}")
                    assert found == count, (table, condition)


async def test_partitions_are_closed_to_environments(closed: ClosedGround) -> None:
    """Row security of the whole does not hold for a part that is asked for by name, so nobody may ask."""
    partitions = await closed.admin.fetch(
        "select inhrelid::regclass::text as name from pg_inherits join pg_class c on c.oid = inhparent"
        " where c.relnamespace = 'control'::regnamespace and c.relkind = 'p'"
    )
    assert len(partitions) >= 12
    async with closed.environment(closed.first) as own:
        for row in partitions:
            with pytest.raises(REFUSED):
                await own.fetch(f"select * from {row['name']}")


async def test_all_that_environments_may_read_is_row_secured(closed: ClosedGround) -> None:
    """From the catalogue, so that a new grant, view or table is looked at too."""
    readable = await closed.admin.fetch(
        """
        select c.relname, c.relkind, c.relrowsecurity and c.relforcerowsecurity as secured, a.attname
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'control'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and case when c.relkind = 'S'
                then has_sequence_privilege('waypost_environment', c.oid, 'select, usage, update')
                else has_column_privilege('waypost_environment', c.oid, a.attnum, 'select, insert, update, references')
            end
        """
    )
    open_ = {(row["relname"], row["attname"]) for row in readable if not row["secured"]}
    assert open_ == OPEN_COLUMNS
    assert {row["relname"] for row in readable if row["secured"]} == set(closed.tables)


async def test_every_table_with_an_environment_that_environments_read_has_the_same_policy(closed: ClosedGround) -> None:
    """One condition, on reading only, for the group; processes have another of their own."""
    policies = await closed.admin.fetch(
        "select tablename, cmd, qual, permissive, roles::text from pg_policies where schemaname = 'control'"
        " and 'waypost_environment' = any (roles)"
    )
    assert {row["tablename"] for row in policies} == set(closed.tables)
    assert len(policies) == len(closed.tables)
    assert {(row["cmd"], row["qual"], row["roles"]) for row in policies} == {
        (
            "SELECT",
            "(environment_id = ( SELECT control.role_environment() AS role_environment))",
            "{waypost_environment}",
        )
    }
    everybody = await closed.admin.fetch("select * from pg_policies where 'public' = any (roles)")
    assert everybody == []


async def test_functions_that_run_as_their_owner_look_nowhere_else(closed: ClosedGround) -> None:
    """Their search path is fixed, a temporary schema last, and only the worker may call them."""
    functions = await closed.admin.fetch(
        """
        select p.oid::regprocedure::text as name, p.proconfig,
            has_function_privilege('waypost_environment', p.oid, 'execute') as open
        from pg_proc p where p.prosecdef and p.pronamespace = 'control'::regnamespace
        """
    )
    assert len(functions) >= 2
    for function in functions:
        assert "search_path=pg_catalog, pg_temp" in function["proconfig"], function
        assert not function["open"], function


async def test_a_role_without_its_group_sees_nothing(closed: ClosedGround) -> None:
    """Row security knows an environment by the group that it joins last: to any other role all is closed."""
    await closed.admin.execute("create role stranger login password 'x'; grant connect on database waypost to stranger")
    async with closed.login("stranger") as stranger:
        for table in (*closed.tables, "api_key", "environment_secret"):
            with pytest.raises(REFUSED):
                await stranger.fetch(f"select * from control.{table}")
        with pytest.raises(REFUSED):
            await stranger.fetch(f"select * from {role_name(closed.first)}.tenant")
