"""What a client sees of a job whose payload and result retention has erased."""

from typing import Any

import asyncpg
import httpx


async def test_an_erased_payload_reads_as_null_and_is_replayed_only_with_a_new_one(
    client: httpx.AsyncClient, environment: Any, platform: Any
) -> None:
    """409 `payload_erased` says what to do; a job that never had a payload replays as ever."""
    given, without = [
        (await client.post(f"{environment.path}/jobs", json={"function": "a.b"} | more)).headers["location"]
        for more in ({"payload": {"n": 1}}, {})
    ]
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    for job in (given, without):
        assert (await client.post(f"{job}/cancel")).status_code == 202
        await owner.execute("update control.job set payload = '' where payload <> '' and id = $1", job[-36:])
    read = (await client.get(given)).json()
    assert (read["state"], read["payload"], read["result"]) == ("canceled", None, None)
    refused = await client.post(f"{given}/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "payload_erased")
    assert "overrides" in refused.json()["detail"]
    anew = await client.post(f"{given}/replay", json={"overrides": {"payload": {"n": 2}}})
    assert (anew.status_code, anew.json()["payload"]) == (202, {"n": 2})
    assert (await client.post(f"{without}/replay")).status_code == 202
    await owner.close()


async def test_an_object_that_retention_has_deleted_reads_as_erased(
    client: httpx.AsyncClient, environment: Any, platform: Any
) -> None:
    """Between the deletion of the object and that of its name the job can be read."""
    body = {"function": "a.b", "payload": "x" * 100_000}
    job = (await client.post(f"{environment.path}/jobs", json=body)).headers["location"]
    assert (await client.post(f"{job}/cancel")).status_code == 202
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    await owner.execute("update control.job set payload_object = 'gone' where id = $1", job[-36:])
    await owner.close()
    read = await client.get(job)
    assert (read.status_code, read.json()["payload"]) == (200, None)
    assert (await client.post(f"{job}/replay")).json()["code"] == "payload_erased"
