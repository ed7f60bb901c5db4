"""Bulk replays over HTTP: what is chosen, how far it is, and that each job is run again once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

WAIT_SECONDS = 15.0


@pytest.fixture(scope="module")
async def owner(platform: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


async def canceled_jobs(client: httpx.AsyncClient, path: str, count: int, **spec: Any) -> list[str]:
    """Jobs that have ended, oldest first."""
    spec = {"function": f"f{secrets.token_hex(4)}"} | spec
    made = await client.post(f"{path}/jobs/bulk", json={"jobs": [spec | {"payload": {"n": n}} for n in range(count)]})
    assert made.status_code == 202, made.text
    ids = [one["id"] for one in made.json()["items"]]
    for job in ids:
        assert (await client.post(f"{path}/jobs/{job}/cancel")).status_code == 202
    return ids


async def ended(client: httpx.AsyncClient, path: str, replay: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while (now := (await client.get(f"{path}/jobs/replays/{replay['id']}")).json())["finished_at"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return dict(now)


async def test_ended_jobs_are_run_again_each_once(
    client: httpx.AsyncClient, shared_environment: Any, owner: Any
) -> None:
    """Chosen by function and state, oldest first, each a new job with `replay_of`, the same payload, and the overrides;
    the same Idempotency-Key is the same bulk replay."""
    path, function = shared_environment.path, f"again{secrets.token_hex(4)}"
    ids = await canceled_jobs(client, path, 5, function=function, labels={"order": "A"})
    body = {"state": ["canceled"], "function": function, "label": "order=A", "overrides": {"priority": 9}}
    key = {"Idempotency-Key": secrets.token_hex(8)}
    answer = await client.post(f"{path}/jobs/replay", json=body, headers=key)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["matched"], answer.json()["state"]) == (5, "queued")
    done = await ended(client, path, answer.json())
    assert (done["state"], done["matched"], done["replayed"], done["skipped"]) == ("completed", 5, 5, 0)
    assert answer.headers["location"].endswith(f"/jobs/replays/{done['id']}")
    again = await client.post(f"{path}/jobs/replay", json=body, headers=key)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (done["id"], "true")
    made = await owner.fetch(
        "select j.id, j.replay_of, j.rank from control.job j join control.route r on r.id = j.route"
        " where r.function = $1 and j.replay_of is not null order by j.id",
        function,
    )
    assert [str(row["replay_of"]) for row in made] == ids
    assert {row["rank"] for row in made} == {0}
    first = (await client.get(f"{path}/jobs/{made[0]['id']}")).json()
    assert (first["payload"], first["labels"], first["replay_of"]) == ({"n": 0}, {"order": "A"}, ids[0])
