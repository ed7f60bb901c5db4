"""A platform that an earlier version left behind is started by this one, and nothing that it held is lost."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import typer
from alembic.config import Config
from alembic.script import ScriptDirectory
from typer.testing import CliRunner
from waypost_sdk import AsyncClient

from infra.local import command
from infra.local.problem import ExitCode, LocalError
from storage.postgres import migration
from storage.postgres.version import CONTROL_VERSION
from tests.conftest import Platform, processes_of, start_platform, stop_platform
from tests.infra.older_platform import DATA, PLACE, RESULTS, node

OLDER = sorted(path.stem.removeprefix("platform-") for path in DATA.glob("platform-*.tar"))


def test_platforms_of_earlier_revisions_are_kept_without_a_gap() -> None:
    """Whoever freezes a revision makes one of it (tests/infra/older_platform.py); none of the newest can be older."""
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "control" / "migrations"))
    revisions = sorted(revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions())
    assert OLDER
    assert revisions[: len(OLDER)] == OLDER
    assert OLDER[-1] < revisions[-1]


def restore(revision: str, data_dir: Path) -> None:
    """The data folder as it was: at its own revision."""
    app = typer.Typer()
    command.register(app)
    arguments = ["admin", "restore", "--from", str(DATA / f"platform-{revision}.tar"), "--data-dir", str(data_dir)]
    done = CliRunner().invoke(app, arguments, env={"WAYPOST_KEK_FILE": ""}, catch_exceptions=False)
    assert done.exit_code == 0, done.output


async def version(platform: Platform) -> str:
    owner = await asyncpg.connect(platform.database_url())
    try:
        found: str = await owner.fetchval("select version_num from control.alembic_version")
    finally:
        await owner.close()
    return found


@pytest.mark.parametrize("revision", OLDER)
async def test_an_older_data_folder_is_upgraded_by_up(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and credentials work, ended jobs have their results, waiting ones complete, running ones are retried."""
    monkeypatch.setenv("WAYPOST_RESULTS_DAYS", "3650")  # it was made when the revision was the newest
    monkeypatch.setenv("WAYPOST_JOB_DAYS", "3650")
    monkeypatch.setenv("WAYPOST_LOG_DAYS", "3650")
    facts = json.loads((DATA / f"platform-{revision}.json").read_text())
    data_dir = tmp_path / "data"
    await asyncio.to_thread(restore, revision, data_dir)
    platform = await asyncio.to_thread(start_platform, data_dir)
    try:
        assert await version(platform) == CONTROL_VERSION > revision
        assert platform.admin_key == facts["admin_key"]
        await check_keys(platform, facts)
        await check_jobs(platform, facts)
    finally:
        await asyncio.to_thread(stop_platform, data_dir)


def client_of(platform: Platform, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=platform.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


async def check_keys(platform: Platform, facts: dict[str, Any]) -> None:
    """Both log in, and write as well as read."""
    path = "/v1/orgs/default/projects/default/environments"
    for key in (facts["admin_key"], facts["operator_key"]):
        async with client_of(platform, key) as http:
            found = await http.get(f"{path}/dev")
            assert (found.status_code, found.json()["status"]) == (200, "ready"), found.text
            assert (await http.post(f"{path}/dev/jobs", json={"function": "nobody.serves"})).status_code in (201, 202)
    async with client_of(platform, facts["admin_key"]) as http:
        made = await http.post(path, json={"name": "New", "slug": "new", "posture": "dev"})
        assert made.status_code == 202, made.text
        async with asyncio.timeout(30):
            while (await http.get(f"{path}/new")).json()["status"] != "ready":  # noqa: ASYNC110 - no signal
                await asyncio.sleep(0.05)


async def check_jobs(platform: Platform, facts: dict[str, Any]) -> None:
    jobs = facts["jobs"]
    worker = node({"relay_address": platform.relay_address, "api_url": platform.api_url}, facts["credential"])

    @worker.function("later", max_in_flight=8)
    @worker.function("stuck")
    async def later(job: Any, payload: Any) -> Any:
        return payload

    async with AsyncClient(platform.api_url, facts["operator_key"], PLACE) as sdk:
        assert [(await sdk.jobs.get(job)).result for job in jobs["completed"]] == RESULTS
        assert [job.id async for job in sdk.jobs.list(labels={"order": "A-17"})] == jobs["completed"][::-1]
        assert [line.message async for line in sdk.jobs.logs(jobs["completed"][0])] == ["echoing"]
        states = [(await sdk.jobs.get(jobs[state][0])).state for state in ("failed", "canceled")]
        assert states == ["failed", "canceled"]
        task = asyncio.create_task(worker.serve())
        try:
            for job in jobs["queued"] + jobs["held"] + jobs["scheduled"] + jobs["running"]:
                assert (await sdk.jobs.wait(job, timeout_seconds=60)).state == "completed"
            assert [(await sdk.jobs.get(job)).result for job in jobs["queued"]] == RESULTS
            attempts = await sdk.jobs.attempts(jobs["running"][0])
            assert [attempt.outcome for attempt in attempts] == ["lost", "completed"]
        finally:
            worker.stop("the test is over")
            await asyncio.wait([task], timeout=20)


async def test_up_refuses_a_folder_whose_schema_is_newer(tmp_path: Path) -> None:
    """Exit code 10 with the version; nothing was changed and nothing is left running."""
    data_dir = tmp_path / "data"
    servers = {"relays": 0, "gateways": 0, "workers": 0}
    platform = await asyncio.to_thread(start_platform, data_dir, **servers)
    owner = await asyncpg.connect(platform.database_url())
    await owner.execute("update control.alembic_version set version_num = '9999'")
    await owner.close()
    await asyncio.to_thread(stop_platform, data_dir)
    (data_dir / "ground").write_text("what the newer program left")
    with pytest.raises(LocalError, match="9999") as caught:
        await asyncio.to_thread(start_platform, data_dir, **servers)
    assert caught.value.code is ExitCode.VERSION
    assert not processes_of(data_dir)
    assert (data_dir / "ground").read_text() == "what the newer program left"
