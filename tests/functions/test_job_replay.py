"""`job.replay` as a worker runs it: killed anywhere and run again, each job is replayed once."""

import secrets
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import pytest

from functions.environment.phase import EnvironmentPorts
from functions.job import replay as function
from functions.job.replay import ReplayPorts, give_up, overrides_place, replay
from jobs.platform import Later
from storage.objects.store import ObjectStore
from storage.postgres.database import Database
from storage.postgres.ledger.ledger import Ledger
from storage.postgres.platform.job import PlatformJob
from storage.postgres.replay import replay as rows
from tests.functions.life_ground import Killed
from waypost.ids import new_id
from waypost.job.replay import REPLAY, BulkReplay, ReplayState
from waypost.limit.decision import defaults

OBJECT = "x" * 70_000  # lies in the bucket


@pytest.fixture(scope="module")
async def replays(ports: EnvironmentPorts, s3: tuple[str, str, str]) -> ReplayPorts:
    ledger, objects = Ledger(ports.database), ObjectStore(s3[0], ports.keys)
    return ReplayPorts(ports.database, ledger, ports.keys, objects, ports.valkey, defaults({}))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "BATCH", 2)


async def ended_jobs(client: httpx.AsyncClient, path: str, *payloads: Any, **spec: Any) -> list[UUID]:
    spec = {"function": f"f{secrets.token_hex(4)}"} | spec
    made = await client.post(f"{path}/jobs/bulk", json={"jobs": [spec | {"payload": one} for one in payloads]})
    ids = [UUID(one["id"]) for one in made.json()["items"]]
    for job in ids:
        assert (await client.post(f"{path}/jobs/{job}/cancel")).status_code == 202
    return ids


async def asked(
    ports: ReplayPorts, environment: Any, ids: Sequence[UUID], overrides: bytes | None = None
) -> PlatformJob:
    """A bulk replay that the platform's own worker is not told of."""
    replay_id, environment_id = new_id(), UUID(environment.id)
    key = await ports.keys.data_key(environment_id)
    sealed = None if overrides is None else key.seal(overrides_place(replay_id), overrides)
    async with ports.database.unit() as connection:
        await rows.insert_replay(
            connection, environment_id, replay_id, ids, selection=b"{}", overrides=sealed, created_by="person:x",
            traceparent=None,
        )  # fmt: skip
    return PlatformJob(new_id(), REPLAY, environment_id, replay_id, "running", 1, 5, None)


async def stands(ports: ReplayPorts, job: PlatformJob) -> BulkReplay:
    async with ports.database.unit() as connection:
        found = await rows.read_replay(connection, UUID(str(job.environment_id)), job.subject)
    assert found is not None
    return found


async def replayed(ports: ReplayPorts, ids: Sequence[UUID]) -> list[UUID]:
    """Of which jobs there are replays, one entry each."""
    async with ports.database.unit() as connection:
        found = await connection.fetch("select replay_of from control.job where replay_of = any ($1) order by id", ids)
    return [row["replay_of"] for row in found]


async def test_run_twice_it_replays_once(
    client: httpx.AsyncClient, shared_environment: Any, replays: ReplayPorts
) -> None:
    """In order, with payloads of every size, and their overrides; a second run finds nothing to do."""
    ids = await ended_jobs(client, shared_environment.path, {"n": 0}, OBJECT, None, {"n": 3}, {"n": 4})
    job = await asked(replays, shared_environment, ids, b'{"labels": {"again": "yes"}}')
    await replay(job, replays)
    await replay(job, replays)
    found = await stands(replays, job)
    assert (found.state, found.position, found.replayed, found.skipped) == (ReplayState.COMPLETED, 5, 5, 0)
    assert await replayed(replays, ids) == ids
    listed = await client.get(f"{shared_environment.path}/jobs", params={"label.again": "yes"})
    newest = [
        (await client.get(f"{shared_environment.path}/jobs/{one['id']}")).json() for one in listed.json()["items"]
    ]
    assert [one["payload"] for one in reversed(newest)] == [{"n": 0}, OBJECT, None, {"n": 3}, {"n": 4}]


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
async def test_killed_in_any_batch_each_job_is_replayed_once(
    client: httpx.AsyncClient,
    shared_environment: Any,
    replays: ReplayPorts,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    """A worker dies in every single batch, before or after its commit; the next one goes on."""
    ids = await ended_jobs(client, shared_environment.path, *range(7))
    job = await asked(replays, shared_environment, ids)
    advance, tell = rows.advance_replay, function._tell

    async def dies(*arguments: Any) -> None:
        if before:
            await advance(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rows if before else function, "advance_replay" if before else "_tell", dies)
        kills = 1 if before else 4  # nothing was kept: the same batch again; or the next one
        for _ in range(kills):
            with pytest.raises(Killed):
                await replay(job, replays)
        assert len(await replayed(replays, ids)) == (0 if before else 7)
    assert function._tell is tell
    await replay(job, replays)
    assert await replayed(replays, ids) == ids
    assert (await stands(replays, job)).state is ReplayState.COMPLETED


async def test_two_workers_at_once_replay_each_job_once(
    client: httpx.AsyncClient, shared_environment: Any, replays: ReplayPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker did the batch that this one had prepared: nothing of it is kept a second time."""
    ids = await ended_jobs(client, shared_environment.path, *range(5))
    job = await asked(replays, shared_environment, ids)
    prepare, meddled = function._prepare, []

    async def overtaken(*arguments: Any) -> Any:
        batch = await prepare(*arguments)
        if not meddled:
            meddled.append(True)
            await replay(job, replays)  # the whole of it
        return batch

    monkeypatch.setattr(function, "_prepare", overtaken)
    await replay(job, replays)
    assert meddled
    assert await replayed(replays, ids) == ids


async def test_what_cannot_be_replayed_is_skipped_with_its_reason(
    client: httpx.AsyncClient, shared_environment: Any, replays: ReplayPorts
) -> None:
    """Erased payloads, jobs that retention took; the others go on."""
    ids = await ended_jobs(client, shared_environment.path, 0, 1, 2)
    async with replays.database.unit() as connection:
        await connection.execute("update control.job set payload = '' where id = $1", ids[1])
    gone = new_id()
    job = await asked(replays, shared_environment, [ids[0], ids[1], gone, ids[2]])
    await replay(job, replays)
    found = await stands(replays, job)
    assert (found.replayed, found.skipped) == (2, 2)
    assert [(skip.job_id, skip.code) for skip in found.skips] == [(ids[1], "payload_erased"), (gone, "job_gone")]
    assert await replayed(replays, ids) == [ids[0], ids[2]]


async def test_a_full_queue_is_waited_for(
    client: httpx.AsyncClient, environment: Any, replays: ReplayPorts, platform: Any
) -> None:
    """Its worker comes again, and goes on when there is room; nothing is replayed over the limit."""
    ids = await ended_jobs(client, environment.path, *range(3))
    assert (await client.patch(environment.path, json={"limits": {"waiting_jobs": 0}})).status_code == 200
    job = await asked(replays, environment, ids)
    with pytest.raises(Later):
        await replay(job, replays)
    assert await replayed(replays, ids) == []
    assert (await client.patch(environment.path, json={"limits": {"waiting_jobs": None}})).status_code == 200
    await replay(job, replays)
    assert await replayed(replays, ids) == ids


async def test_a_canceled_replay_makes_no_more_jobs(
    client: httpx.AsyncClient, shared_environment: Any, replays: ReplayPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is canceled between the reading of a batch and its commit; what was made stays."""
    ids = await ended_jobs(client, shared_environment.path, *range(5))
    job = await asked(replays, shared_environment, ids)
    prepare, batches = function._prepare, []

    async def canceled(*arguments: Any) -> Any:
        batch = await prepare(*arguments)
        batches.append(batch)
        if len(batches) == 2:
            where = f"{shared_environment.path}/jobs/replays/{job.subject}/cancel"
            assert (await client.post(where)).json()["state"] == "canceled"
            assert (await client.post(where)).json()["code"] == "replay_already_ended"
        return batch

    monkeypatch.setattr(function, "_prepare", canceled)
    await replay(job, replays)
    found = await stands(replays, job)
    assert (found.state, found.replayed) == (ReplayState.CANCELED, 2)
    assert await replayed(replays, ids) == ids[:2]


async def test_a_replay_that_is_given_up_says_why(
    shared_environment: Any, replays: ReplayPorts, ports: EnvironmentPorts
) -> None:
    """The platform job's attempts are used up: the replay has failed, with the reason; once."""
    job = await asked(replays, shared_environment, [new_id()])
    database: Database = ports.database
    await give_up(job, "the database said no", database=database)
    await give_up(job, "again", database=database)
    found = await stands(replays, job)
    assert (found.state, found.error) == (ReplayState.FAILED, "the database said no")
    await replay(job, replays)
    assert (await stands(replays, job)).position == 0
