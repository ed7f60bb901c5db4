"""Idempotency-Key: the same key and body get the first answer, another body a 409, and races make one thing."""

import asyncio
import secrets
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import MakeKey, OwnGateway, bearer


def fresh() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(8)}


async def test_a_repeated_submission_gets_the_first_answer(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey
) -> None:
    """Byte for byte, marked as replayed; also through another credential and with other blanks."""
    headers, path = fresh(), f"{shared_environment.path}/jobs"
    first = await client.post(
        path, content=b'{"function":"a.b","payload":{"n":1.50},"delay_seconds":60}', headers=headers
    )
    other = bearer((await make_key(shared_environment.path))["key"]) | headers
    again = await client.post(
        path, content=b'{"function": "a.b", "payload":{"n":1.50}, "delay_seconds":60}', headers=other
    )
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


@pytest.mark.parametrize(
    "body",
    [
        {"function": "a.c"},
        {"function": "a.b", "priority": 6},
        {"function": "a.b", "payload": None, "labels": {"a": "b"}},
    ],
)
async def test_another_body_is_a_conflict(client: httpx.AsyncClient, shared_environment: Any, body: Any) -> None:
    """409, and no second job."""
    headers, path = fresh(), f"{shared_environment.path}/jobs"
    await client.post(path, json={"function": "a.b"}, headers=headers)
    answer = await client.post(path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


async def test_first_requests_at_the_same_moment_make_one_job(
    client: httpx.AsyncClient, own_gateway: OwnGateway, environment: Any
) -> None:
    """Fifty at once through two gateways: one id, one fresh answer, one job in the queue."""
    headers, path = fresh(), f"{environment.path}/jobs"
    asked = [
        (client if n % 2 else own_gateway.client).post(path, json={"function": "a.b", "payload": "x"}, headers=headers)
        for n in range(50)
    ]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert (await client.get(f"{environment.path}/queue")).json()["states"]["waiting"] == 1


async def test_environments_do_not_share_keys(
    client: httpx.AsyncClient, environment: Any, shared_environment: Any
) -> None:
    """The same key elsewhere is another key."""
    headers = fresh()
    one = await client.post(f"{environment.path}/jobs", json={"function": "a.b"}, headers=headers)
    two = await client.post(f"{shared_environment.path}/jobs", json={"function": "a.c"}, headers=headers)
    assert (one.status_code, two.status_code) == (202, 202)
    assert one.json()["id"] != two.json()["id"]


async def test_bulk_items_have_keys_of_their_own(client: httpx.AsyncClient, environment: Any) -> None:
    """A repeat finds each job, alone or in bulk; one conflict keeps nothing and is named by its index."""
    jobs = [{"function": "a.b", "payload": n, "idempotency_key": f"k{n}"} for n in range(3)]
    first = await client.post(f"{environment.path}/jobs/bulk", json={"jobs": jobs})
    again = await client.post(f"{environment.path}/jobs/bulk", json={"jobs": jobs})
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    alone = await client.post(
        f"{environment.path}/jobs", json={"function": "a.b", "payload": 1}, headers={"Idempotency-Key": "k1"}
    )
    assert alone.json()["id"] == first.json()["items"][1]["id"]
    bad = [{"function": "a.b", "payload": 99}, jobs[0] | {"payload": 100}]
    refused = await client.post(f"{environment.path}/jobs/bulk", json={"jobs": bad})
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert [fault["path"] for fault in refused.json()["errors"]] == ["/jobs/1/idempotency_key"]
    assert (await client.get(f"{environment.path}/queue")).json()["states"]["waiting"] == 3


async def test_a_whole_bulk_request_can_be_repeated(client: httpx.AsyncClient, environment: Any) -> None:
    """The header alone is enough: the same ids in the same order."""
    headers, body = fresh(), {"jobs": [{"function": "a.b", "payload": n} for n in range(5)]}
    first = await client.post(f"{environment.path}/jobs/bulk", json=body, headers=headers)
    again = await client.post(f"{environment.path}/jobs/bulk", json=body, headers=headers)
    assert again.json() == first.json()
    assert len({item["id"] for item in first.json()["items"]}) == 5
    assert again.headers["idempotent-replayed"] == "true"
    other = {"jobs": body["jobs"][:4]}
    refused = await client.post(f"{environment.path}/jobs/bulk", json=other, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")


async def test_a_secret_is_answered_again_to_the_same_request_and_lies_sealed(
    client: httpx.AsyncClient, shared_environment: Any, platform: Any
) -> None:
    """Creating a key twice with one Idempotency-Key makes one key; its text is not readable in the database."""
    import asyncpg

    headers, path = fresh(), f"{shared_environment.path}/keys"
    first = await client.post(path, json={"name": "ci"}, headers=headers)
    again = await client.post(path, json={"name": "ci"}, headers=headers)
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    conflict = await client.post(path, json={"name": "other"}, headers=headers)
    assert conflict.json()["code"] == "idempotency_conflict"
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    rows = await owner.fetch("select answer from control.idempotency where key = $1", headers["Idempotency-Key"])
    await owner.close()
    assert [first.json()["key"].encode() in bytes(row["answer"]) for row in rows] == [False]


async def test_creations_that_race_make_one(
    client: httpx.AsyncClient, own_gateway: OwnGateway, environment: Any
) -> None:
    """Twenty at once through two gateways: one credential, nineteen replays."""
    headers, path = fresh(), f"{environment.path}/node-credentials"
    answers = await asyncio.gather(
        *((client if n % 2 else own_gateway.client).post(path, json={"name": "n"}, headers=headers) for n in range(20))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["client_secret"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len((await client.get(path)).json()["items"]) == 1


async def test_what_failed_may_be_tried_again_with_its_key(client: httpx.AsyncClient, environment: Any) -> None:
    """A refusal is not kept: the key is still free."""
    headers, path = fresh(), f"{environment.path}/keys"
    assert (await client.post(path, json={"name": ""}, headers=headers)).status_code == 422
    assert (await client.post(path, json={"name": "ok"}, headers=headers)).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
async def test_a_key_has_1_to_255_characters(client: httpx.AsyncClient, shared_environment: Any, key: str) -> None:
    """Anything else is 422, on jobs and elsewhere."""
    for path in ("jobs", "keys"):
        body = {"function": "a.b"} if path == "jobs" else {"name": "x"}
        answer = await client.post(f"{shared_environment.path}/{path}", json=body, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_idempotency_key")


async def test_replays_are_idempotent_by_job(client: httpx.AsyncClient, environment: Any) -> None:
    """One key, one replay; the new job names the old one and the old one the new."""
    job = (
        await client.post(f"{environment.path}/jobs", json={"function": "a.b", "payload": [1.0], "labels": {"o": "1"}})
    ).json()
    path = f"{environment.path}/jobs/{job['id']}"
    early = await client.post(f"{path}/replay")
    assert (early.status_code, early.json()["code"]) == (409, "job_not_ended")
    canceled = await client.post(f"{path}/cancel")
    assert (canceled.status_code, canceled.json()["state"]) == (202, "canceled")
    headers, body = fresh(), {"overrides": {"priority": 9, "tags": ["gpu"]}}
    first = await client.post(f"{path}/replay", json=body, headers=headers)
    again = await client.post(f"{path}/replay", json=body, headers=headers)
    assert first.status_code == 202
    assert again.content == first.content
    made = first.json()
    assert (made["replay_of"], made["priority"], made["tags"]) == (job["id"], 9, ["gpu"])
    assert (made["payload"], made["labels"]) == ([1.0], {"o": "1"})
    assert b'"payload":[1.0]' in first.content
    assert (await client.get(path)).json()["replayed_by"] == made["id"]
    other = await client.post(f"{path}/replay", json={"overrides": {}}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    wrong = await client.post(f"{path}/replay", json={"overrides": {"function": "x"}})
    assert wrong.status_code == 422


async def test_canceling_twice_is_a_conflict_unless_it_is_the_same_request(
    client: httpx.AsyncClient, environment: Any
) -> None:
    """An end is final: 409 `job_already_ended`; the same Idempotency-Key gets the first answer."""
    job = (await client.post(f"{environment.path}/jobs", json={"function": "a.b"})).json()
    path, headers = f"{environment.path}/jobs/{job['id']}/cancel", fresh()
    first = await client.post(path, headers=headers)
    again = await client.post(path, headers=headers)
    assert (first.status_code, again.content) == (202, first.content)
    answer = await client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "job_already_ended")
    assert (await client.post(f"{environment.path}/jobs/{environment.id}/cancel")).status_code == 404
