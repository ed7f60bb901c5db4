"""The migrations make the schema that the code expects, and processes refuse an older one."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from infra.local.folder import DataFolder
from storage.postgres import migration, sql
from storage.postgres.database import Database
from storage.postgres.migration import upgrade_control, upgrade_environment
from storage.postgres.tenancy import role_name
from storage.postgres.version import CONTROL_VERSION, ENVIRONMENT_VERSION, require_control_version
from waypost import ids
from waypost.errors import WaypostError

TREES = Path(migration.__file__).parent

# What a schema is, without the names of schemas and without who was granted what (provisioning does that).
CATALOG = {
    "columns": """
        select table_name, column_name, ordinal_position, data_type, is_nullable, column_default
        from information_schema.columns where table_schema = %(schema)s order by 1, 3""",
    "constraints": """
        select c.relname, n.conname, pg_get_constraintdef(n.oid)
        from pg_constraint n join pg_class c on c.oid = n.conrelid
        where c.relnamespace = %(schema)s::regnamespace order by 1, 2""",
    "indexes": """
        select tablename, indexname, replace(indexdef, %(schema)s || '.', '') from pg_indexes
        where schemaname = %(schema)s order by 1, 2""",
    "relations": """
        select relname, relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions from pg_class
        where relnamespace = %(schema)s::regnamespace order by 1""",
    "functions": """
        select proname, prosrc, pg_get_function_identity_arguments(oid) from pg_proc
        where pronamespace = %(schema)s::regnamespace order by 1""",
}


@pytest.fixture
def scratch(platform: Any) -> Iterator[str]:
    """A login of waypost_owner for a new, empty database of the run's cluster."""
    name = f"scratch_{ids.new_id().hex[-12:]}"
    with psycopg.connect(platform.database_url("postgres", "postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name} owner waypost_owner")
    yield platform.database_url("waypost_owner", name)
    with psycopg.connect(platform.database_url("postgres", "postgres"), autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


def catalog(connection: Any, schema: str) -> dict[str, list[tuple[Any, ...]]]:
    return {name: connection.execute(query, {"schema": schema}).fetchall() for name, query in CATALOG.items()}


@pytest.mark.parametrize(("tree", "version"), [("control", CONTROL_VERSION), ("environment", ENVIRONMENT_VERSION)])
def test_the_code_needs_the_newest_revision(tree: str, version: str) -> None:
    """One head a tree, which is the constant; versions compare as text, so all have one length."""
    config = Config()
    config.set_main_option("script_location", str(TREES / tree / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [version]
    assert {len(revision.revision) for revision in script.walk_revisions()} == {len(version)}


def test_control_upgrades_from_nothing_and_once(scratch: str) -> None:
    """The second time there is nothing to do."""
    assert upgrade_control(scratch)
    assert not upgrade_control(scratch)
    with psycopg.connect(scratch) as connection:
        tables = {row[0] for row in catalog(connection, "control")["relations"]}
        assert {"organization", "environment", "job", "ready", "lease", "job_end", "platform_job"} <= tables


def test_a_failed_upgrade_leaves_nothing(scratch: str) -> None:
    """All revisions run in one transaction: what stood in the way removed, it goes through."""
    with psycopg.connect(scratch) as connection:
        connection.execute("create schema control")
        connection.execute("create table control.job_log (in_the_way int)")
    with pytest.raises(Exception, match="job_log"):
        upgrade_control(scratch)
    with psycopg.connect(scratch) as connection:
        assert [row[0] for row in catalog(connection, "control")["relations"]] == ["job_log"]
        connection.execute("drop table control.job_log")
    assert upgrade_control(scratch)


async def test_two_upgrades_at_once_take_turns(scratch: str) -> None:
    """Two processes and two threads: all return, the schema is there once."""
    code = "import os; from storage.postgres.migration import upgrade_control; upgrade_control(os.environ['URL'])"
    others = [
        await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", code, env=os.environ | {"URL": scratch})
        for _ in range(2)
    ]
    await asyncio.gather(*(asyncio.to_thread(upgrade_control, scratch) for _ in range(2)))
    assert [await other.wait() for other in others] == [0, 0]
    assert not upgrade_control(scratch)


def test_a_table_that_somebody_holds_is_not_waited_for_long(scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes later waits behind the migration: it gives up, says why, and nothing was changed."""
    monkeypatch.setattr(migration, "_LOCK_SECONDS", 0.2)
    upgrade_control(scratch)
    with psycopg.connect(scratch) as reader:
        reader.execute("update control.alembic_version set version_num = '0003'")
        reader.commit()
        reader.execute("select from control.route_minute")
        with pytest.raises(WaypostError, match="Somebody holds a table of control") as caught:
            upgrade_control(scratch)
        assert (caught.value.code, caught.value.retryable) == ("unavailable", True)
        assert reader.execute("select version_num from control.alembic_version").fetchall() == [("0003",)]


def test_a_newer_database_is_never_taken_back(scratch: str) -> None:
    """`schema_newer`, and nothing changed."""
    upgrade_control(scratch)
    with psycopg.connect(scratch) as connection:
        connection.execute("update control.alembic_version set version_num = '9999'")
    with pytest.raises(WaypostError) as caught:
        upgrade_control(scratch)
    assert caught.value.code == "schema_newer"


def test_the_snapshot_equals_the_migrations(scratch: str) -> None:
    """A new environment and a migrated one have the same tables, columns, constraints, indexes, rows."""
    fresh, migrated = UUID(int=1), UUID(int=2)
    with psycopg.connect(scratch) as connection:
        connection.execute(f"create schema {role_name(migrated)}")
        connection.execute(f"create schema {role_name(fresh)}")
        connection.execute(f"set local search_path = {role_name(fresh)}, pg_catalog")
        connection.execute(sql.load("storage.postgres.environment", "snapshot").encode())
    assert upgrade_environment(scratch, migrated)
    assert not upgrade_environment(scratch, fresh)
    assert not upgrade_environment(scratch, migrated)
    with psycopg.connect(scratch) as connection:
        one, other = catalog(connection, role_name(fresh)), catalog(connection, role_name(migrated))
        assert one == other
        assert len(one["columns"]) > 2
        for schema, environment_id in ((role_name(fresh), fresh), (role_name(migrated), migrated)):
            assert connection.execute(f"select tenant_id from {schema}.tenant").fetchall() == [(str(environment_id),)]  # noqa: S608 - names that we made


def test_a_current_schema_costs_no_import_of_alembic(platform: Any) -> None:
    """Start-up looks at the version row and loads neither Alembic nor SQLAlchemy."""
    code = """if True:
        import os, sys
        from storage.postgres.migration import upgrade_control
        assert not upgrade_control(os.environ["URL"])
        print(sorted(name for name in sys.modules if name in ("alembic", "sqlalchemy")))
    """
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"URL": platform.database_url("waypost_owner")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("found", [None, "0000"])
async def test_processes_refuse_an_older_schema(scratch: str, found: str | None) -> None:
    """None at all, or of an earlier version; the error says what to do."""
    if found is not None:
        await asyncio.to_thread(upgrade_control, scratch)
        with psycopg.connect(scratch) as connection:
            connection.execute("update control.alembic_version set version_num = %s", (found,))
    database = await Database.open(scratch, name="test")
    try:
        with pytest.raises(WaypostError) as caught:
            async with database.unit() as connection:
                await require_control_version(connection)
    finally:
        await database.close()
    assert caught.value.code == "schema_outdated"
    assert "waypost migrate" in caught.value.detail


async def test_a_newer_schema_is_fine_for_a_process(scratch: str) -> None:
    """Expand everywhere, deploy, contract later: old processes run on a schema that was expanded."""
    await asyncio.to_thread(upgrade_control, scratch)
    with psycopg.connect(scratch) as connection:
        connection.execute("update control.alembic_version set version_num = '9999'")
    database = await Database.open(scratch, name="test")
    async with database.unit() as connection:
        await require_control_version(connection)
    await database.close()


def test_a_worker_on_an_older_schema_ends_with_one_sentence(scratch: str, platform: Any) -> None:
    """Exit code 1 and a log line, not a traceback."""
    folder = DataFolder(platform.data_dir)
    settings = {
        "WAYPOST_DATABASE_URL": scratch,
        "WAYPOST_PROVISIONER_DATABASE_URL": scratch,
        "WAYPOST_VALKEY_URL": platform.valkey_url("worker"),
        "WAYPOST_S3_ENDPOINT": "http://127.0.0.1:1",
        "WAYPOST_S3_ACCESS_KEY": "x",
        "WAYPOST_S3_SECRET_KEY": "x",
        "WAYPOST_KEK_FILE": str(folder.kek_file),
        "WAYPOST_PROCESS_NAME": "worker-9",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "functions"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "schema_outdated" in done.stderr
    assert "Traceback" not in done.stderr
