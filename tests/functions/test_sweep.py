"""`retention.sweep`: what is too old goes, nothing else; twice, and killed in the middle."""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from functions.environment.phase import EnvironmentPorts
from functions.retention import sweep as sweeping
from functions.retention.sweep import SweepPorts, sweep
from jobs.audit import Sealer
from storage.objects.artifact import ArtifactObjects
from storage.objects.seal import SealStore
from storage.objects.store import ObjectStore
from storage.postgres.artifact import change
from storage.postgres.audit.seal import auditing
from storage.postgres.platform.job import PlatformJob
from storage.postgres.retention import artifact as artifacts
from storage.postgres.retention import job as jobs
from storage.postgres.retention.turn import read_sweep
from tests.functions.life_ground import Killed
from waypost.artifact.model import object_key
from waypost.errors import WaypostError
from waypost.ids import first_id_at, new_id
from waypost.retention.model import SWEEP

OPERATOR = {
    "payload_days": 7, "job_days": 30, "log_days": 30, "firing_days": 30, "delivery_days": 30, "artifact_days": 30,
    "audit_days": 365,
}  # fmt: skip


@pytest.fixture
async def sweeps(ports: EnvironmentPorts, s3: tuple[str, str, str]) -> Any:
    store = ObjectStore(s3[0], ports.keys)
    objects = ArtifactObjects(s3[0], ports.keys, store)
    yield SweepPorts(ports.database, objects, OPERATOR)
    await objects.close()


_OPEN_SWEEP = """
select exists (select from control.platform_job where kind = $1 and subject = $2 and state in ('queued', 'running'))
"""
_SEALED = """
select exists (select from control.audit_batch b join control.audit_stored using (number)
    join control.audit a on a.id = $1 where (b.until_transaction, b.until_id) >= (a.transaction, a.id))
"""


class Ground:
    """One environment with things of many ages."""

    def __init__(self, ports: SweepPorts, environment_id: UUID) -> None:
        self.ports, self.id = ports, environment_id

    async def run(self) -> Mapping[str, int]:
        """Sweep, and what that came to."""
        await sweep(PlatformJob(new_id(), SWEEP, self.id, self.id, "running", 1, 5, None), self.ports)
        async with self.ports.database.unit() as connection:
            found = await read_sweep(connection, self.id)
        assert found is not None
        return found.removed

    async def execute(self, sql: str, *values: Any) -> None:
        async with self.ports.database.unit() as connection:
            await connection.execute(sql, self.id, *values)

    async def count(self, table: str) -> int:
        async with self.ports.database.unit() as connection:
            sql = f"select count(*) from control.{table} where environment_id = $1"  # noqa: S608 - names that we made
            return int(await connection.fetchval(sql, self.id))

    async def job(self, age_days: float, *, ended: bool = True) -> UUID:
        """With a payload, a result in the bucket, a label, a log in rows and in the bucket."""
        async with self.ports.database.unit() as connection:
            at = await connection.fetchval("select now()") - timedelta(days=age_days)
            job = UUID(int=first_id_at(at).int | secrets.randbits(40))
            route = await connection.fetchval(
                "insert into control.route (environment_id, function, selectors) values ($1, 'f', '[]')"
                " on conflict (environment_id, function, selectors) do update set function = 'f' returning id",
                self.id,
            )
            await connection.execute(
                "insert into control.job (id, environment_id, route, rank, submitted_by, payload)"
                " values ($1, $2, $3, 4, 'x', 'sealed')",
                *(job, self.id, route),
            )
            await connection.execute("insert into control.job_label values ($1, 'a=b', $2)", self.id, job)
            await connection.execute("insert into control.job_log values ($1, $2, 1, 5, 'x')", self.id, job)
            await connection.execute(
                "insert into control.attempt_log (environment_id, job_id, number, lines, bytes)"
                " values ($1, $2, 1, 6, 9)",
                *(self.id, job),
            )
            await connection.execute(
                "insert into control.log_object values ($1, $2, 1, 0, 5, $3)", self.id, job, _log(job)
            )
            if ended:
                await connection.execute(
                    "insert into control.job_end"
                    " (job_id, environment_id, route, state, number, finished_at, result_object)"
                    " values ($1, $2, $3, 1, 1, $4, $5)",
                    *(job, self.id, route, at, _result(job)),
                )
        for key in (_log(job), _result(job)):
            await self.ports.objects._store.put(self.id, key, b"x")
        return job

    async def audited(self, age_days: float) -> UUID:
        """An entry of the audit, as old as that."""
        async with self.ports.database.unit() as connection:
            at = await connection.fetchval("select now()") - timedelta(days=age_days)
            entry = UUID(int=first_id_at(at).int | secrets.randbits(40))
            await connection.execute(
                "insert into control.audit (id, environment_id, organization_id, actor, action, target, outcome, at)"
                " select $2, id, organization_id, 'x', 'thing.change', 'thing:1', 'done', $3"
                " from control.environment where id = $1",
                *(self.id, entry, at),
            )
        return entry

    async def swept_elsewhere(self) -> bool:
        """Whether the platform's own worker has a sweep of the environment to do."""
        async with self.ports.database.unit() as connection:
            return bool(await connection.fetchval(_OPEN_SWEEP, SWEEP, self.id))

    async def sealed(self, entry: UUID) -> bool:
        """Whether an entry of the audit is in a batch that is stored."""
        async with auditing(self.ports.database) as connection:
            return bool(await connection.fetchval(_SEALED, entry))

    async def there(self, key: str) -> bool:
        return await self.ports.objects.size(self.id, key) is not None

    async def artifact(self, age_days: float, **more: Any) -> UUID:
        identifier, blob = new_id(), new_id()
        await self.ports.objects._store.put(self.id, object_key(blob), b"x")
        await self.execute(
            "insert into control.artifact_blob (environment_id, id, sha256, size_bytes, refs)"
            " values ($1, $2, $3, 1, 1)",
            *(blob, secrets.token_bytes(32)),
        )
        await self.execute(
            "insert into control.artifact (environment_id, id, type, name, state, object, verified, sha256, size_bytes,"
            " created_by, created_at, expires_at, job_id) select $1, $2, 'file', 'a', 'ingested', id, true, sha256, 1,"
            " 'x', now() - $4::interval, now() + interval '9 days', $5 from control.artifact_blob where id = $3",
            *(identifier, blob, timedelta(days=age_days), more.get("job_id")),
        )
        return identifier


def _log(job: UUID) -> str:
    return f"jobs/{job}/log.1.0"


def _result(job: UUID) -> str:
    return f"jobs/{job}/result-1"


@pytest.fixture
async def ground(environment: Any, client: httpx.AsyncClient, sweeps: SweepPorts) -> Ground:
    """Bodies are kept 2 days, jobs 10, logs 5, firings 4, deliveries 3, artifacts 6."""
    days = {
        "payload_days": 2, "job_days": 10, "log_days": 5, "firing_days": 4, "delivery_days": 3, "artifact_days": 6,
    }  # fmt: skip
    answer = await client.patch(environment.path, json={"retention": days})
    assert answer.status_code == 200, answer.text
    made = Ground(sweeps, UUID(environment.id))
    async with asyncio.timeout(15):  # the worker's own sweep, which the change queued, is over before anything is there
        while (await client.get(f"{environment.path}/retention")).json()["swept_at"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await made.execute(
        "update control.retention_sweep set erased_until = now() - interval '90 days' where environment_id = $1"
    )
    return made


async def test_jobs_their_bodies_and_logs_go_by_the_environments_own_days(ground: Ground) -> None:
    """By the time of their end, with objects; a job that has not ended keeps everything; a second run finds nothing."""
    old, logless, bodiless, fresh = [await ground.job(age) for age in (11, 6, 3, 1)]
    waiting = await ground.job(40, ended=False)
    assert await ground.run() == {"job_days": 1, "log_days": 2, "payload_days": 3}
    async with ground.ports.database.unit() as connection:
        rows = await connection.fetch(
            "select id, payload from control.job where environment_id = $1 order by id", ground.id
        )
    kept = {row["id"]: row["payload"] for row in rows}
    assert kept == {waiting: b"sealed", logless: b"", bodiless: b"", fresh: b"sealed"}
    for table, count in (("job_end", 3), ("job_label", 4), ("job_log", 3), ("attempt_log", 3), ("log_object", 3)):
        assert await ground.count(table) == count, table
    results = [await ground.there(_result(job)) for job in (old, logless, bodiless, fresh)]
    assert results == [False, False, False, True]
    logs = [await ground.there(_log(job)) for job in (old, logless, bodiless, fresh, waiting)]
    assert logs == [False, False, True, True, True]
    assert await ground.run() == {}


async def test_a_sweep_that_is_killed_anywhere_is_finished_by_the_next(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After objects went and before their rows did; nothing of it is lost or left."""
    old = await ground.job(11)
    artifact = await ground.artifact(7)
    delete, deletions = ArtifactObjects.delete, []

    async def dies(self: Any, environment_id: UUID, key: str) -> None:
        await delete(self, environment_id, key)
        deletions.append(key)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ArtifactObjects, "delete", dies)
        for _ in range(2):  # the same object again: its row is there still
            with pytest.raises(Killed):
                await ground.run()
    assert deletions == [_log(old), _log(old)]
    assert await ground.count("log_object") == 1
    with monkeypatch.context() as patch:
        patch.setattr(change, "forget_garbage", _killed)
        with pytest.raises(Killed):
            await ground.run()
    assert await ground.count("artifact") == 0
    assert await ground.count("artifact_garbage") in (0, 1)  # the platform's own worker takes all of these
    await ground.run()
    for table in ("job", "job_end", "job_log", "log_object", "artifact", "artifact_blob", "artifact_garbage"):
        assert await ground.count(table) == 0, table
    assert artifact


async def _killed(*_: Any) -> None:
    raise Killed


async def test_while_the_bucket_is_away_nothing_that_has_objects_goes(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep fails as `unavailable`, which is tried again; rows that name objects stay."""
    await ground.job(11)

    async def away(*_: Any) -> None:
        raise WaypostError("unavailable", "away", jobs.Category.UNAVAILABLE, retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(ArtifactObjects, "delete", away)
        with pytest.raises(WaypostError, match="unavailable"):
            await ground.run()
    assert (await ground.count("job"), await ground.count("log_object")) == (1, 1)


async def test_artifacts_go_when_nothing_refers_to_them(ground: Ground) -> None:
    """Old ones, ones that expired; not one that a running job put or has as its payload, nor one of a replay."""
    running, ended = await ground.job(0.1, ended=False), await ground.job(0.2)
    old, done = await ground.artifact(7), await ground.artifact(7, job_id=ended)
    pinned, put, fresh, expired = [
        await ground.artifact(age, job_id=job) for age, job in ((7, None), (7, running), (5, None), (1, None))
    ]
    payload = await ground.artifact(8)
    refer = "insert into control.artifact_reference (environment_id, artifact_id, kind, id, created_at)"
    for artifact, kind, owner in ((pinned, "replay", new_id()), (payload, "job", running), (old, "job", ended)):
        await ground.execute(f"{refer} values ($1, $2, $3, $4, now() - interval '1 hour')", artifact, kind, owner)
    await ground.execute(
        "update control.artifact set expires_at = now() where environment_id = $1 and id = $2", expired
    )
    removed = await ground.run()
    assert removed["artifact_days"] == 3
    async with ground.ports.database.unit() as connection:
        kept = {
            row["id"]
            for row in await connection.fetch("select id from control.artifact where environment_id = $1", ground.id)
        }
    assert kept == {pinned, put, fresh, payload}
    assert kept.isdisjoint({old, done, expired})
    assert await ground.count("artifact_garbage") == 0


async def test_an_artifact_that_is_referred_to_at_the_last_moment_stays(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for old ones and the deletion."""
    await ground.artifact(7)
    delete = artifacts._delete

    async def overtaken(connection: Any, environment_id: UUID, artifact_id: UUID) -> bool:
        async with ground.ports.database.unit() as other:
            assert await change.refer(other, environment_id, artifact_id, "replay", new_id())
        return await delete(connection, environment_id, artifact_id)

    monkeypatch.setattr(artifacts, "_delete", overtaken)
    await ground.run()
    assert (await ground.count("artifact"), await ground.count("artifact_blob")) == (1, 1)


async def test_days_that_change_during_a_sweep_are_kept_to(
    ground: Ground, client: httpx.AsyncClient, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change queues a sweep; one that runs already goes round once more."""
    await ground.job(4)
    look = sweeping.instant_now
    changes = []

    async def changed(connection: Any) -> Any:
        now = await look(connection)
        if not changes:
            changes.append(True)
            sql = "update control.environment set retention = retention || '{\"job_days\": 3}' where id = $1"
            await ground.execute(sql)
        return now

    monkeypatch.setattr(sweeping, "instant_now", changed)
    await ground.run()
    assert await ground.count("job") == 0


async def test_firings_deliveries_and_replays_go_by_their_days(ground: Ground) -> None:
    """A delivery with its attempts; one that is pending stays, however old."""
    trigger, subscription = new_id(), new_id()
    for age in (5, 3):
        await ground.execute(
            "insert into control.firing (environment_id, trigger_id, id, at, outcome)"
            " values ($1, $2, $3, now() - $4::interval, 'filtered')",
            *(trigger, new_id(), timedelta(days=age)),
        )
    await ground.execute(
        "insert into control.subscription (id, environment_id, url, events, created_by, deleted_at)"
        " values ($2, $1, 'https://example.com/', '{*}', 'x', now())",
        subscription,
    )
    for age, state in ((4, "failed"), (2, "delivered"), (9, "pending")):
        async with ground.ports.database.unit() as connection:
            at = await connection.fetchval("select now()") - timedelta(days=age)
        delivery = UUID(int=first_id_at(at).int | secrets.randbits(40))
        await ground.execute(
            "insert into control.delivery"
            " (environment_id, subscription_id, id, event_id, event, body, state, finished_at)"
            " values ($1, $2, $3, $3, 'job.failed', 'x', $4, $5)",
            *(subscription, delivery, state, None if state == "pending" else at),
        )
        await ground.execute(
            "insert into control.delivery_attempt (environment_id, subscription_id, delivery_id, number, started_at,"
            " duration_ms) values ($1, $2, $3, 1, now(), 1)",
            *(subscription, delivery),
        )
    assert await ground.run() == {"firing_days": 1, "delivery_days": 1}
    counts = [await ground.count(table) for table in ("firing", "delivery", "delivery_attempt")]
    assert counts == [1, 2, 2]


async def test_audit_entries_go_by_the_environments_days(
    ground: Ground, client: httpx.AsyncClient, environment: Any, s3: tuple[str, str, str]
) -> None:
    """Sealed ones, with an entry that tells of it; the whole audit of the platform still verifies."""
    path = environment.path
    assert (await client.patch(path, json={"retention": {"audit_days": 120}})).status_code == 200
    async with asyncio.timeout(60):
        while await ground.swept_elsewhere():  # noqa: ASYNC110 - the platform's own worker has been told of the new days
            await asyncio.sleep(0.05)
    old = [await ground.audited(150) for _ in range(3)]
    young = await ground.audited(100)
    sealer = Sealer(ground.ports.database, SealStore(*s3), seconds=60, keep_days=365)
    async with asyncio.timeout(60):
        while not await ground.sealed(young):  # not as long as an older transaction of anybody's is open
            await sealer.tick()
    going = (await client.post(f"{path}/retention/preview")).json()["going"]["audit_days"]
    assert (going["count"], going["more"]) == (3, False)
    assert await ground.run() == {"audit_days": 3}
    assert await ground.run() == {}
    seen = (await client.get("/v1/orgs/default/audit", params={"environment": environment.slug})).json()["items"]
    by_id = {entry["id"]: entry for entry in seen}
    assert str(young) in by_id
    assert by_id.keys().isdisjoint({str(one) for one in old})
    (told,) = [entry for entry in seen if entry["action"] == "audit.sweep"]
    assert (told["details"]["entries"], told["details"]["audit_days"]) == ("3", "120")
    async with ground.ports.database.unit() as connection:
        assert (await connection.fetchrow("select count(*) from control.audit where id = any ($1)", old))[0] == 0


async def test_a_preview_says_what_goes_and_takes_nothing(
    ground: Ground, client: httpx.AsyncClient, environment: Any
) -> None:
    """As the sweep then does it; with other days, what these would take; and the sweep is told afterwards."""
    for age in (11, 6, 3, 1):
        await ground.job(age)
    await ground.artifact(7)
    going = (await client.post(f"{environment.path}/retention/preview")).json()["going"]
    counts = {kind: one["count"] for kind, one in going.items() if one["count"]}
    assert counts == {"payload_days": 3, "job_days": 1, "log_days": 2, "artifact_days": 1}
    other = {"retention": {"payload_days": 7, "log_days": None, "artifact_days": 1}}
    asked = (await client.post(f"{environment.path}/retention/preview", json=other)).json()
    assert asked["going"]["payload_days"]["count"] == 1
    assert asked["going"]["log_days"]["count"] == 0
    assert (asked["retention"]["log_days"], asked["retention"]["payload_days"]) == (30, 7)
    assert await ground.count("job") == 4
    await ground.run()
    seen = (await client.get(f"{environment.path}/retention")).json()
    assert seen["removed"] == {"job_days": 1, "log_days": 2, "payload_days": 3, "artifact_days": 1}
    assert seen["swept_at"] is not None
    assert (seen["retention"]["log_days"], seen["sources"]["log_days"], seen["most"]["log_days"]) == (
        5,
        "environment",
        30,
    )
    after = (await client.post(f"{environment.path}/retention/preview")).json()["going"]
    assert not any(one["count"] for one in after.values())


async def test_logs_of_jobs_that_are_gone_and_old_replays_go(ground: Ground) -> None:
    """A week of the ledger was dropped; a bulk replay is as old as a job may be, one that runs stays."""
    gone = await ground.job(40, ended=False)
    kept = await ground.job(1)
    for table, column in (("job", "id"), ("job_end", "job_id")):
        await ground.execute(f"delete from control.{table} where environment_id = $1 and {column} = $2", gone)  # noqa: S608
    async with ground.ports.database.unit() as connection:
        long_ago = first_id_at(await connection.fetchval("select now()") - timedelta(days=11))
    for place, state in ((1, "completed"), (2, "running")):
        await ground.execute(
            "insert into control.bulk_replay (environment_id, id, state, job_ids, matched, selection, created_by,"
            " finished_at) values ($1, $2, $3, '', 0, '{}', 'x', $4::interval + now())",
            *(UUID(int=long_ago.int + place), state, -timedelta(days=11) if state == "completed" else None),
        )
    assert await ground.run() == {"log_days": 1, "replays": 1}
    assert (await ground.count("bulk_replay"), await ground.count("log_object")) == (1, 1)
    assert [await ground.there(_log(job)) for job in (gone, kept)] == [False, True]
