"""Server-Sent Events: every state in order, resumed without loss, live from messages and without them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from gateway.v1 import event as events
from jobs.wake import LogLine, Progress, encode, jobs_channel
from tests.gateway.conftest import MakeGateway, MakeKey, OwnGateway, bearer


async def read(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[tuple[str, dict[str, Any], str]]:
    """(type, data, id) of each event until the stream ends; comments come as type ":"."""
    fields: dict[str, str] = {}
    async with client.stream("GET", path, headers=headers, timeout=30) as stream:
        assert stream.status_code == 200, await stream.aread()
        assert stream.headers["content-type"] == "text/event-stream"
        async for line in stream.aiter_lines():
            if line.startswith(":"):
                yield ":", {}, line
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
                fields = {}


async def take(
    stream: AsyncIterator[tuple[str, dict[str, Any], str]], count: int
) -> list[tuple[str, dict[str, Any], str]]:
    """The next `count` events, comments left out."""
    found: list[tuple[str, dict[str, Any], str]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            one = await anext(stream)
            if one[0] != ":":
                found.append(one)
    return found


async def submit(client: httpx.AsyncClient, path: str, **spec: Any) -> str:
    answer = await client.post(f"{path}/jobs", json={"function": "never.run"} | spec)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def test_a_jobs_stream_shows_its_states_and_ends_with_its_end(
    client: httpx.AsyncClient, shared_environment: Any
) -> None:
    """Begins with what was, goes on live, closes by itself."""
    job = await submit(client, shared_environment.path)
    path = f"{shared_environment.path}/jobs/{job}"
    stream = read(client, f"{path}/events")
    assert (await take(stream, 1))[0][1] | {"at": ""} == {"job_id": job, "state": "queued", "attempt": 0, "at": ""}
    await client.post(f"{path}/cancel")
    kind, data, _ = (await take(stream, 1))[0]
    assert (kind, data["state"]) == ("job.state", "canceled")
    assert [one async for one in stream if one[0] != ":"] == []


async def test_a_resumed_stream_tells_what_was_missed_once(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """`Last-Event-ID` of a job's stream: exactly the states after it."""
    job = await submit(client, shared_environment.path)
    path = f"{shared_environment.path}/jobs/{job}"
    stream = read(client, f"{path}/events")
    ((_, _, seen),) = await take(stream, 1)
    await stream.aclose()
    await client.post(f"{path}/cancel")
    after = [one async for one in read(client, f"{path}/events", **{"Last-Event-ID": seen}) if one[0] != ":"]
    assert [data["state"] for _, data, _ in after] == ["canceled"]
    again = read(client, f"{path}/events", **{"Last-Event-ID": after[0][2]})
    async with aclosing(again):
        assert (await anext(again))[0] == ":"


async def test_the_environments_stream_resumes_without_loss(client: httpx.AsyncClient, environment: Any) -> None:
    """Whatever happened while nobody was connected is told after `Last-Event-ID`."""
    path = f"{environment.path}/events"
    stream = read(client, path)
    assert (await anext(stream))[0] == ":"
    first = await submit(client, environment.path)
    ((_, data, seen),) = await take(stream, 1)
    assert (data["job_id"], data["state"]) == (first, "queued")
    await stream.aclose()
    missed = [await submit(client, environment.path) for _ in range(5)]
    for job in missed:
        await client.post(f"{environment.path}/jobs/{job}/cancel")
    wanted = {(job, state) for job in missed for state in ("queued", "canceled")}
    resumed = read(client, path, **{"Last-Event-ID": seen})
    async with aclosing(resumed), asyncio.timeout(20):
        async for _, data, _ in resumed:
            wanted.discard((data.get("job_id", ""), data.get("state", "")))
            if not wanted:
                break
    assert not wanted


async def test_states_come_without_messages_too(
    client: httpx.AsyncClient, own_gateway: OwnGateway, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poll is the net: with every message lost, no state is."""
    monkeypatch.setattr(events, "POLL_SECONDS", 0.2)
    monkeypatch.setattr("gateway.feed.decode_job", lambda _: None)
    job = await submit(client, environment.path)
    async with aclosing(read(own_gateway.client, f"{environment.path}/jobs/{job}/events")) as stream:
        await take(stream, 1)
        await client.post(f"{environment.path}/jobs/{job}/cancel")
        assert (await take(stream, 1))[0][1]["state"] == "canceled"


async def test_progress_and_log_lines_are_for_who_operates(
    own_gateway: OwnGateway, environment: Any, make_key: MakeKey
) -> None:
    """A viewer gets states only (decision 22)."""
    from uuid import UUID

    client, valkey = own_gateway.client, own_gateway.services.valkey
    job = await submit(client, environment.path)
    viewer = bearer((await make_key(environment.path, "viewer"))["key"])
    path = f"{environment.path}/jobs/{job}/events"
    async with aclosing(read(client, path)) as full, aclosing(read(client, path, **viewer)) as metadata:
        await take(full, 1)
        await take(metadata, 1)
        channel = jobs_channel(UUID(environment.id))
        valkey.publish(channel, encode(Progress(UUID(job), 0.5, "half way")))
        valkey.publish(channel, encode(LogLine(UUID(job), 1, 1_000, "info", "hello")))
        told = await take(full, 2)
        assert [kind for kind, _, _ in told] == ["job.progress", "job.log"]
        assert told[0][1] == {"job_id": job, "fraction": 0.5, "message": "half way"}
        assert (told[1][1]["at"], told[1][1]["message"]) == ("1970-01-01T00:00:01.000Z", "hello")
        await client.post(f"{environment.path}/jobs/{job}/cancel")
        assert [kind for kind, _, _ in await take(metadata, 1)] == ["job.state"]


async def test_a_quiet_stream_has_a_heartbeat(
    own_gateway: OwnGateway, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment when nothing was sent for a while: 15 s, here shortened."""
    assert events.HEARTBEAT_SECONDS == 15.0
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.5)
    async with aclosing(read(own_gateway.client, f"{environment.path}/events")) as stream, asyncio.timeout(10):
        assert [(await anext(stream))[2] for _ in range(2)] == [": connected", ": heartbeat"]


async def test_a_stream_whose_client_left_ends(make_gateway: MakeGateway, environment: Any) -> None:
    """No request stays in progress, no subscription stays behind."""
    async with make_gateway() as own:
        stream = read(own.client, f"{environment.path}/events")
        await anext(stream)
        assert own.services.in_progress == 1
        await stream.aclose()
        async with asyncio.timeout(30):
            await own.services.idle.wait()
        assert own.services.feed._listeners == {}


async def test_a_foreign_event_id_is_refused(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """422, before anything is streamed."""
    for wrong in ("x", "1-2", "1-2-nowhere", "99999999999999999999-0-queued"):
        answer = await client.get(f"{shared_environment.path}/events", headers={"Last-Event-ID": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_event_id")
