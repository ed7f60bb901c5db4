# ruff: noqa: S603 -- every process here is our own command
"""SDK and command against the whole platform: submit, run, wait, follow, cancel, drain."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from waypost_sdk import AsyncClient, Client, ConflictError, Node, NonRetryable, NotFoundError, Retry

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]


@pytest.fixture
async def sdk(platform, environment) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.api_url, platform.admin_key, environment.place) as client:
        yield client


@pytest.fixture
def real_node(platform, node_credential) -> Callable[..., Node]:
    """A node of the environment."""

    def make(**more: Any) -> Node:
        return Node(
            relay=platform.relay_address,
            url=platform.api_url,
            client_id=node_credential.client_id,
            client_secret=node_credential.client_secret,
            **more,
        )

    return make


@asynccontextmanager
async def served(node: Node) -> AsyncIterator[asyncio.Task[None]]:
    """The node is connected; at the end it is drained."""
    task = asyncio.create_task(node.serve())
    try:
        await asyncio.sleep(0)  # serve() begins
        async with asyncio.timeout(20):
            await node.wait_connected()
        yield task
    finally:
        node.stop("the test is over")
        await asyncio.wait([task], timeout=20)
        task.cancel()


async def listed(read: Callable[[], AsyncIterator[Any]], count: int) -> list[Any]:
    """What a list says once it has so many: relays write joins and log lines down a moment later."""
    async with asyncio.timeout(10):
        while len(found := [item async for item in read()]) < count:  # noqa: ASYNC110 -- there is no signal
            await asyncio.sleep(0.05)
    return found


def command(platform: Any, environment: Any, *arguments: str) -> Any:
    variables = {
        **os.environ,
        "WAYPOST_CONFIG": "/nonexistent",
        "WAYPOST_URL": platform.api_url,
        "WAYPOST_KEY": platform.admin_key,
        "WAYPOST_ENVIRONMENT": environment.place,
    }
    return subprocess.run([*WAYPOST, *arguments], capture_output=True, timeout=60, env=variables, check=False)


async def test_a_job_runs_on_the_node_that_its_tags_ask_for(sdk, real_node):
    """Submit, run, wait; numbers exact all the way; progress, log and attempts are there to read."""
    small, large = real_node(tags=["mem_gb=8"], name="small"), real_node(tags=["gpu", "mem_gb=24"], name="large")
    for node in (small, large):

        @node.function("price.double")
        async def double(job: Any, payload: Any, name: str = node.name) -> Any:
            await job.progress(0.5, "half way")
            job.log("doubling", level="warning")
            return {"twice": payload["price"] * 2, "by": name, "key": job.idempotency_key}

    async with served(small), served(large):
        job = await sdk.jobs.submit("price.double", {"price": Decimal("12.50")}, tags=["gpu", "mem_gb>=16"])
        job = await sdk.jobs.wait(job.id, timeout_seconds=20)
        assert job.state == "completed"
        assert job.result == {"twice": Decimal("25.00"), "by": "large", "key": job.id}
        names = {node.name: node for node in await listed(sdk.nodes.list, 2)}  # nodes are listed soon after they join
        (attempt,) = await sdk.jobs.attempts(job.id)
        assert (attempt.outcome, attempt.number, attempt.node_name) == ("completed", 1, "large")
        lines = await listed(lambda: sdk.jobs.logs(job.id), 1)
        assert [(line.level, line.message, line.attempt) for line in lines] == [("warning", "doubling", 1)]
        assert set(names) == {"small", "large"}
        assert (names["large"].state, names["large"].sdk) == ("active", "waypost-python")
        assert (await sdk.functions.get("price.double")).nodes.connected == 2


async def test_many_jobs_of_one_bulk_all_end_once(sdk, real_node):
    """500 in one request, plain functions in threads, 500 different results."""
    node = real_node()

    @node.function("square", max_in_flight=8)
    def square(job: Any, payload: int) -> int:
        return payload * payload

    accepted = await sdk.jobs.submit_many({"function": "square", "payload": n} for n in range(500))
    async with served(node):
        jobs = await asyncio.gather(*(sdk.jobs.wait(item.id, timeout_seconds=60) for item in accepted))
    assert [job.result for job in jobs] == [n * n for n in range(500)]
    assert [item.id async for item in sdk.jobs.list(state="completed", limit=500)] == [j.id for j in reversed(accepted)]


async def test_failures_are_retried_or_final_as_the_handler_says(sdk, real_node):
    """An ordinary exception is retried and the next attempt completes; NonRetryable ends it at once."""
    node = real_node()

    @node.function("flaky")
    async def flaky(job: Any, payload: Any) -> int:
        if job.number == 1:
            raise ValueError("not yet")
        return job.number

    @node.function("refuse")
    async def refuse(job: Any, payload: Any) -> None:
        raise NonRetryable("no_such_order", "unknown", {"order": "A-17"})

    async with served(node):
        retried = await sdk.jobs.submit("flaky", retry=Retry(initial_seconds=0.1, jitter=0.0))
        refused = await sdk.jobs.submit("refuse")
        retried = await sdk.jobs.wait(retried.id, timeout_seconds=30)
        refused = await sdk.jobs.wait(refused.id, timeout_seconds=30)
    assert (retried.state, retried.result, len(retried.attempts)) == ("completed", 2, 2)
    assert (refused.state, refused.error.code, refused.error.details) == ("failed", "no_such_order", {"order": "A-17"})
    assert retried.attempts[0].error.details["type"] == "ValueError"


async def test_events_tell_the_states_in_order_until_the_end(sdk, real_node):
    """The iterator ends with the job; it has seen it run, and what its handler said meanwhile."""
    node = real_node()
    watched, release = asyncio.Event(), asyncio.Event()

    @node.function("slow")
    async def slow(job: Any, payload: Any) -> None:
        await watched.wait()
        job.progress(0.25, "a quarter")
        job.log("still here")
        await release.wait()

    async with served(node):
        job = await sdk.jobs.submit("slow")
        seen: dict[str, list[Any]] = {"job.state": [], "job.progress": [], "job.log": []}
        async with asyncio.timeout(30):
            async for event in sdk.jobs.events(job.id):
                seen[event.type].append(event.data)
                if event.data.get("state") == "running":
                    watched.set()
                if seen["job.progress"] and seen["job.log"]:
                    release.set()
        assert [state["state"] for state in seen["job.state"]][-2:] == ["running", "completed"]
        assert (seen["job.progress"][0]["fraction"], seen["job.progress"][0]["message"]) == (
            Decimal("0.25"),
            "a quarter",
        )
        assert seen["job.log"][0]["message"] == "still here"


async def test_cancel_reaches_a_running_handler(sdk, real_node):
    """The handler is interrupted and the job ends as canceled; a second cancel is a conflict."""
    node = real_node()
    started, interrupted = asyncio.Event(), asyncio.Event()

    @node.function("long")
    async def long(job: Any, payload: Any) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            interrupted.set()
            raise

    async with served(node):
        job = await sdk.jobs.submit("long")
        await asyncio.wait_for(started.wait(), 20)
        await sdk.jobs.cancel(job.id)
        assert (await sdk.jobs.wait(job.id, timeout_seconds=20)).state == "canceled"
        assert interrupted.is_set()
        with pytest.raises(ConflictError, match="job_already_ended"):
            await sdk.jobs.cancel(job.id)


async def test_an_idempotency_key_makes_one_job(sdk):
    """The same key gives the first job; without a node the job says why it waits."""
    first = await sdk.jobs.submit("nobody.serves", {"a": 1}, idempotency_key="order-17")
    again = await sdk.jobs.submit("nobody.serves", {"a": 1}, idempotency_key="order-17")
    assert first.id == again.id
    with pytest.raises(ConflictError, match="idempotency_conflict"):
        await sdk.jobs.submit("nobody.serves", {"a": 2}, idempotency_key="order-17")
    assert (await sdk.jobs.why(first.id)).reason == "no_node_connected"
    assert (await sdk.queue.get()).states.waiting >= 0
    await sdk.jobs.cancel(first.id)
    replayed = await sdk.jobs.replay(first.id, {"priority": 9})
    assert (replayed.replay_of, replayed.priority, replayed.payload) == (first.id, 9, {"a": 1})


async def test_a_node_that_leaves_finishes_what_it_has(sdk, real_node):
    """Drained by an operator: the running job completes on its first attempt, then `serve` returns."""
    node = real_node(name="leaving")
    started, release = asyncio.Event(), asyncio.Event()

    @node.function("slow")
    async def slow(job: Any, payload: Any) -> str:
        started.set()
        await release.wait()
        return "done"

    async with served(node) as task:
        job = await sdk.jobs.submit("slow")
        await asyncio.wait_for(started.wait(), 20)
        (found,) = await listed(sdk.nodes.list, 1)
        await sdk.nodes.drain(found.id)
        release.set()
        await asyncio.wait_for(task, 20)
    job = await sdk.jobs.wait(job.id, timeout_seconds=20)
    assert (job.state, len(job.attempts)) == ("completed", 1)


async def test_pausing_a_function_holds_its_jobs(sdk, real_node):
    """While paused nothing starts, and the note is told to whoever asks why."""
    node = real_node()

    @node.function("held")
    async def held(job: Any, payload: Any) -> int:
        return 1

    paused = await sdk.functions.pause("held", "licence server down")
    assert paused.paused.note == "licence server down"
    async with served(node):
        job = await sdk.jobs.submit("held")
        assert (await sdk.jobs.why(job.id)).reason == "function_paused"
        await sdk.functions.resume("held")
        assert (await sdk.jobs.wait(job.id, timeout_seconds=20)).state == "completed"


def test_keys_environments_and_credentials_over_the_sync_client(platform, environment):
    """The rest of the surface, on the other client."""
    with Client(platform.api_url, platform.admin_key, environment.place) as client:
        assert client.environments.get().status == "ready"
        assert environment.slug in [found.slug for found in client.environments.list()]
        assert client.organizations.get().slug == environment.place.split("/")[0]
        assert client.projects.get().slug == environment.place.split("/")[1]
        key = client.keys.create("ci", role="viewer")
        assert key.key.startswith("wpe_")
        assert key.id in [found.id for found in client.keys.list()]
        with Client(platform.api_url, key.key, environment.place) as viewer:
            assert viewer.queue.get().states.running == 0
        client.keys.delete(key.id)
        credential = client.node_credentials.create("edge", allowed_tags=["region=*"], functions=["image.*"])
        assert credential.client_secret
        assert credential.relay_address == platform.relay_address
        client.node_credentials.delete(credential.id)
        with pytest.raises(NotFoundError):
            client.jobs.get("01900000-0000-7000-8000-000000000000")


async def test_the_command_submits_waits_and_reads(platform, environment, real_node):
    """`waypost jobs submit --wait` prints the ended job; codes and JSON as documented."""
    node = real_node()

    @node.function("echo")
    async def echo(job: Any, payload: Any) -> Any:
        return payload

    async def waypost(*arguments: str) -> Any:
        return await asyncio.to_thread(command, platform, environment, *arguments)

    async with served(node):
        payload = '{"price": 12.50, "big": 1234567890123456789012345678901234567890}'
        done = await waypost("jobs", "submit", "echo", "--payload", payload, "--label", "order=A-17", "--wait")
        assert done.returncode == 0, done.stderr
        assert b'"price":12.50' in done.stdout
        assert b"1234567890123456789012345678901234567890" in done.stdout
        job = json.loads(done.stdout)
        listed = await waypost("jobs", "list", "--label", "order=A-17", "--state", "completed")
        assert [entry["id"] for entry in json.loads(listed.stdout)] == [job["id"]]
        assert (await waypost("jobs", "cancel", job["id"])).returncode == 8
        assert (await waypost("jobs", "get", "01900000-0000-7000-8000-000000000000")).returncode == 7
        assert (await waypost("jobs", "submit", "Not A Name")).returncode == 2
        assert json.loads((await waypost("queue")).stdout)["states"]["completed"] >= 0
        assert json.loads((await waypost("nodes", "list")).stdout)


async def test_the_command_says_why_pauses_replays_and_drains(platform, environment, real_node):
    """A job that waits, from its submission to its replay, with the words of every command in between."""

    async def waypost(*arguments: str, code: int = 0) -> Any:
        done = await asyncio.to_thread(command, platform, environment, *arguments)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    node = real_node()

    @node.function("echo")
    async def echo(job: Any, payload: Any) -> Any:
        job.log("said", payload=payload)
        return payload

    await waypost("functions", "pause", "echo", "--note", "inventory")
    async with served(node):
        job = (await waypost("jobs", "submit", "echo", "--payload", "7"))["id"]
        waiting = (await waypost("jobs", "why", job))["waiting"]
        assert (waiting["reason"], "inventory" in waiting["detail"]) == ("function_paused", True)
        assert (await waypost("jobs", "wait", job, "--timeout", "0.2", code=1)) is None
        await waypost("functions", "resume", "echo")
        assert (await waypost("jobs", "wait", job))["result"] == 7
        assert (await waypost("jobs", "logs", "-f", job))["message"] == "said payload=7"  # one object a line
        again = await waypost("jobs", "replay", job)
        assert (again["replay_of"], (await waypost("jobs", "wait", again["id"]))["state"]) == (job, "completed")
        [function] = await waypost("functions", "list")
        assert (function["name"], function["paused"]) == ("echo", None)
        [listed] = await waypost("nodes", "list")
        await waypost("nodes", "drain", listed["id"])
        async with asyncio.timeout(20):
            while await waypost("nodes", "list"):  # noqa: ASYNC110 -- there is no signal
                await asyncio.sleep(0.05)
    other = (await waypost("jobs", "submit", "echo"))["id"]
    assert (await waypost("jobs", "cancel", other))["state"] == "canceled"
