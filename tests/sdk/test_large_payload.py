"""Payloads and results over the limit, and artifacts of handlers, through the whole platform (decision 18)."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from waypost_sdk import AsyncClient, Node
from waypost_sdk.artifact import MAX_INLINE_BYTES, reference


@pytest.fixture(scope="module")
async def ground(make_environment: Any) -> Any:
    """One environment for all of these."""
    return await make_environment()


@pytest.fixture
async def sdk(platform: Any, ground: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.api_url, platform.admin_key, ground.place) as client:
        yield client


@pytest.fixture
async def make_node(platform: Any, ground: Any, make_node_credential: Any) -> Callable[[], Node]:
    credential = await make_node_credential(ground.path)

    def make() -> Node:
        return Node(
            relay=platform.relay_address, url=platform.api_url, client_id=credential.client_id,
            client_secret=credential.client_secret,
        )  # fmt: skip

    return make


@asynccontextmanager
async def served(node: Node) -> AsyncIterator[None]:
    task = asyncio.create_task(node.serve())
    try:
        await asyncio.sleep(0)  # serve() begins
        async with asyncio.timeout(20):
            await node.wait_connected()
        yield
    finally:
        node.stop("the test is over")
        await asyncio.wait([task], timeout=20)
        task.cancel()


def text_over_the_limit() -> str:
    return secrets.token_hex(MAX_INLINE_BYTES // 2 + 500)


async def test_a_payload_and_a_result_of_any_size_travel_by_themselves(sdk: AsyncClient, make_node: Any) -> None:
    """Neither the caller nor an async or plain handler sees a difference; what is small stays where it was."""
    node = make_node()

    @node.function("large.turned")
    async def turned(job: Any, payload: Any) -> Any:
        return {"text": payload["text"][::-1]}

    @node.function("large.plain")
    def plain(job: Any, payload: Any) -> Any:
        return {"text": payload["text"][::-1]}

    async with served(node):
        for function in ("large.turned", "large.plain"):
            text = text_over_the_limit()
            job = await sdk.jobs.submit(function, {"text": text})
            ended = await sdk.jobs.wait(job.id, timeout_seconds=30)
            assert (ended.state, ended.result) == ("completed", {"text": text[::-1]}), ended.error
            assert await sdk.jobs.result(job.id) == {"text": text[::-1]}
            kept = await sdk.jobs.get(job.id)
            names = {(await sdk.artifacts.get(one["$artifact"])).name for one in (kept.payload, kept.result)}
            assert names == {"payload.json", "result.json"}
            assert (await sdk.artifacts.get(kept.result["$artifact"])).job_id == job.id
        small = await sdk.jobs.submit("large.plain", {"text": "ab"}, wait_seconds=20)
        assert small.result == {"text": "ba"}
        texts = [text_over_the_limit(), "ab", text_over_the_limit()]
        many = await sdk.jobs.submit_many([{"function": "large.plain", "payload": {"text": text}} for text in texts])
        for one, text in zip(many, texts, strict=True):
            assert (await sdk.jobs.wait(one.id, timeout_seconds=30)).result == {"text": text[::-1]}


async def test_a_repeated_submission_of_a_large_payload_makes_one_job(sdk: AsyncClient) -> None:
    """The content is known the second time, so that the same key means the same job."""
    payload = {"text": text_over_the_limit()}
    first = await sdk.jobs.submit("nobody.serves", payload, idempotency_key="large-1")
    again = await sdk.jobs.submit("nobody.serves", payload, idempotency_key="large-1")
    assert again.id == first.id
    await sdk.jobs.cancel(first.id)


async def test_an_environments_own_limit_is_gone_around_in_the_same_way(
    sdk: AsyncClient, client: Any, make_environment: Any, platform: Any
) -> None:
    """The platform says 413, the SDK uploads and names."""
    small = await make_environment()
    assert (await client.patch(small.path, json={"limits": {"payload_bytes": 100}})).status_code == 200
    async with AsyncClient(platform.api_url, platform.admin_key, small.place) as own:
        job = await own.jobs.submit("nobody.serves", {"text": "x" * 200})
        artifact = await own.artifacts.get((await own.jobs.get(job.id)).payload["$artifact"])
        assert (artifact.type, artifact.labels) == ("payload", {"function": "nobody.serves"})


async def test_handlers_put_and_get_artifacts(sdk: AsyncClient, make_node: Any, tmp_path: Path) -> None:
    """Bytes and files, awaited in async functions and plain in plain ones; noted with the job."""
    node = make_node()

    @node.function("evidence.awaited")
    async def awaited(job: Any, payload: Any) -> Any:
        data = await job.artifacts.get(payload["id"])
        made = await job.artifacts.put(data[::-1], name="turned.bin", type="diagnostic", labels={"a": "b"})
        return {"id": made.id, "size": (await job.artifacts.describe(payload["id"])).size_bytes}

    @node.function("evidence.plain")
    def plain(job: Any, payload: Any) -> Any:
        path = tmp_path / "own.bin"
        size = job.artifacts.download(payload["id"], path)
        path.write_bytes(path.read_bytes()[::-1])
        return {"id": job.artifacts.put(path).id, "size": size}

    async with served(node):
        for function in ("evidence.awaited", "evidence.plain"):
            data = secrets.token_bytes(100_000)
            made = await sdk.artifacts.upload(data)
            job = await sdk.jobs.submit(function, {"id": made.id})
            ended = await sdk.jobs.wait(job.id, timeout_seconds=30)
            assert (ended.state, ended.result["size"]) == ("completed", len(data)), ended.error
            found = await sdk.artifacts.get(ended.result["id"])
            assert (found.sha256, found.job_id) == (hashlib.sha256(data[::-1]).hexdigest(), job.id)
            assert (found.created_by or "").startswith("node:")
            assert [one.id async for one in sdk.artifacts.list(job_id=job.id)] == [found.id]


async def test_a_payload_that_cannot_be_had_fails_the_job_for_good(
    sdk: AsyncClient, make_node: Any, platform: Any, ground: Any
) -> None:
    """Its content is no JSON: with the word of the platform, not a mystery; others run on."""
    node = make_node()

    @node.function("large.echo")
    async def echo(job: Any, payload: Any) -> Any:
        return payload

    async with served(node):
        made = await sdk.artifacts.upload(secrets.token_bytes(50))
        broken = await sdk.jobs.submit("large.echo", reference(made.id))
        ended = await sdk.jobs.wait(broken.id, timeout_seconds=30)
        assert (ended.state, ended.error and ended.error.code) == ("failed", "invalid_payload")
        other = await sdk.jobs.submit("large.echo", {"a": 1}, wait_seconds=20)
        assert other.result == {"a": 1}
