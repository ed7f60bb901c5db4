"""Environments are brought to a newer schema: by workers or by the command, each alone, resumable, none stops another.

The newer revision is one of the test's own, beside a copy of the tree.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from functions.environment import migrate as function
from functions.environment.phase import EnvironmentPorts
from infra.local import migrate as command
from infra.local.admin.connection import Platform
from infra.local.problem import ExitCode
from jobs.platform import PlatformRunner
from storage.postgres import migration, version
from storage.postgres.database import Database, role_name
from storage.postgres.environment import outdated, provision
from storage.postgres.platform.job import take_hints
from tests.own_postgres import OwnPostgres
from tests.storage.ledger_ground import Ground, Tenant
from waypost.errors import WaypostError

NEXT = "0002"
REVISION = f'''
from alembic import op

revision = "{NEXT}"
down_revision = "0001"


def upgrade() -> None:
    op.execute("create table first_thing (id int)")
    op.execute("create table note (id int primary key, text text)")
'''


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This code needs revision NEXT of an environment's schema."""
    here = Path(migration.__file__).parent
    shutil.copytree(here / "environment", tmp_path / "environment")
    (tmp_path / "control").symlink_to(here / "control")
    (tmp_path / "environment" / "migrations" / "versions" / f"{NEXT}_note.py").write_text(REVISION)
    monkeypatch.setattr(migration, "_HERE", tmp_path)
    for module in (migration, version, outdated, function):
        monkeypatch.setattr(module, "ENVIRONMENT_VERSION", NEXT)


@pytest.fixture
async def environments(ground: Ground) -> AsyncIterator[list[UUID]]:
    """Three with schemas of the version before, and nobody else's."""
    await ground.admin.execute("update control.environment set status = 'deleted', deleted_at = now()")
    await ground.admin.execute("delete from control.platform_job; delete from control.audit")
    made = [(await Tenant(ground).create()).id for _ in range(3)]
    provisioner = await asyncpg.connect(ground.server.url("waypost_provisioner"))
    for environment_id in made:
        async with provisioner.transaction():
            await ground.admin.execute(f"grant {role_name(environment_id)} to waypost_provisioner with admin true")
            await provision.make_schema(provisioner, environment_id)
    yield made
    for environment_id in made:
        await provisioner.execute(f"drop schema {role_name(environment_id)} cascade")
    await provisioner.close()


@pytest.fixture
async def platform(ledger_server: OwnPostgres) -> AsyncIterator[Platform]:
    """The server as the command sees it in a cluster: by its settings."""
    values = {
        "WAYPOST_OWNER_DATABASE_URL": ledger_server.url("waypost_owner"),
        "WAYPOST_DATABASE_URL": ledger_server.url("waypost_worker"),
        "WAYPOST_PROVISIONER_DATABASE_URL": ledger_server.url("waypost_provisioner"),
    }
    async with AsyncExitStack() as stack:
        yield Platform(values, None, stack)


class Workers:
    """What a worker does with platform jobs, without Dramatiq: looks, and runs what it finds."""

    def __init__(self, platform: Platform, ground: Ground) -> None:
        self._platform, self._ground = platform, ground

    async def __aenter__(self) -> "Workers":
        database = await self._platform.database("waypost_worker")
        self.session = await self._ground.worker.open_session("worker-1", "worker", "", 1, 60.0)
        unused: Any = None
        ports = EnvironmentPorts(database, await self._platform.database("waypost_provisioner"), unused, unused, unused)
        url = self._platform.url("waypost_provisioner")

        async def migrate(job: Any) -> None:
            await function.migrate(job, ports=ports, provisioner_url=url)

        runner = PlatformRunner(database, {outdated.MIGRATE: migrate}, {}, lambda: self.session)
        self._task = asyncio.create_task(self._run(database, runner))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._ground.worker.close_session(self.session)

    async def _run(self, database: Database, runner: PlatformRunner) -> None:
        while True:
            async with database.unit() as connection:
                found = await take_hints(connection, stale_seconds=15, per_environment=4)
            await asyncio.gather(*(runner.run(job_id) for job_id in found))
            await asyncio.sleep(0.02)


def silent(_: str) -> None:
    pass


def states(standing: command.Standing) -> dict[UUID, str]:
    return {one["id"]: one["state"] for one in standing.environments or ()}


async def tables(ground: Ground, environment_id: UUID) -> set[str]:
    query = "select tablename from pg_tables where schemaname = $1"
    return {row["tablename"] for row in await ground.admin.fetch(query, role_name(environment_id))}


async def audited(ground: Ground) -> dict[UUID, str]:
    query = "select environment_id, actor from control.audit where action = 'environment.migrate'"
    return {row["environment_id"]: row["actor"] for row in await ground.admin.fetch(query)}


async def test_nothing_to_do_is_said_so(platform: Platform, environments: list[UUID]) -> None:
    """Exit code 0, every environment with its version; applying changes nothing."""
    standing, code = await command.check(platform)
    assert (code, standing.control["state"]) == (0, "current")
    assert states(standing) == dict.fromkeys(environments, "current")
    assert (await command.apply(platform, silent))[1] == 0


@pytest.mark.usefixtures("newer")
async def test_a_check_lists_what_is_behind_and_changes_nothing(platform: Platform, environments: list[UUID]) -> None:
    """Exit code 10, twice the same."""
    for _ in range(2):
        standing, code = await command.check(platform)
        assert (code, states(standing)) == (ExitCode.VERSION, dict.fromkeys(environments, "behind"))
        assert {one["version"] for one in standing.environments or ()} == {"0001"}


@pytest.mark.usefixtures("newer")
async def test_without_a_worker_the_command_migrates_itself(
    platform: Platform, environments: list[UUID], ground: Ground
) -> None:
    """All of them, with an audit entry each; the environment's role may use the new table and not change it."""
    standing, code = await command.apply(platform, silent)
    assert (code, states(standing)) == (0, dict.fromkeys(environments, "current"))
    assert await audited(ground) == dict.fromkeys(environments, "system:admin")
    assert await ground.count("platform_job") == 0
    database = await platform.database("waypost_worker")
    async with database.as_environment(environments[0]) as connection:
        await connection.execute("insert into note values (1, 'mine')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("drop table note")


@pytest.mark.usefixtures("newer")
async def test_with_a_worker_each_environment_is_a_recorded_job(
    platform: Platform, environments: list[UUID], ground: Ground
) -> None:
    """One job an environment, completed; the audit names the system, not the operator."""
    async with Workers(platform, ground):
        standing, code = await command.apply(platform, silent)
    assert (code, states(standing)) == (0, dict.fromkeys(environments, "current"))
    rows = await ground.admin.fetch("select kind, subject, state from control.platform_job")
    assert {(row["kind"], row["subject"], row["state"]) for row in rows} == {
        ("environment.migrate", environment_id, "completed") for environment_id in environments
    }
    assert await audited(ground) == dict.fromkeys(environments, "system")


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("by_worker", [True, False])
async def test_one_that_fails_stops_no_other_and_is_done_later(
    platform: Platform, environments: list[UUID], ground: Ground, *, by_worker: bool
) -> None:
    """Exit code 1 with the reason; nothing of it is left half done; once the cause is gone, applying does only it."""
    failing, *others = environments
    provisioner = await asyncpg.connect(ground.server.url("waypost_provisioner"))
    await provisioner.execute(f"create table {role_name(failing)}.note (in_the_way int)")
    async with AsyncExitStack() as stack:
        if by_worker:
            await stack.enter_async_context(Workers(platform, ground))
        standing, code = await command.apply(platform, silent)
        assert code == ExitCode.OTHER
        assert states(standing) == dict.fromkeys(others, "current") | {failing: "failed"}
        (error,) = [one["error"] for one in standing.environments or () if one["id"] == failing]
        assert 'relation "note" already exists' in error
        assert "first_thing" not in await tables(ground, failing)
        assert set(await audited(ground)) == set(others)
        await provisioner.execute(f"drop table {role_name(failing)}.note")
        standing, code = await command.apply(platform, silent)
    assert (code, states(standing)) == (0, dict.fromkeys(environments, "current"))
    assert await ground.count("audit", "action = 'environment.migrate'") == len(environments)
    await provisioner.close()


@pytest.mark.usefixtures("newer")
async def test_a_migration_that_is_run_twice_or_twice_at_once_is_one(environments: list[UUID], ground: Ground) -> None:
    """Every run returns; one of them did it."""
    url = ground.server.url("waypost_provisioner")
    done = await asyncio.gather(*(asyncio.to_thread(function.upgrade, url, environments[0]) for _ in range(3)))
    assert sorted(done) == [False, False, True]
    assert not await asyncio.to_thread(function.upgrade, url, environments[0])


@pytest.mark.usefixtures("newer")
async def test_a_held_lock_is_tried_again_and_no_fault(
    environments: list[UUID], ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant's long transaction delays its own environment's migration, for a bounded time; it is tried again."""
    monkeypatch.setattr(migration, "_LOCK_SECONDS", 0.2)
    url = ground.server.url("waypost_provisioner")
    async with ground.admin.acquire() as tenant, tenant.transaction():
        await tenant.execute(f"lock table {role_name(environments[0])}.alembic_version in exclusive mode")
        with pytest.raises(WaypostError) as caught:
            await asyncio.to_thread(function.upgrade, url, environments[0])
    assert (caught.value.code, caught.value.retryable) == ("unavailable", True)
    assert await asyncio.to_thread(function.upgrade, url, environments[0])


@pytest.mark.usefixtures("newer")
async def test_a_migration_that_is_cut_off_in_the_middle_is_begun_again(
    environments: list[UUID], ground: Ground
) -> None:
    """Killed while it waits to write its version down, with its changes made: nothing of them stays, and it can run."""
    mine, url = environments[0], ground.server.url("waypost_provisioner")
    waiting = (
        "select pid from pg_stat_activity where usename = 'waypost_provisioner' and wait_event_type = 'Lock' limit 1"
    )
    async with ground.admin.acquire() as tenant, tenant.transaction():
        await tenant.execute(f"lock table {role_name(mine)}.alembic_version in exclusive mode")
        running = asyncio.create_task(asyncio.to_thread(function.upgrade, url, mine))
        async with asyncio.timeout(20):
            while (pid := await ground.admin.fetchval(waiting)) is None:  # noqa: ASYNC110 - a lock tells nobody
                await asyncio.sleep(0.01)
        await ground.admin.execute("select pg_terminate_backend($1)", pid)
        with pytest.raises(Exception, match=r"terminat|closed|unavailable"):
            await running
    assert "first_thing" not in await tables(ground, mine)
    assert await asyncio.to_thread(function.upgrade, url, mine)
    assert "first_thing" in await tables(ground, mine)


async def test_a_newer_environment_is_reported_and_left_alone(
    platform: Platform, environments: list[UUID], ground: Ground
) -> None:
    """Exit code 10; the others are looked at all the same."""
    newest = environments[1]
    await ground.admin.execute(f"update {role_name(newest)}.alembic_version set version_num = '9999'")  # noqa: S608
    for work in (command.check(platform), command.apply(platform, silent)):
        standing, code = await work
        assert code == ExitCode.VERSION
        assert states(standing) == dict.fromkeys(environments, "current") | {newest: "newer"}


@pytest.mark.usefixtures("newer")
async def test_what_is_being_deleted_or_made_is_not_migrated(
    platform: Platform, environments: list[UUID], ground: Ground
) -> None:
    """One goes, one has an empty schema: neither is listed, neither gets a job."""
    going, empty, other = environments
    await ground.admin.execute("update control.environment set status = 'deleting' where id = $1", going)
    await ground.admin.execute(f"drop table {role_name(empty)}.alembic_version")
    jobs = await outdated.queue_migrations(
        await platform.database("waypost_worker"), await platform.database("waypost_provisioner")
    )
    assert set(jobs) == {other}
    again = await outdated.queue_migrations(
        await platform.database("waypost_worker"), await platform.database("waypost_provisioner")
    )
    assert again == jobs
    standing, code = await command.apply(platform, silent)
    assert (code, states(standing)) == (0, {other: "current"})
    assert await tables(ground, going) == {"alembic_version", "tenant"}


async def test_without_the_provisioners_login_only_control_is_looked_at(ledger_server: OwnPostgres) -> None:
    """As with the owner's URL alone: the answer says that environments were not looked at."""
    async with AsyncExitStack() as stack:
        alone = Platform({"WAYPOST_OWNER_DATABASE_URL": ledger_server.url("waypost_owner")}, None, stack)
        standing, code = await command.apply(alone, silent)
    assert (code, standing.environments) == (0, None)
