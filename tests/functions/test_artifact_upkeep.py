"""`artifact.ingest` run again, and what is mended after a process died between the object and its row."""

import asyncio
import hashlib
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from functions.artifact.ingest import ingest
from functions.environment.phase import EnvironmentPorts
from storage.objects.artifact import PART_BYTES, ArtifactObjects
from storage.objects.store import ObjectStore
from storage.postgres.artifact import change, garbage
from storage.postgres.artifact.row import read_artifact
from storage.postgres.platform.job import PlatformJob
from tests.gateway.artifact_ground import presigned, put, settled, tar_of, uploaded
from tests.gateway.conftest import environ_of
from tests.waypost.test_artifact_rules import bundle_files
from waypost import clock
from waypost.artifact.model import INGEST, Artifact, ArtifactState
from waypost.artifact.spec import spec_hash
from waypost.errors import WaypostError, unavailable
from waypost.ids import new_id

NOW = timedelta(0)


@pytest.fixture(scope="module")
async def ground(make_environment: Any) -> Any:
    """One environment for all of these."""
    return await make_environment()


@pytest.fixture(scope="module")
async def objects(ports: EnvironmentPorts, s3: tuple[str, str, str]) -> AsyncIterator[ArtifactObjects]:
    """A worker's."""
    made = ArtifactObjects(s3[0], ports.keys, ObjectStore(s3[0], ports.keys))
    yield made
    await made.close()


async def keys_of(objects: ArtifactObjects, environment_id: str, prefix: str = "artifacts/") -> set[str]:
    return {one.key async for page in objects.list(UUID(environment_id), prefix) for one in page}


async def received(
    ports: EnvironmentPorts, objects: ArtifactObjects, environment_id: UUID, data: bytes, **fields: Any
) -> Artifact:
    """An artifact that no worker was told of."""
    own = new_id()
    writer = await objects.writer(environment_id, f"artifacts/{own}")
    await writer.write(data)
    await writer.finish()
    new = Artifact(
        **{
            "environment_id": environment_id, "id": own, "type": "file", "name": "a", "state": ArtifactState.RECEIVED,
            "object": own, "verified": True, "sha256": hashlib.sha256(data).digest(), "size_bytes": len(data),
            "created_by": "test", "created_at": clock.now(), "updated_at": clock.now(),
        }
        | fields
    )  # fmt: skip
    async with ports.database.unit() as connection:
        if new.verified:
            return (await change.keep(connection, new, 3600))[0]
        begun = msgspec.structs.replace(new, state=ArtifactState.UPLOADING)
        await change.begin_upload(connection, begun, 3600)
        found = await change.mark_received(connection, environment_id, own, 3600)
        assert found is not None
        return found


def job_of(artifact: Artifact) -> PlatformJob:
    return PlatformJob(new_id(), INGEST, artifact.environment_id, artifact.id, "running", 1, 5, None)


async def now(ports: EnvironmentPorts, artifact: Artifact) -> Artifact:
    async with ports.database.unit() as connection:
        found = await read_artifact(connection, artifact.environment_id, artifact.id)
    assert found is not None
    return found


async def test_ingest_run_twice_changes_nothing(ports: EnvironmentPorts, objects: ArtifactObjects, ground: Any) -> None:
    """One after the other, and at the same moment; the content that nobody had verified is counted once."""
    environment_id = UUID(ground.id)
    bundle = tar_of(bundle_files(**{"spec.kv": b"a=1\n"}))
    first = await received(ports, objects, environment_id, bundle, type="incident_bundle")
    await ingest(job_of(first), ports.database, objects)
    once = await now(ports, first)
    assert (once.state, once.spec_hash) == (ArtifactState.INGESTED, spec_hash(b"a=1\n"))
    await ingest(job_of(first), ports.database, objects)
    assert await now(ports, first) == once
    unverified = await received(ports, objects, environment_id, secrets.token_bytes(300), verified=False)
    await asyncio.gather(*(ingest(job_of(unverified), ports.database, objects) for _ in range(3)))
    assert (await now(ports, unverified)).verified
    async with ports.database.unit() as connection:
        refs = await connection.fetchval("select refs from control.artifact_blob where id = $1", unverified.object)
    assert refs == 1
    gone = msgspec.structs.replace(job_of(unverified), subject=new_id())
    await ingest(gone, ports.database, objects)


async def test_content_that_was_known_after_all_is_kept_once(
    ports: EnvironmentPorts, objects: ArtifactObjects, ground: Any
) -> None:
    """A presigned upload of what somebody else uploaded meanwhile shares the object; its own goes."""
    environment_id, data = UUID(ground.id), secrets.token_bytes(300)
    late = await received(ports, objects, environment_id, data, verified=False)
    first = await received(ports, objects, environment_id, data)
    await ingest(job_of(late), ports.database, objects)
    found = await now(ports, late)
    assert (found.state, found.object) == (ArtifactState.INGESTED, first.object)
    await garbage.collect(ports.database, objects, environment_id)
    keys = await keys_of(objects, ground.id)
    assert first.object_key in keys
    assert late.object_key not in keys


async def test_content_that_takes_longer_to_read_than_a_request_may_is_read(
    ports: EnvironmentPorts, s3: tuple[str, str, str], ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five gibibytes from a slow disk, or for a slow client: no request lasts as long as the whole."""
    monkeypatch.setattr("storage.objects.store.REQUEST_SECONDS", 3.0)  # and a request is tried three times
    own, key = ArtifactObjects(s3[0], ports.keys, ObjectStore(s3[0], ports.keys)), f"artifacts/{new_id()}"
    data = secrets.token_bytes(3 * PART_BYTES + 17)
    writer = await own.writer(UUID(ground.id), key)
    await writer.write(data)
    await writer.finish()
    read = hashlib.sha256()
    async for piece in own.stream(UUID(ground.id), key):
        read.update(piece)
        await asyncio.sleep(12.0 * len(piece) / len(data))  # twelve seconds in all
    assert read.digest() == hashlib.sha256(data).digest()
    assert b"".join([bytes(one) async for one in own.stream(UUID(ground.id), key, 5, 5_000_000)]) == data[5:5_000_000]
    await own.delete(UUID(ground.id), key)
    await own.close()


async def test_ingest_waits_for_a_bucket_that_is_away(
    ports: EnvironmentPorts, objects: ArtifactObjects, ground: Any
) -> None:
    """It is no fault of the artifact: the attempt fails, the artifact stays received, and is looked at later."""

    class Away:
        async def stream(self, *_: Any) -> AsyncIterator[memoryview]:
            raise unavailable("The object store")
            yield memoryview(b"")

    artifact = await received(ports, objects, UUID(ground.id), secrets.token_bytes(300))
    with pytest.raises(WaypostError, match="unavailable"):
        await ingest(job_of(artifact), ports.database, Away())
    assert (await now(ports, artifact)).state is ArtifactState.RECEIVED
    assert await garbage.queue_forgotten(ports.database, seconds=3600) == 0
    assert await garbage.queue_forgotten(ports.database, seconds=0) >= 1


async def test_lost_content_is_told_and_can_come_again(
    ports: EnvironmentPorts, objects: ArtifactObjects, ground: Any, client: httpx.AsyncClient
) -> None:
    """A row without an object: rejected with the reason; the same content uploaded again is a new artifact."""
    environment_id, data = UUID(ground.id), secrets.token_bytes(300)
    made = await settled(client, ground.path, (await uploaded(client, ground.path, data))["id"])
    await objects.delete(environment_id, f"artifacts/{made['id']}")
    unread = await received(ports, objects, environment_id, secrets.token_bytes(300))
    await objects.delete(environment_id, unread.object_key)
    await ingest(job_of(unread), ports.database, objects)
    assert [reason.code for reason in (await now(ports, unread)).reasons] == ["content_lost"]
    mended = await garbage.mend(ports.database, objects, environment_id, NOW)
    assert mended.lost >= 1
    found = (await client.get(f"{ground.path}/artifacts/{made['id']}")).json()
    assert (found["state"], found["reasons"][0]["code"]) == ("rejected", "content_lost")
    assert (await client.get(f"{ground.path}/artifacts/{made['id']}/content")).status_code == 404
    again = await uploaded(client, ground.path, data)
    assert again["id"] != made["id"]
    assert (await client.delete(f"{ground.path}/artifacts/{made['id']}")).status_code == 204
    assert (await client.get(f"{ground.path}/artifacts/{again['id']}/content")).content == data
    assert await garbage.mend(ports.database, objects, environment_id, NOW) == garbage.Mended()


async def killed(platform: Any, where: str, method: str, path: str, **request: Any) -> None:
    """Make a request to a gateway that is killed at that place; return when it is dead."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "tests.functions.killed_gateway", where,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(environ_of(platform)) + b"\n")
        port = (await process.stdout.readline()).split()[1].decode()
        headers = {"Authorization": f"Bearer {platform.admin_key}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as session:
            with pytest.raises(httpx.TransportError):
                await session.request(method, path, **request)
        assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_an_object_whose_row_never_came_is_removed(
    platform: Any, ports: EnvironmentPorts, objects: ArtifactObjects, make_environment: Any, client: httpx.AsyncClient
) -> None:
    """Killed after the object, before the row, of an artifact and of a large payload: both go, once they are old;
    what rows name stays."""
    own = await make_environment()
    environment_id = UUID(own.id)
    kept = await uploaded(client, own.path, secrets.token_bytes(1_000))
    large = {"function": "nobody.serves", "payload": "x" * 200_000}
    job = (await client.post(f"{own.path}/jobs", json=large)).json()["id"]
    files = {"file": ("a", secrets.token_bytes(1_000))}
    await killed(platform, "before_row", "POST", f"{own.path}/artifacts", files=files)
    await killed(platform, "before_job", "POST", f"{own.path}/jobs", json=large)
    assert len(await keys_of(objects, own.id)) == 2
    assert len(await keys_of(objects, own.id, "jobs/")) == 2
    assert await garbage.mend(ports.database, objects, environment_id) == garbage.Mended()  # they are young
    assert await garbage.mend(ports.database, objects, environment_id, NOW) == garbage.Mended(orphans=2)
    assert await keys_of(objects, own.id) == {f"artifacts/{kept['id']}"}
    assert [key.split("/")[1] for key in await keys_of(objects, own.id, "jobs/")] == [job]
    assert await garbage.mend(ports.database, objects, environment_id, NOW) == garbage.Mended()


async def test_an_object_whose_row_is_gone_is_removed(
    platform: Any, ports: EnvironmentPorts, objects: ArtifactObjects, make_environment: Any, client: httpx.AsyncClient
) -> None:
    """Killed after the row was deleted, before the object: the row of the garbage says what is to be done."""
    own = await make_environment()
    made = await uploaded(client, own.path, secrets.token_bytes(1_000))
    await killed(platform, "before_object", "DELETE", f"{own.path}/artifacts/{made['id']}")
    assert (await client.get(f"{own.path}/artifacts/{made['id']}")).status_code == 404
    await garbage.collect(ports.database, objects, UUID(own.id))
    assert await keys_of(objects, own.id) == set()
    async with ports.database.unit() as connection:
        left = "select count(*) from control.artifact_garbage where environment_id = $1"
        assert await connection.fetchval(left, UUID(own.id)) == 0


async def test_an_upload_that_nobody_finished_is_given_up(
    ports: EnvironmentPorts, objects: ArtifactObjects, ground: Any, client: httpx.AsyncClient
) -> None:
    """A row whose object never comes: after a day it goes, with the parts that were put."""
    made = await presigned(client, ground.path, secrets.token_bytes(9 << 20))
    assert await garbage.give_up_uploads(ports.database) == 0
    async with ports.database.unit() as connection:
        await connection.execute(
            "update control.artifact set expires_at = now() - interval '1 second' where id = $1", UUID(made["id"])
        )
    assert await garbage.give_up_uploads(ports.database) in (0, 1)  # none when the platform's own worker was first
    await garbage.collect(ports.database, objects, UUID(ground.id))
    assert (await client.get(f"{ground.path}/artifacts/{made['id']}")).status_code == 404
    assert (await client.post(f"{ground.path}/artifacts/{made['id']}/parts", json={"numbers": [1]})).status_code == 404


async def test_each_bucket_is_looked_at_by_one_worker(ports: EnvironmentPorts, ground: Any) -> None:
    """Two that tick at the same moment take different ones, and each only once a day."""

    async def take() -> list[UUID]:
        async with ports.database.unit() as connection:
            return await garbage.take_due(connection, 1, 86_400)

    taken: list[UUID] = []
    while UUID(ground.id) not in taken:  # once more when the platform's own worker was first
        async with ports.database.unit() as connection:
            await connection.execute(
                "insert into control.artifact_audit (environment_id, next_at) values ($1, now() - interval '100 years')"
                " on conflict (environment_id) do update set next_at = excluded.next_at",
                UUID(ground.id),
            )
        taken = [one for some in await asyncio.gather(take(), take(), take()) for one in some]
    assert taken.count(UUID(ground.id)) == 1


async def test_nothing_of_artifacts_outlives_their_environment(
    ports: EnvironmentPorts, make_environment: Any, client: httpx.AsyncClient
) -> None:
    """Rows, objects, parts of an upload that is not complete, and what comes while the environment goes."""
    own = await make_environment()
    environment_id = UUID(own.id)
    made = await uploaded(client, own.path, secrets.token_bytes(1_000))
    begun = await presigned(client, own.path, secrets.token_bytes(9 << 20))
    parts = await client.post(f"{own.path}/artifacts/{begun['id']}/parts", json={"numbers": [1]})
    assert (await put(parts.json()["parts"][0]["url"], secrets.token_bytes(8 << 20))).status_code == 200
    async with ports.database.unit() as connection:
        artifact = await read_artifact(connection, environment_id, UUID(made["id"]))
    assert artifact is not None
    assert (await client.delete(own.path)).status_code == 202
    late = msgspec.structs.replace(artifact, id=new_id(), object=new_id(), sha256=bytes(32))
    with pytest.raises(WaypostError, match="environment_not_ready"):
        async with ports.database.unit() as connection:
            await change.keep(connection, late, 3600)
    until = asyncio.get_running_loop().time() + 30
    while left := await remains_of_artifacts(ports, environment_id):
        assert asyncio.get_running_loop().time() < until, left
        await asyncio.sleep(0.1)


async def remains_of_artifacts(ports: EnvironmentPorts, environment_id: UUID) -> list[str]:
    """What is left of an environment's artifacts: tables with rows, the bucket."""
    tables = ("artifact", "artifact_blob", "artifact_reference", "artifact_garbage", "artifact_audit")
    counted = " union all ".join(
        f"select '{table}' as name from control.{table} where environment_id = $1"  # noqa: S608 - names from above
        for table in tables
    )
    async with ports.database.unit() as connection:
        found = [row["name"] for row in await connection.fetch(counted, environment_id)]
    return found + (["bucket"] if environment_id in await ports.objects.environments_with_buckets() else [])
