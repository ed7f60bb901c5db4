# ruff: noqa: S603 -- every process here is our own command
"""A backup of a platform at work, restored into an empty folder: every acknowledged job is there and completes."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from waypost_sdk import AsyncClient, Node

from infra.local.admin.archive import Reader
from infra.local.admin.connection import of_folder, open_platform
from infra.local.folder import DataFolder
from storage.postgres.tenancy import role_name
from storage.secrets import DATABASE_PASSWORD
from tests.conftest import Platform, api_path, start_platform, stop_platform

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]
LARGE = "x" * 200_000  # kept in the object store
RESULTS = ["small", 17, LARGE]
SECONDS = 60


def waypost(*arguments: str | Path, settings: dict[str, str] | None = None) -> Any:
    command = [*WAYPOST, *map(str, arguments)]
    environment = os.environ | (settings or {})
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


async def run_waypost(*arguments: str | Path, settings: dict[str, str] | None = None) -> dict[str, Any]:
    """The command's JSON; fails when it does."""
    done = await asyncio.to_thread(waypost, *arguments, settings=settings)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Work:
    """Jobs of one environment, and the node that does them: each answers its payload."""

    def __init__(self, platform: Platform, credential: dict[str, Any]) -> None:
        self.platform, self.credential = platform, credential
        self.stuck: asyncio.Queue[str] = asyncio.Queue()

    @asynccontextmanager
    async def node(self, *tags: str, stuck: bool) -> AsyncIterator[None]:
        """`echo` and `stuck`, which waits for the end where `stuck` is true; `later` only where it is not."""
        release = asyncio.Event()
        node = Node(
            relay=self.platform.relay_address,
            url=self.platform.api_url,
            client_id=self.credential["client_id"],
            client_secret=self.credential["client_secret"],
            tags=list(tags),
        )

        @node.function("echo", max_in_flight=32)
        async def echo(job: Any, payload: Any) -> Any:
            return payload

        @node.function("stuck")
        async def hold(job: Any, payload: Any) -> Any:
            if stuck:
                self.stuck.put_nowait(job.id)
                await release.wait()
            return payload

        if not stuck:
            node.function("later", max_in_flight=32)(echo)

        task = asyncio.create_task(node.serve())
        await asyncio.sleep(0)  # it begins
        try:
            async with asyncio.timeout(20):
                await node.wait_connected()
            yield
        finally:
            release.set()
            node.stop("the test is over")
            await asyncio.wait([task], timeout=20)
            task.cancel()

    def sdk(self) -> AsyncClient:
        return AsyncClient(self.platform.api_url, self.platform.admin_key, self.platform.environment)


async def make_credential(platform: Platform) -> dict[str, Any]:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {platform.admin_key}"}, timeout=30) as http:
        answer = await http.post(
            f"{platform.api_url}{api_path(platform.environment)}/node-credentials", json={"name": "n"}
        )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


class Load:
    """Jobs submitted one after the other, of which every tenth has its payload in the object store."""

    def __init__(self, sdk: AsyncClient) -> None:
        self._sdk, self._stop = sdk, asyncio.Event()
        self.acknowledged: list[tuple[str, Any]] = []
        self.under_way = asyncio.Event()

    async def run(self) -> None:
        while not self._stop.is_set():
            number = len(self.acknowledged)
            payload = LARGE if number % 10 == 0 else number
            self.acknowledged.append(((await self._sdk.jobs.submit("later", payload)).id, payload))
            if number == 30:
                self.under_way.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It is under way; at the end its last submission is answered."""
        task = asyncio.create_task(self.run())
        await asyncio.wait_for(self.under_way.wait(), SECONDS)
        yield
        self._stop.set()
        await task


@pytest.fixture(scope="module")
async def source(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """A platform of these tests alone."""
    data_dir = tmp_path_factory.mktemp("source") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAYPOST_AUDIT_SEAL_SECONDS", "0.2")  # sealed while the backup is made, and after the restore
        yield await asyncio.to_thread(start_platform, data_dir)
        await asyncio.to_thread(stop_platform, data_dir)


async def test_every_job_acknowledged_before_a_backup_is_found_after_the_restore(
    source: Platform, tmp_path: Path
) -> None:
    """Ended ones with their results, inline and from the object store; queued, scheduled and running ones complete,
    a running one by another attempt. Keys, node credentials, database logins and bucket keys go on working, and the
    audit is intact.
    """
    work = Work(source, await make_credential(source))
    backup, restored = tmp_path / "backup.tar", tmp_path / "restored"
    async with work.sdk() as sdk, work.node(stuck=True):
        ended = [(await sdk.jobs.submit("echo", payload)).id for payload in RESULTS]
        assert [(await sdk.jobs.wait(job, timeout_seconds=20)).result for job in ended] == RESULTS
        running = [(await sdk.jobs.submit("stuck", "held")).id for _ in range(2)]
        assert sorted([await asyncio.wait_for(work.stuck.get(), 20) for _ in running]) == sorted(running)
        queued = [((await sdk.jobs.submit("echo", payload, tags=["other"])).id, payload) for payload in RESULTS]
        scheduled = [((await sdk.jobs.submit("echo", "due", delay_seconds=10)).id, "due")]
        load = Load(sdk)
        async with load.running():
            before = list(load.acknowledged)
            summary = await run_waypost("admin", "backup", "--data-dir", source.data_dir, "--to", backup)
        assert len(load.acknowledged) > len(before), "nothing was submitted while the backup was made"
    assert summary["with_key"] is False
    assert await asyncio.to_thread(secrets_in, backup, source) == []

    kek = DataFolder(source.data_dir).kek_file
    found = await run_waypost("admin", "restore", "--from", backup, "--data-dir", restored, "--kek", kek)
    assert found["counts"] == summary["counts"]
    other = await asyncio.to_thread(start_platform, restored)
    try:
        assert {other.api_url, other.relay_address}.isdisjoint({source.api_url, source.relay_address})
        work = Work(dataclasses.replace(other, admin_key=source.admin_key), work.credential)
        async with work.sdk() as sdk:
            assert [(await sdk.jobs.get(job)).result for job in ended] == RESULTS
            assert {(await sdk.jobs.get(job)).state for job, _ in before + queued} == {"queued"}
            async with work.node("other", stuck=False):
                for job, payload in [*((job, "held") for job in running), *scheduled, *queued, *before]:
                    done = await sdk.jobs.wait(job, timeout_seconds=SECONDS)
                    assert (done.state, done.result) == ("completed", payload)
                fresh = await sdk.jobs.submit("echo", LARGE)
                assert (await sdk.jobs.wait(fresh.id, timeout_seconds=20)).result == LARGE
            attempts = [await sdk.jobs.attempts(job) for job in running]
            assert [[attempt.outcome for attempt in one] for one in attempts] == [["lost", "completed"]] * 2
        await assert_own_login(other)
        await assert_audit_goes_on(other, backup)
    finally:
        await asyncio.to_thread(stop_platform, restored)


async def test_a_backup_is_restored_into_an_empty_cluster(source: Platform, tmp_path: Path) -> None:
    """By the settings instead of a data folder; refused while the cluster's transactions are behind the backup's, and
    once it holds something."""
    servers = await asyncio.to_thread(start_platform, tmp_path / "cluster", relays=0, gateways=0, workers=0)
    backup = tmp_path / "backup"
    try:
        made = await run_waypost("admin", "backup", "--to", backup, settings=settings_of(source, source))
        settings = settings_of(servers, source)
        admin = await asyncpg.connect(servers.database_url("postgres"))
        await admin.execute("drop schema control cascade")
        reader = Reader.open(backup)
        reader.close()
        transaction = reader.manifest.transaction
        if int(await admin.fetchval("select pg_current_xact_id()::text")) < transaction:
            behind = await asyncio.to_thread(waypost, "admin", "restore", "--from", backup, settings=settings)
            assert (behind.returncode, "pg_resetwal --epoch=1" in behind.stderr) == (8, True)
        await burn_transactions(admin, up_to=transaction)
        restored = await run_waypost("admin", "restore", "--from", backup, settings=settings)
        assert (restored["restored"], restored["counts"]) == (None, made["counts"])
        assert await admin.fetchval("select count(*) from control.job") == made["counts"]["job"]
        login = "select rolcanlogin, rolpassword is not null from pg_authid where rolname ~ '^env_'"
        assert tuple(await admin.fetchrow(login)) == (True, True)
        await admin.close()
        again = await asyncio.to_thread(waypost, "admin", "restore", "--from", backup, settings=settings)
        assert (again.returncode, "control schema already" in again.stderr) == (8, True)
    finally:
        await asyncio.to_thread(stop_platform, tmp_path / "cluster")


def settings_of(platform: Platform, key_of: Platform) -> dict[str, str]:
    """A worker's settings and the logins of owner and administrator, as an operator of a cluster has them."""
    endpoint = f"http://{platform.process('objects')['address']}"
    found = of_folder(DataFolder(platform.data_dir), {"WAYPOST_S3_ENDPOINT": endpoint})
    return found | {"WAYPOST_KEK_FILE": str(DataFolder(key_of.data_dir).kek_file)}


async def burn_transactions(connection: Any, up_to: int) -> None:
    while int(await connection.fetchval("select pg_current_xact_id()::text")) < up_to:
        continue


async def assert_own_login(platform: Platform) -> None:
    """The environment's database login has the password that its sealed secret holds."""
    async with open_platform(platform.data_dir) as opened:
        async with (await opened.database()).unit() as connection:
            environment_id = await connection.fetchval("select id from control.environment")
        password = await (await opened.keys()).get_secret(environment_id, DATABASE_PASSWORD)
    assert password is not None
    login = await asyncpg.connect(
        user=role_name(environment_id),
        password=password.decode(),
        database="waypost",
        host=str(DataFolder(platform.data_dir).socket_dir),
    )
    try:
        assert await login.fetchval("select count(*) from tenant") == 1
        assert await login.fetchval("select count(*) > 0 from control.job")
        assert await login.fetchval("show statement_timeout") == "30s"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.fetchval("select count(*) from control.api_key")
    finally:
        await login.close()


_RESTORE_IS_SEALED = """
select exists (select from control.audit where action = 'platform.restore'
    and transaction <= (select max(until_transaction) from control.audit_batch))
"""


async def assert_audit_goes_on(platform: Platform, backup: Path) -> None:
    """What is written after the restore stands after what was sealed before it, and all of it verifies."""
    reader = Reader.open(backup)
    reader.close()
    owner = await asyncpg.connect(platform.database_url())
    try:
        assert int(await owner.fetchval("select pg_current_xact_id()::text")) > reader.manifest.transaction
        async with asyncio.timeout(SECONDS):
            while not await owner.fetchval(_RESTORE_IS_SEALED):  # noqa: ASYNC110 - the sealer tells nobody
                await asyncio.sleep(0.1)
    finally:
        await owner.close()
    verified = await run_waypost("admin", "audit", "verify", "--data-dir", platform.data_dir)
    assert verified["intact"]


def secrets_in(backup: Path, platform: Platform) -> list[str]:
    """Which of the platform's secrets a backup holds in plain."""
    folder = DataFolder(platform.data_dir)
    known = folder.passwords() | {
        "kek": folder.kek_file.read_text().strip(),
        "admin key": platform.admin_key,
    }
    plain = backup.read_bytes() + dump_text(backup)
    return [name for name, secret in known.items() if secret.encode() in plain]


def dump_text(backup: Path) -> bytes:
    """The database part as SQL."""
    from infra.local.servers.postgres import binaries

    reader = Reader.open(backup)
    try:
        with reader.part("database.dump") as file:
            dump = file.read()
    finally:
        reader.close()
    command = [str(binaries() / "pg_restore"), "--file=-"]
    return subprocess.run(command, input=dump, capture_output=True, check=True, env=os.environ).stdout
