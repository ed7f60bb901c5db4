"""Suspend, resume and delete over HTTP, with real nodes: what is taken, what runs, what is told, what is left."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from waypost_contracts.waypost_frame_pb2 import Failure

from infra.local.folder import DataFolder
from storage.objects.store import S3Credentials, open_store
from storage.postgres.database import Database, role_name
from storage.secrets import DATABASE_PASSWORD, S3_CREDENTIALS, EnvironmentKeys
from tests.relay.fake_node import FakeNode
from waypost.ids import parse_id
from waypost.secret import open_ring

SECONDS = 60
BASE = "/v1/orgs/default/projects/default/environments"


async def until(check: Callable[[], Awaitable[Any]], seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await check()):
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.03)
    return found


async def gone(client: httpx.AsyncClient, path: str) -> None:
    await until(lambda: _answers(client, path, 404))


async def _answers(client: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await client.get(path)).status_code == status


async def steps_done(client: httpx.AsyncClient, path: str, phase: str) -> dict[str, Any]:
    """The environment once every step of the phase is done."""

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(path)).json()
        done = all((step["phase"], step["state"]) == (phase, "done") for step in found["steps"])
        return found if done else None

    return await until(look)  # type: ignore[no-any-return]


async def submit(client: httpx.AsyncClient, path: str, **spec: Any) -> str:
    answer = await client.post(f"{path}/jobs", json={"function": "f", **spec})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def lengthen_grace(platform: Any, environment: Any) -> None:
    """What runs in an environment that is being deleted has a minute, not the two seconds of the tests' platform."""
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    done = await connection.execute(
        "update control.environment_removal set requested_at = now() + interval '1 minute' where environment_id = $1",
        parse_id(environment.id),
    )
    await connection.close()
    assert done == "UPDATE 1"


async def state(client: httpx.AsyncClient, path: str, job: str) -> str:
    return str((await client.get(f"{path}/jobs/{job}")).json()["state"])


@pytest.fixture
async def connect(
    client: httpx.AsyncClient, platform: Any, environment: Any, make_node_credential: Any
) -> AsyncIterator[Callable[..., Awaitable[FakeNode]]]:
    """A node of the environment that runs `f`."""
    nodes: list[FakeNode] = []
    credential = await make_node_credential(environment.path)

    async def token() -> httpx.Response:
        return await client.post(
            "/api/oauth/token",
            auth=(credential.client_id, credential.client_secret),
            data={"grant_type": "client_credentials"},
        )

    async def make(answer: Any = None) -> FakeNode:
        node = FakeNode(platform.relay_address, (await token()).json()["access_token"], answer)
        nodes.append(node)
        return await node.join(["f"])

    make.token = token  # type: ignore[attr-defined]
    yield make
    for node in nodes:
        await node.close()


@asynccontextmanager
async def secrets_of(platform: Any) -> AsyncIterator[EnvironmentKeys]:
    database = await Database.open(platform.database_url("waypost_worker"), name="test")
    try:
        yield EnvironmentKeys(database, open_ring(DataFolder(platform.data_dir).kek_file, None))
    finally:
        await database.close()


# --- suspend, resume --------------------------------------------------------------------------------------------------


async def test_suspended_it_starts_nothing_and_resumed_it_goes_on(
    client: httpx.AsyncClient, environment: Any, connect: Any
) -> None:
    """What runs may finish, what waits says why and runs after the resume, on the same stream; submissions get 409."""
    path = environment.path
    node = await connect()
    running = await submit(client, path)
    assignment = await asyncio.wait_for(node.assigned.get(), SECONDS)
    waiting = await submit(client, path, delay_seconds=6)
    due = time.monotonic() + 6
    answer = await client.post(f"{path}/suspend")
    assert (answer.status_code, answer.json()["status"]) == (202, "suspended")
    refused = await client.post(f"{path}/jobs", json={"function": "f"})
    assert (refused.status_code, refused.json()["code"]) == (409, "environment_not_ready")
    assert refused.json()["environment_status"] == "suspended"
    await steps_done(client, path, "suspend")
    await node.finish(assignment, b"1")
    await until(lambda: _is(client, path, running, "completed"))
    await asyncio.sleep(max(0.0, due - time.monotonic()) + 0.7)  # due for a while: nobody may have started it
    await until(lambda: _is(client, path, waiting, "queued"))
    assert node.assigned.empty()
    shown = (await client.get(f"{path}/jobs/{waiting}")).json()
    assert (shown["state"], shown["waiting"]["reason"]) == ("queued", "environment_suspended")
    answer = await client.post(f"{path}/resume")
    assert (answer.status_code, answer.json()["status"]) == (202, "ready")
    assignment = await asyncio.wait_for(node.assigned.get(), SECONDS)
    await node.finish(assignment, b"2")
    await until(lambda: _is(client, path, waiting, "completed"))
    await steps_done(client, path, "resume")
    await submit(client, path)


async def _is(client: httpx.AsyncClient, path: str, job: str, wanted: str) -> bool:
    return await state(client, path, job) == wanted


async def test_the_environments_login_is_closed_and_opened_again(
    client: httpx.AsyncClient, platform: Any, environment: Any
) -> None:
    """Its session is ended, a new one is refused; after the resume it works as before."""
    async with secrets_of(platform) as keys:
        password = (await keys.get_secret(parse_id(environment.id), DATABASE_PASSWORD)).decode()  # type: ignore
    host = str(DataFolder(platform.data_dir).socket_dir)
    given = {"host": host, "user": role_name(parse_id(environment.id)), "password": password, "database": "waypost"}  # type: ignore
    own = await asyncpg.connect(**given)
    await client.post(f"{environment.path}/suspend")
    await steps_done(client, environment.path, "suspend")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await own.fetchval("select 1")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(**given)
    await client.post(f"{environment.path}/resume")
    await steps_done(client, environment.path, "resume")
    again = await asyncpg.connect(**given)
    assert await again.fetchval("select count(*) from tenant") == 1
    await again.close()


async def test_a_node_may_join_a_suspended_environment_and_gets_no_work(
    client: httpx.AsyncClient, environment: Any, connect: Any
) -> None:
    """It waits, connected, for the resume."""
    job = await submit(client, environment.path)
    await client.post(f"{environment.path}/suspend")
    node = await connect()
    await steps_done(client, environment.path, "suspend")
    await asyncio.sleep(0.3)
    assert node.assigned.empty()
    await client.post(f"{environment.path}/resume")
    assignment = await asyncio.wait_for(node.assigned.get(), SECONDS)
    await node.finish(assignment, b"1")
    await until(lambda: _is(client, environment.path, job, "completed"))


async def test_a_wrong_state_is_refused_with_the_state(client: httpx.AsyncClient, environment: Any) -> None:
    """Resumed when ready, suspended when suspended: 409 that names it; nothing has changed."""
    refused = await client.post(f"{environment.path}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert refused.json()["environment_status"] == "ready"
    await client.post(f"{environment.path}/suspend")
    refused = await client.post(f"{environment.path}/suspend")
    assert (refused.status_code, refused.json()["environment_status"]) == (409, "suspended")


async def test_if_match_and_idempotency_key_hold(client: httpx.AsyncClient, environment: Any) -> None:
    """An old tag is 412; the same key again gets the first answer, whatever the state is by now."""
    tag = (await client.get(environment.path)).headers["etag"]
    for method, ending in (("POST", "/suspend"), ("DELETE", "")):
        answer = await client.request(method, environment.path + ending, headers={"If-Match": '"0"'})
        assert answer.status_code == 412, answer.text
    headers = {"If-Match": tag, "Idempotency-Key": "once"}
    first = await client.post(f"{environment.path}/suspend", headers=headers)
    again = await client.post(f"{environment.path}/suspend", headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert first.headers["etag"] != tag


async def test_quickly_back_and_forth_ends_where_the_last_word_was(
    client: httpx.AsyncClient, platform: Any, environment: Any
) -> None:
    """Each change stands for itself; those that were overtaken do nothing."""
    for _ in range(4):
        for change in ("suspend", "resume"):
            answer = await client.post(f"{environment.path}/{change}")
            assert answer.status_code == 202, answer.text
    found = await steps_done(client, environment.path, "resume")
    assert found["status"] == "ready"
    login = "select rolcanlogin from pg_roles where rolname = $1"
    connection = await asyncpg.connect(platform.database_url("waypost_worker"))
    assert await connection.fetchval(login, role_name(parse_id(environment.id)))  # type: ignore
    await connection.close()


# --- delete -----------------------------------------------------------------------------------------------------------


async def test_deleted_it_is_gone_and_its_slug_is_free(client: httpx.AsyncClient, environment: Any) -> None:
    """202 with its steps; then 404, by id too; the same slug makes another environment at once."""
    answer = await client.delete(environment.path)
    assert (answer.status_code, answer.json()["status"]) == (202, "deleting")
    assert {step["phase"] for step in answer.json()["steps"]} == {"delete"}
    await gone(client, environment.path)
    assert (await client.get(f"{BASE}/{environment.id}")).status_code == 404
    assert (await client.delete(environment.path)).status_code == 404
    listed = (await client.get(BASE, params={"limit": 200})).json()["items"]
    assert environment.id not in [item["id"] for item in listed]
    again = await client.post(BASE, json={"name": "Again", "slug": environment.slug})
    assert again.status_code == 202, again.text
    assert again.json()["id"] != environment.id
    assert (await client.delete(environment.path)).status_code == 202  # while it is being provisioned
    await gone(client, environment.path)


async def test_two_deletes_at_once_are_one(client: httpx.AsyncClient, environment: Any, platform: Any) -> None:
    """Both are answered 202; there is one job and the audit has one request and one end."""
    answers = await asyncio.gather(*(client.delete(environment.path) for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {202, 404}
    assert answers[0].status_code == 202 or 202 in {answer.status_code for answer in answers}
    await gone(client, environment.path)
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    stages = await connection.fetch(
        "select details ->> 'stage' as stage from control.audit"
        " where environment_id = $1 and action = 'environment.delete' order by at",
        parse_id(environment.id),
    )
    await connection.close()
    assert [row["stage"] for row in stages] == ["requested", "completed"]


async def test_every_kind_of_job_has_an_end_first(
    client: httpx.AsyncClient, environment: Any, connect: Any, platform: Any
) -> None:
    """Waiting, scheduled, held: canceled and told so; a running one may finish within its grace."""
    path = environment.path
    node = await connect()
    running = await submit(client, path, concurrency={"key": "k", "limit": 1})
    assignment = await asyncio.wait_for(node.assigned.get(), SECONDS)
    waiting = {
        await submit(client, path, concurrency={"key": "k", "limit": 1}),  # held
        await submit(client, path, delay_seconds=3_600),  # scheduled
        await submit(client, path, tags=["nowhere"]),  # queued
    }
    told: dict[str, str] = {}
    listening, over = asyncio.Event(), asyncio.Event()

    async def listen() -> None:
        async with client.stream("GET", f"{path}/events", timeout=SECONDS) as stream:
            listening.set()
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    told[event["job_id"]] = event["state"]
        over.set()

    listener = asyncio.create_task(listen())
    await asyncio.wait_for(listening.wait(), SECONDS)
    assert (await client.delete(path)).status_code == 202
    await lengthen_grace(platform, environment)
    await until(lambda: _among(told, waiting, "canceled"))
    await asyncio.wait_for(node.drained.wait(), SECONDS)
    refused = await client.post(f"{path}/jobs", json={"function": "f"})
    assert (refused.status_code, refused.json()["environment_status"]) == (409, "deleting")
    refused = await client.post(f"{path}/node-credentials", json={"name": "late"})
    assert (refused.status_code, refused.json()["code"]) == (409, "environment_not_ready")
    await node.finish(assignment, b"1")
    await until(lambda: _among(told, {running}, "completed"))
    await gone(client, path)
    assert (await asyncio.wait_for(node.status(), 30))[0] in ("UNAVAILABLE", "UNAUTHENTICATED")
    await asyncio.wait_for(over.wait(), SECONDS)  # the event stream ends, too
    await listener


async def _among(told: dict[str, str], jobs: set[str], wanted: str) -> bool:
    return all(told.get(job) == wanted for job in jobs)


async def test_a_job_that_does_not_finish_is_fenced(
    client: httpx.AsyncClient, environment: Any, connect: Any, platform: Any
) -> None:
    """After its grace it is canceled without its node, whose stream ends; the audit counts it."""
    node = await connect()
    await submit(client, environment.path)
    await asyncio.wait_for(node.assigned.get(), SECONDS)
    assert (await client.delete(environment.path)).status_code == 202
    await gone(client, environment.path)
    assert (await asyncio.wait_for(node.status(), 30))[0] == "UNAUTHENTICATED"
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    details = await connection.fetchval(
        "select details from control.audit where environment_id = $1 and details ->> 'stage' = 'completed'",
        parse_id(environment.id),
    )
    await connection.close()
    found = json.loads(details)
    assert (found["fenced"], found["jobs"], found["nodes"], found["node_credentials"]) == ("1", "1", "1", "1")


async def test_a_job_that_fails_in_its_grace_is_not_tried_again(
    client: httpx.AsyncClient, environment: Any, connect: Any, platform: Any
) -> None:
    """Its retry is canceled like anything that waits."""
    node = await connect()
    await submit(client, environment.path, retry={"max_attempts": 5, "initial_seconds": 0})
    assignment = await asyncio.wait_for(node.assigned.get(), SECONDS)
    assert (await client.delete(environment.path)).status_code == 202
    await lengthen_grace(platform, environment)
    await asyncio.wait_for(node.drained.wait(), SECONDS)
    await node.finish(assignment, Failure(code="flaky", message="again", retryable=True))
    await gone(client, environment.path)
    assert node.assigned.empty()


async def test_idle_streams_end_whatever_else_the_deletion_waits_for(
    client: httpx.AsyncClient, environment: Any, connect: Any, platform: Any
) -> None:
    """At both relays, at once, while a job still runs; and no token is given any more."""
    busy = await connect()
    await submit(client, environment.path)
    assignment = await asyncio.wait_for(busy.assigned.get(), SECONDS)
    nodes = [await connect() for _ in range(4)]
    assert (await client.delete(environment.path)).status_code == 202
    await lengthen_grace(platform, environment)
    async with asyncio.timeout(30):
        ends = await asyncio.gather(*(node.status() for node in nodes))
    assert {code for code, _ in ends} == {"UNAUTHENTICATED"}
    assert (await client.get(environment.path)).json()["status"] == "deleting"
    assert not busy.call.done()
    assert (await connect.token()).status_code == 401
    await busy.finish(assignment, b"1")
    await gone(client, environment.path)


async def test_old_credentials_are_refused_afterwards(
    client: httpx.AsyncClient, platform: Any, environment: Any, connect: Any
) -> None:
    """The database login, the S3 key, a node's token, its secret, an environment key: none opens anything."""
    import obstore
    from obstore.exceptions import BaseError

    environment_id = parse_id(environment.id)
    assert environment_id is not None
    key = (await client.post(f"{environment.path}/keys", json={"name": "k", "role": "operator"})).json()["key"]
    token = (await connect.token()).json()["access_token"]
    async with secrets_of(platform) as keys:
        password = (await keys.get_secret(environment_id, DATABASE_PASSWORD) or b"").decode()
        s3 = json.loads(await keys.get_secret(environment_id, S3_CREDENTIALS) or b"")
    store = open_store(f"http://{platform.process('objects')['address']}", environment_id, S3Credentials(**s3))
    await obstore.put_async(store, "mine", b"x", use_multipart=False)
    own = {"Authorization": f"Bearer {key}"}
    assert (await client.get(environment.path, headers=own)).status_code == 200

    assert (await client.delete(environment.path)).status_code == 202
    await gone(client, environment.path)

    assert (await client.get(environment.path, headers=own)).status_code == 401
    assert (await connect.token()).status_code == 401
    node = FakeNode(platform.relay_address, token)
    with pytest.raises(EOFError):
        await node.join(["f"])
    assert (await node.status())[0] == "UNAUTHENTICATED"
    await node.close()
    with pytest.raises((BaseError, PermissionError)):
        await obstore.get_async(store, "mine")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(
            host=str(DataFolder(platform.data_dir).socket_dir),
            user=role_name(environment_id),
            password=password,
            database="waypost",
        )


async def test_suspended_it_can_be_deleted(client: httpx.AsyncClient, environment: Any) -> None:
    """With a job that waits for the resume that never comes."""
    await submit(client, environment.path)
    await client.post(f"{environment.path}/suspend")
    assert (await client.delete(environment.path)).status_code == 202
    await gone(client, environment.path)
