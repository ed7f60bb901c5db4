"""Tenancy, functions, queue, nodes: reading, changing with If-Match, and why a job waits."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest

from waypost.ids import new_id


async def insert_node(platform: Any, environment: Any, **changes: Any) -> str:
    """A connected node as its relay would write it."""
    node = str(new_id())
    row = {"name": "n1", "tags": '{"gpu": "", "mem_gb": "24"}', "max_in_flight": 4, "in_flight": 0} | changes
    functions = '[{"name": "a.b", "max_in_flight": 4, "input_schema": {"type": "object"}}]'
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    session = await owner.fetchval(
        "insert into control.session (process, kind, address, pid, lease_until)"
        " values ('relay-test', 'relay', 'x', 1, now() + interval '1 hour') returning id"
    )
    await owner.execute(
        "insert into control.node (id, environment_id, session, credential_id, name, tags, functions, max_in_flight,"
        " in_flight) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        node, environment.id, session, new_id(), row["name"], row["tags"], functions, row["max_in_flight"],
        row["in_flight"],
    )  # fmt: skip
    await owner.close()
    return node


async def waiting_of(client: httpx.AsyncClient, environment: Any, **spec: Any) -> dict[str, Any]:
    """`waiting` of a fresh job."""
    answer = await client.post(f"{environment.path}/jobs", json={"function": "a.b"} | spec)
    assert answer.status_code == 202, answer.text
    return dict((await client.get(answer.headers["location"])).json()["waiting"])


async def test_why_a_job_waits_is_told_from_what_routing_sees(
    client: httpx.AsyncClient, environment: Any, platform: Any
) -> None:
    """Every reason in turn, with the counts of nodes behind it."""
    assert (await waiting_of(client, environment))["reason"] == "no_node_connected"
    node = await insert_node(platform, environment, in_flight=4)
    assert (await waiting_of(client, environment, function="a.c"))["reason"] == "function_not_served"
    excluded = await waiting_of(client, environment, tags=["gpu", "mem_gb>=80"])
    assert (excluded["reason"], "'mem_gb>=80'" in excluded["detail"]) == ("no_node_matches", True)
    assert excluded["nodes"] == {"connected": 1, "serving": 1, "matching": 0, "free": 0}
    busy = await waiting_of(client, environment, tags=["gpu"])
    assert (busy["reason"], busy["nodes"]["matching"]) == ("nodes_busy", 1)
    assert (await waiting_of(client, environment, delay_seconds=60))["reason"] == "scheduled"
    await client.post(f"{environment.path}/functions/a.b/pause", json={"note": "licence server is down"})
    paused = await waiting_of(client, environment)
    assert paused["reason"] == "function_paused"
    assert "licence server is down" in paused["detail"]
    await client.post(f"{environment.path}/functions/a.b/resume")
    assert (await waiting_of(client, environment))["reason"] == "nodes_busy"
    drained = await client.post(f"{environment.path}/nodes/{node}/drain")
    assert (drained.status_code, drained.json()["state"]) == (202, "draining")
    assert (await waiting_of(client, environment))["reason"] == "function_not_served"


async def test_a_concurrency_key_holds_jobs_back(client: httpx.AsyncClient, environment: Any) -> None:
    """The first of its key is in the queue, the next waits for it and moves when it is canceled."""
    spec = {"function": "a.b", "concurrency": {"key": "customer-42", "limit": 1}}
    first = (await client.post(f"{environment.path}/jobs", json=spec)).json()
    second = (await client.post(f"{environment.path}/jobs", json=spec)).json()

    async def reason(job: dict[str, Any]) -> str:
        return str((await client.get(f"{environment.path}/jobs/{job['id']}")).json()["waiting"]["reason"])

    async with asyncio.timeout(30):
        while await reason(first) != "no_node_connected":  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)
    assert await reason(second) == "concurrency_limit"
    await client.post(f"{environment.path}/jobs/{first['id']}/cancel")
    async with asyncio.timeout(30):
        while await reason(second) != "no_node_connected":  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)


async def test_functions_show_nodes_queue_and_pause(client: httpx.AsyncClient, environment: Any, platform: Any) -> None:
    """A function is there once a job, a node or a pause speaks of it."""
    assert (await client.get(f"{environment.path}/functions")).json() == {"items": [], "next_cursor": None}
    await insert_node(platform, environment)
    await client.post(f"{environment.path}/jobs", json={"function": "a.q", "tags": ["never"]})
    await client.post(f"{environment.path}/functions/a.p/pause", json={"note": "why"})

    async def functions() -> dict[str, Any]:
        return {item["name"]: item for item in (await client.get(f"{environment.path}/functions")).json()["items"]}

    async with asyncio.timeout(30):  # a worker adds up what the last hour had, a moment later
        while (items := await functions())["a.q"]["last_hour"]["submitted"] == 0:  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.05)
    assert list(items) == ["a.b", "a.p", "a.q"]
    assert items["a.b"]["nodes"] == {"connected": 1, "draining": 0, "max_in_flight": 4}
    assert items["a.b"]["input_schema"] == {"type": "object"}
    assert items["a.p"]["paused"]["note"] == "why"
    assert items["a.p"]["paused"]["by"].startswith("key:")
    assert (items["a.q"]["queued"], items["a.q"]["paused"]) == (1, None)
    assert (await client.get(f"{environment.path}/functions/a.q")).json() == items["a.q"]
    for unknown in ("a.z", "A%20Z"):
        assert (await client.get(f"{environment.path}/functions/{unknown}")).status_code == 404
    queue = (await client.get(f"{environment.path}/queue")).json()
    assert queue["states"]["waiting"] == 1
    assert [item["function"] for item in queue["functions"]] == ["a.q"]
    assert datetime.fromisoformat(queue["oldest_waiting_at"]) <= datetime.now(UTC)


async def test_pausing_minds_if_match(client: httpx.AsyncClient, environment: Any) -> None:
    """A tag of before the last change is 412, the current one passes; without If-Match anything does."""
    path = f"{environment.path}/functions/a.b"
    first = await client.post(f"{path}/pause", json={"note": "one"}, headers={"If-Match": '"running"'})
    assert first.status_code == 200
    stale = await client.post(f"{path}/resume", headers={"If-Match": '"running"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    read = await client.get(path)
    assert read.headers["etag"] == first.headers["etag"] == stale.json()["etag"]
    assert (await client.post(f"{path}/resume", headers={"If-Match": read.headers["etag"]})).status_code == 200
    assert (await client.post(f"{path}/resume")).status_code == 200
    long = await client.post(f"{path}/pause", json={"note": "x" * 1_001})
    assert (long.status_code, long.json()["code"]) == (422, "too_long")


async def test_nodes_are_listed_read_and_sent_away(client: httpx.AsyncClient, environment: Any, platform: Any) -> None:
    """Every field of the contract; DELETE drains; what is gone is 404, what is disconnected 409."""
    node = await insert_node(platform, environment)
    (listed,) = (await client.get(f"{environment.path}/nodes")).json()["items"]
    read = await client.get(f"{environment.path}/nodes/{node}")
    assert listed == read.json()
    assert (listed["id"], listed["state"], listed["tags"], listed["relay"]) == (
        node, "active", ["gpu", "mem_gb=24"], "relay-test"
    )  # fmt: skip
    path = f"{environment.path}/nodes/{node}"
    assert (await client.delete(path, headers={"If-Match": '"other"'})).status_code == 412
    assert (await client.delete(path, headers={"If-Match": read.headers["etag"]})).status_code == 204
    assert (await client.get(path)).json()["state"] == "draining"
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    await owner.execute("update control.node set disconnected_at = now() where id = $1", node)
    await owner.close()
    assert (await client.post(f"{path}/drain")).json()["code"] == "node_not_connected"
    assert (await client.get(f"{environment.path}/nodes")).json()["items"] == []
    lost = (await client.get(f"{environment.path}/nodes?state=lost")).json()["items"]
    assert [item["id"] for item in lost] == [node]
    for unknown in (str(new_id()), "n1"):
        assert (await client.get(f"{environment.path}/nodes/{unknown}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x", "allowed_tags": ["two words"]}, "/allowed_tags"),
        ({"name": "x", "functions": [""]}, "/functions"),
        ({"name": "x", "functions": "a"}, "/functions"),
        ({"name": "x", "nope": 1}, "/nope"),
        ({}, "/name"),
    ],
)
async def test_bad_node_credentials_are_refused(
    client: httpx.AsyncClient, shared_environment: Any, body: Any, where: str
) -> None:
    """422 with the field."""
    answer = await client.post(f"{shared_environment.path}/node-credentials", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, where)


async def test_the_tenancy_tree_is_made_and_read(client: httpx.AsyncClient) -> None:
    """Location and ETag of what is made; by id or slug; a slug in use is 409; nothing half made."""
    made = await client.post("/v1/orgs/default/projects", json={"name": f"Tree {new_id()}"})
    assert made.status_code == 201
    project = await client.get(made.headers["location"])
    assert project.json() == made.json()
    assert project.headers["etag"] == made.headers["etag"]
    path = f"/v1/orgs/default/projects/{made.json()['slug']}/environments"
    answer = await client.post(path, json={"name": "Dev", "slug": f"d{new_id().hex[-12:]}", "posture": "staging"})
    assert answer.status_code == 202
    assert answer.json()["steps"][0]["name"] == "role"
    again = await client.post(path, json={"name": "Dev", "slug": answer.json()["slug"]})
    assert (again.status_code, again.json()["code"]) == (409, "slug_taken")
    early = await client.post(f"{answer.headers['location']}/jobs", json={"function": "a.b"})
    assert early.status_code in (202, 409)
    async with asyncio.timeout(30):
        while (found := (await client.get(answer.headers["location"])).json())["status"] != "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (found["posture"], found["limits"]["routes"]) == ("staging", 256)
    assert {step["state"] for step in found["steps"]} == {"done"}
    assert (await client.get(f"{path}/{found['slug']}")).json() == found
    for body, code in (
        ({"name": "x", "posture": "test"}, "invalid_value"),
        ({"name": "x", "backend": "oracle"}, "unknown_backend"),
        ({"name": "x", "slug": "Not A Slug"}, "invalid_slug"),
        ({"name": ""}, "invalid_name"),
    ):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


async def test_an_environment_that_is_not_ready_takes_no_jobs(
    client: httpx.AsyncClient, environment: Any, platform: Any
) -> None:
    """409 with its status, and nothing is kept."""
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    await owner.execute("update control.environment set status = 'suspended' where id = $1", environment.id)
    await owner.close()
    await client.get(environment.path)  # notices that the record has changed
    answer = await client.post(f"{environment.path}/jobs", json={"function": "a.b"})
    assert (answer.status_code, answer.json()["code"]) == (409, "environment_not_ready")
    assert answer.json()["environment_status"] == "suspended"
    assert (await client.get(f"{environment.path}/jobs")).json()["items"] == []
