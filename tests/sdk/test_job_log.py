"""Logs of attempts on the whole platform: by range, followed, captured, in the bucket, truncated."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from waypost_sdk import AsyncClient, Node

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]
WAIT_SECONDS = 20
SAID = asyncio.Event()  # the handler of `log.pause` may go on


@pytest.fixture(scope="module")
async def noisy(platform, make_environment) -> Any:
    """An environment whose logs may have 300 kB an attempt."""
    made = await make_environment()
    async with httpx.AsyncClient(
        base_url=platform.api_url, headers={"Authorization": f"Bearer {platform.admin_key}"}, timeout=30
    ) as client:
        answer = await client.patch(made.path, json={"limits": {"log_bytes": 300_000}})
        assert answer.status_code == 200, answer.text
    return made


@pytest.fixture(scope="module")
async def sdk(platform, noisy) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.api_url, platform.admin_key, noisy.place) as client:
        yield client


@pytest.fixture(scope="module")
async def owner(platform) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def node(platform, noisy, make_node_credential) -> AsyncIterator[Node]:
    credential = await make_node_credential(noisy.path)
    made = Node(
        relay=platform.relay_address,
        url=platform.api_url,
        client_id=credential.client_id,
        client_secret=credential.client_secret,
    )

    @made.function("log.many")
    async def many(job: Any, payload: Any) -> int:
        for number in range(payload["lines"]):
            job.log(f"{number}:" + "x" * payload.get("size", 0))
        return int(payload["lines"])

    @made.function("log.pause")
    async def pause(job: Any, payload: Any) -> None:
        job.log("before")
        async with asyncio.timeout(WAIT_SECONDS):
            await SAID.wait()
        job.log("after", level="error")

    @made.function("log.print", capture_output=True)
    def printing(job: Any, payload: Any) -> None:
        print("out", 1)
        print("half", end="")
        print("err", file=sys.stderr)
        job.log("said")

    @made.function("log.print_async", capture_output=True)
    async def printing_async(job: Any, payload: Any) -> None:
        print(payload, "a")
        await asyncio.sleep(0)
        await asyncio.to_thread(print, payload, "b")
        raise ValueError(payload)

    @made.function("log.silent")
    async def silent(job: Any, payload: Any) -> None:
        print("not captured")

    task = asyncio.create_task(made.serve())
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_SECONDS):
        await made.wait_connected()
    yield made
    made.stop("the test is over")
    await asyncio.wait([task], timeout=WAIT_SECONDS)


async def said(sdk: AsyncClient, job_id: str, **how: Any) -> list[tuple[str, str]]:
    """Everything, once nothing more will come."""
    async with asyncio.timeout(WAIT_SECONDS):
        return [(line.level, line.message) async for line in sdk.jobs.logs(job_id, follow=True, **how)]


async def get(sdk: AsyncClient, platform: Any, noisy: Any, job_id: str, **query: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {platform.admin_key}"}
    async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, timeout=30) as client:
        return await client.get(f"{noisy.path}/jobs/{job_id}/logs", params=query)


async def test_lines_are_read_by_range(platform, noisy, sdk, node) -> None:
    """From any line, from the end, page by page; each line has its number; an unknown place is refused."""
    job = await sdk.jobs.wait((await sdk.jobs.submit("log.many", {"lines": 25})).id, WAIT_SECONDS)
    assert [message for _, message in await said(sdk, job.id)] == [f"{n}:" for n in range(25)]

    async def numbers(**query: Any) -> list[int]:
        return [one["line"] for one in (await get(sdk, platform, noisy, job.id, **query)).json()["items"]]

    assert await numbers(attempt=1, **{"from": 20}) == [20, 21, 22, 23, 24]
    assert await numbers(attempt=1, **{"from": -2}) == [23, 24]
    assert await numbers(attempt=1, limit=3, **{"from": 7}) == [7, 8, 9]
    assert await numbers(attempt=2) == []
    assert await numbers(attempt=1, **{"from": 25}) == []
    page = (await get(sdk, platform, noisy, job.id, limit=10)).json()
    assert (len(page["items"]), page["complete"]) == (10, False)
    rest = (await get(sdk, platform, noisy, job.id, cursor=page["next_cursor"])).json()
    assert [one["line"] for one in rest["items"]] == list(range(10, 25))
    assert (rest["next_cursor"], rest["follow_cursor"], rest["complete"]) == (None, None, True)
    (standing,) = rest["attempts"]
    assert (standing["attempt"], standing["lines"], standing["truncated"]) == (1, 25, False)
    for wrong in ({"from": "3"}, {"attempt": "0"}, {"limit": "10001"}, {"cursor": "nonsense"}, {"wait_seconds": "31"}):
        answer = await get(sdk, platform, noisy, job.id, **wrong)
        assert answer.status_code == 422, wrong
        assert answer.json()["errors"][0]["path"] == f"/{next(iter(wrong))}"


async def test_a_log_is_followed_while_its_job_runs(platform, noisy, sdk, node) -> None:
    """What was said before is told, what comes is told as it comes, and the command ends by itself after the job."""
    SAID.clear()
    job = await sdk.jobs.submit("log.pause")
    variables = os.environ | {
        "WAYPOST_CONFIG": "/nonexistent",
        "WAYPOST_URL": platform.api_url,
        "WAYPOST_KEY": platform.admin_key,
        "WAYPOST_ENVIRONMENT": noisy.place,
    }
    follower = await asyncio.create_subprocess_exec(
        *WAYPOST, "jobs", "logs", "-f", job.id, stdout=subprocess.PIPE, env=variables
    )
    assert follower.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        assert b'"before"' in await follower.stdout.readline()
        SAID.set()
        assert b'"after"' in await follower.stdout.readline()
        assert await follower.stdout.read() == b""
        assert await follower.wait() == 0


async def test_what_handlers_print_is_captured_where_they_ask_for_it(sdk, node, capsys) -> None:
    """Of plain and async functions, with both streams, whole lines, the last one too; still printed as before; two
    jobs at once do not mix; functions that did not ask are left alone."""
    printed = await sdk.jobs.wait((await sdk.jobs.submit("log.print")).id, WAIT_SECONDS)
    expected = [("stdout", "out 1"), ("stderr", "err"), ("info", "said"), ("stdout", "half")]
    assert await said(sdk, printed.id) == expected
    jobs = [await sdk.jobs.submit("log.print_async", word, retry={"max_attempts": 1}) for word in ("x", "y")]
    for job, word in zip(jobs, ("x", "y"), strict=True):
        assert (await sdk.jobs.wait(job.id, WAIT_SECONDS)).state == "dead_letter"
        assert await said(sdk, job.id) == [("stdout", f"{word} a"), ("stdout", f"{word} b")]
    quiet = await sdk.jobs.wait((await sdk.jobs.submit("log.silent")).id, WAIT_SECONDS)
    assert await said(sdk, quiet.id) == []
    assert "out 1\nhalf" in capsys.readouterr().out


async def test_long_logs_move_to_the_bucket_and_what_is_too_much_is_told(platform, noisy, sdk, node, owner) -> None:
    """64 KiB or so stay in rows, the rest is in the bucket and read all the same; past `log_bytes` nothing is kept, and
    the reader is told how much that was."""
    job = await sdk.jobs.wait((await sdk.jobs.submit("log.many", {"lines": 4_000, "size": 100})).id, WAIT_SECONDS)
    async with asyncio.timeout(WAIT_SECONDS):
        sql = "select coalesce(sum(octet_length(lines)), 0) from control.job_log where job_id = $1"
        while not 0 < await owner.fetchval(sql, UUID(job.id)) <= 131_072:  # noqa: ASYNC110 - the worker's step
            await asyncio.sleep(0.1)
    objects = await owner.fetch("select * from control.log_object where job_id = $1 order by first_line", UUID(job.id))
    assert objects
    lines = await said(sdk, job.id)
    assert [message.partition(":")[0] for _, message in lines] == [str(n) for n in range(len(lines))]
    (standing,) = await sdk.jobs.log_standing(job.id)
    assert standing.lines == len(lines) < 4_000
    assert standing.bytes <= 300_000
    assert standing.lines + standing.dropped_lines == 4_000
    assert standing.truncated
    assert objects[0]["lines"] + sum(one["lines"] for one in objects[1:]) < len(lines)
    middle = (await get(sdk, platform, noisy, job.id, attempt=1, limit=2, **{"from": objects[0]["lines"] - 1})).json()
    assert [one["line"] for one in middle["items"]] == [objects[0]["lines"] - 1, objects[0]["lines"]]
