"""A node against the whole platform: the gateway's tokens, bodies that lie in the bucket, orders over HTTP."""

import asyncio
import statistics
import time
from typing import Any
from uuid import UUID

import httpx
import pytest
from waypost_contracts.waypost_frame_pb2 import Failure

from tests.relay.fake_node import FakeNode

JOBS_SECONDS = 30


@pytest.fixture
async def place(make_environment: Any) -> Any:
    """A provisioned environment; `environment` is a bare one in this folder."""
    return await make_environment()


@pytest.fixture
async def credential(place: Any, make_node_credential: Any) -> Any:
    return await make_node_credential(place.path)


async def node_token(client: httpx.AsyncClient, credential: Any) -> str:
    answer = await client.post(
        "/api/oauth/token",
        auth=(credential.client_id, credential.client_secret),
        data={"grant_type": "client_credentials", "scope": "read write"},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def ended(client: httpx.AsyncClient, path: str, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + JOBS_SECONDS
    while True:
        found: dict[str, Any] = (await client.get(f"{path}/jobs/{job}")).json()
        if found["finished_at"]:
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_bodies_that_lie_in_the_bucket_go_to_the_node_and_come_back(
    client: httpx.AsyncClient, platform: Any, place: Any, credential: Any
) -> None:
    """Payload and result of several hundred kilobytes, exactly as written."""
    token = await node_token(client, credential)
    node = await FakeNode(platform.relay_address, token, lambda a: a.payload).join(["f"])
    text = '{"text": "' + "é" * 200_000 + '", "n": 12.50}'
    body = ('{"function": "f", "payload": ' + text + "}").encode()
    answer = await client.post(f"{place.path}/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    job = await ended(client, place.path, answer.json()["id"])
    assert job["state"] == "completed"
    raw = (await client.get(f"{place.path}/jobs/{job['id']}")).text
    assert raw.count("é" * 200_000) == 2
    assert raw.count('"n": 12.50') == 2
    await node.close()


async def test_a_deleted_credential_cuts_the_stream_at_once(
    client: httpx.AsyncClient, platform: Any, place: Any, credential: Any
) -> None:
    """Over HTTP: the gateway's message reaches the relay."""
    node = await FakeNode(platform.relay_address, await node_token(client, credential)).join(["f"])
    answer = await client.delete(f"{place.path}/node-credentials/{credential.id}")
    assert answer.status_code < 300, answer.text
    assert (await asyncio.wait_for(node.status(), 20))[0] == "UNAUTHENTICATED"
    await node.close()


async def test_a_node_is_listed_drained_and_gone(
    client: httpx.AsyncClient, platform: Any, place: Any, credential: Any
) -> None:
    """What the gateway lists is what joined; a drain reaches the node through its relay."""
    node = await FakeNode(platform.relay_address, await node_token(client, credential)).join(
        ["f"], ["gpu"], name="n-1", sdk="test", version="1.2"
    )
    deadline = time.monotonic() + 10
    while not (items := (await client.get(f"{place.path}/nodes")).json()["items"]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert (items[0]["id"], items[0]["name"], items[0]["sdk"]) == (node.member_id, "n-1", "test")
    answer = await client.post(f"{place.path}/nodes/{node.member_id}/drain")
    assert answer.status_code < 300, answer.text
    await asyncio.wait_for(node.drained.wait(), 10)
    await node.close()


async def test_a_retry_with_a_delay_comes_back_promptly(
    client: httpx.AsyncClient, platform: Any, place: Any, credential: Any
) -> None:
    """Promoted with its old key, it is found by the message, not only by the slow poll: that alone, every five seconds,
    would find three of five that come due a second apart more than two seconds late.
    """
    tries: dict[bytes, list[float]] = {}

    def answer(assignment: Any) -> Any:
        tries.setdefault(assignment.job_id, []).append(time.monotonic())
        return b"1" if assignment.number == 2 else Failure(code="flaky", message="again", retryable=True)

    token = await node_token(client, credential)
    node = await FakeNode(platform.relay_address, token, answer).join(["f", "g"])
    delays: dict[str, int] = {}
    for delay in (3, 4, 5, 6, 7):
        retry = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": delay, "jitter": 0}
        answered = await client.post(f"{place.path}/jobs", json={"function": "f", "retry": retry})
        delays[answered.json()["id"]] = delay
    assert {(await ended(client, place.path, job))["attempt"] for job in delays} == {2}
    late = [tries[UUID(job).bytes][1] - tries[UUID(job).bytes][0] - delay for job, delay in delays.items()]
    assert min(late) > -0.1
    assert statistics.median(late) < 1.5
    await node.close()
