"""Submitting over HTTP: limits at their edges; strict JSON; exact numbers; nothing is kept of what is bad."""

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.gateway.conftest import OwnGateway
from waypost import errors
from waypost.tenancy.model import Status

NEVER = "never.run"


async def submit(client: httpx.AsyncClient, path: str, body: Any, **headers: str) -> httpx.Response:
    """POST the job; bytes go out as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(f"{path}/jobs", content=content, headers=headers)


async def queued(client: httpx.AsyncClient, path: str) -> int:
    return int((await client.get(f"{path}/queue")).json()["states"]["waiting"])


async def test_a_job_is_answered_as_the_contract_shows_it(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """202, Location, every field in the contract's order, defaults filled in."""
    answer = await submit(client, shared_environment.path, {"function": NEVER, "tags": [" mem_gb >= 16", "gpu"]})
    assert answer.status_code == 202
    job = answer.json()
    assert list(job)[:12] == [
        "function", "payload", "tags", "priority", "run_at", "timeout_seconds", "expires_in_seconds", "retry",
        "concurrency", "labels", "id", "state",
    ]  # fmt: skip
    assert (job["payload"], job["priority"], job["timeout_seconds"], job["state"]) == (None, 5, 300, "queued")
    assert job["tags"] == ["gpu", "mem_gb>=16"]
    assert answer.headers["location"].endswith(f"/jobs/{job['id']}")
    read = (await client.get(answer.headers["location"])).json()
    waiting = read.pop("waiting")
    assert read == job
    assert waiting["reason"] == "no_node_connected"


@pytest.mark.parametrize(
    "payload",
    [
        b"12.50",
        b"1E400",
        b"-0.0",
        b"1234567890123456789012345678901234567890",
        b"0.1234567890123456789012345678901234567890",
        b'{"a": [1.0, 1.00, 1e0], "b":  "\\u00e9 \xc3\xa9"}',
        b"[[[]]]",
        b'""',
        b"null",
    ],
)
async def test_a_payload_comes_back_byte_for_byte(
    client: httpx.AsyncClient, shared_environment: Any, payload: bytes
) -> None:
    """Numbers are carried exactly as they were written, in the answer and in every later reading."""
    answer = await submit(client, shared_environment.path, b'{"function":"never.run","payload":' + payload + b"}")
    assert answer.status_code == 202, answer.text
    assert b'"payload":' + payload + b"," in answer.content
    read = await client.get(answer.headers["location"])
    assert b'"payload":' + payload + b"," in read.content


@pytest.mark.parametrize("size", [64 << 10, (64 << 10) + 1, 1 << 20])
async def test_large_payloads_are_kept_whole(client: httpx.AsyncClient, shared_environment: Any, size: int) -> None:
    """Inline up to 64 KiB, in the bucket above; up to 1 MiB."""
    payload = json.dumps("x" * (size - 2))
    assert len(payload) == size
    answer = await submit(client, shared_environment.path, f'{{"function":"never.run","payload":{payload}}}'.encode())
    assert answer.status_code == 202, answer.text[:300]
    assert (await client.get(answer.headers["location"])).json()["payload"] == "x" * (size - 2)


async def test_a_payload_over_a_mebibyte_is_refused_with_what_to_do(
    client: httpx.AsyncClient, shared_environment: Any
) -> None:
    """413 that speaks of artifacts."""
    answer = await submit(client, shared_environment.path, {"function": NEVER, "payload": "x" * ((1 << 20) - 1)})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert "artifact" in answer.json()["detail"]


def nested(depth: int) -> bytes:
    return b'{"function":"never.run","payload":' + b"[" * depth + b"]" * depth + b"}"


BAD: list[tuple[str, bytes, int, str, str]] = [
    ("nothing", b"", 400, "malformed_json", ""),
    ("cut off", b'{"function":', 400, "malformed_json", ""),
    ("two values", b'{"function":"a"} {}', 400, "malformed_json", ""),
    ("not UTF-8", b'{"function":"a","payload":"\xff"}', 400, "malformed_json", ""),
    ("NaN", b'{"function":"a","payload":NaN}', 422, "invalid_number", ""),
    ("Infinity", b'{"function":"a","payload":[-Infinity]}', 422, "invalid_number", ""),
    ("repeated key", b'{"function":"a","payload":{"k":1,"k":2}}', 422, "duplicate_key", "/payload/k"),
    ("repeated field", b'{"function":"a","function":"b"}', 422, "duplicate_key", "/function"),
    ("too deep", nested(64), 422, "json_too_deep", ""),
    ("an array", b"[]", 422, "", ""),
    ("unknown field", b'{"function":"a","nope":1}', 422, "unknown_field", "/nope"),
    ("kept name", b'{"function":"a","prefer":["gpu"]}', 422, "not_available", "/prefer"),
    ("no function", b"{}", 422, "missing_field", "/function"),
    ("function name", b'{"function":"A.b"}', 422, "", "/function"),
    ("function too long", b'{"function":"' + b"a" * 101 + b'"}', 422, "", "/function"),
    ("priority", b'{"function":"a","priority":10}', 422, "", "/priority"),
    ("priority type", b'{"function":"a","priority":"5"}', 422, "wrong_type", "/priority"),
    ("timeout 0", b'{"function":"a","timeout_seconds":0}', 422, "", "/timeout_seconds"),
    ("timeout 86401", b'{"function":"a","timeout_seconds":86401}', 422, "", "/timeout_seconds"),
    ("attempts", b'{"function":"a","retry":{"max_attempts":101}}', 422, "", "/retry/max_attempts"),
    ("attempts 0", b'{"function":"a","retry":{"max_attempts":0}}', 422, "", "/retry/max_attempts"),
    ("backoff", b'{"function":"a","retry":{"backoff":"sometimes"}}', 422, "", "/retry/backoff"),
    ("selector", b'{"function":"a","tags":["mem_gb>"]}', 422, "invalid_selector", "/tags/0"),
    ("17 tags", json.dumps({"function": "a", "tags": [f"t{n}" for n in range(17)]}).encode(), 422, "", "/tags"),
    (
        "33 labels",
        json.dumps({"function": "a", "labels": {f"l{n}": "" for n in range(33)}}).encode(),
        422,
        "",
        "/labels",
    ),
    ("label too long", json.dumps({"function": "a", "labels": {"l": "x" * 257}}).encode(), 422, "", "/labels/l"),
    ("limit 0", b'{"function":"a","concurrency":{"key":"k","limit":0}}', 422, "", "/concurrency/limit"),
    ("past a year", b'{"function":"a","delay_seconds":31708800}', 422, "", "/delay_seconds"),
    ("both times", b'{"function":"a","delay_seconds":1,"run_at":"2026-11-21T09:00:00Z"}', 422, "", ""),
]


@pytest.mark.parametrize(("body", "status", "code", "where"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_input_is_refused_with_its_place(
    client: httpx.AsyncClient, shared_environment: Any, body: bytes, status: int, code: str, where: str
) -> None:
    """A problem document with a stable code and a JSON Pointer for each fault."""
    answer = await submit(client, shared_environment.path, body)
    problem = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    if code:
        assert code in {problem["code"], *(fault["code"] for fault in problem["errors"])}
    if where:
        assert where in {fault["path"] for fault in problem["errors"]}, problem


@pytest.mark.parametrize(
    "body",
    [
        nested(63),
        b'{"function":"' + b"a" * 100 + b'"}',
        b'{"function":"a","priority":0}',
        b'{"function":"a","priority":9}',
        b'{"function":"a","timeout_seconds":1}',
        b'{"function":"a","timeout_seconds":86400}',
        b'{"function":"a","retry":{"max_attempts":100}}',
        json.dumps({"function": "a", "labels": {f"l{n}": "x" * 256 for n in range(32)}}).encode(),
        json.dumps({"function": "a.b", "tags": [f"t{n}" for n in range(16)]}).encode(),
        b'{"function":"a","delay_seconds":31536000}',
    ],
)
async def test_what_lies_at_its_limit_is_taken(client: httpx.AsyncClient, shared_environment: Any, body: bytes) -> None:
    """The edge itself is inside."""
    answer = await submit(client, shared_environment.path, body)
    assert answer.status_code == 202, answer.text


async def test_nothing_is_kept_of_what_was_refused(client: httpx.AsyncClient, environment: Any) -> None:
    """After every bad input the environment has no job and no count."""
    for _, body, *_ in BAD:
        assert (await submit(client, environment.path, body)).status_code in (400, 422)
    assert await queued(client, environment.path) == 0
    assert (await client.get(f"{environment.path}/jobs")).json()["items"] == []


async def test_an_environment_has_a_bounded_number_of_routes(client: httpx.AsyncClient, environment: Any) -> None:
    """256 pairs of function and tags; the next is 422 and says what to do."""
    for number in range(256):
        answer = await submit(client, environment.path, {"function": f"f{number}"})
        assert answer.status_code == 202, answer.text
    answer = await submit(client, environment.path, {"function": "one.more"})
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_routes")


async def test_bulk_keeps_all_in_order_or_nothing(client: httpx.AsyncClient, environment: Any) -> None:
    """`items` answer the specs one by one; one bad spec refuses all, with its index."""
    jobs = [{"function": NEVER, "payload": n} for n in range(1_000)]
    answer = await client.post(f"{environment.path}/jobs/bulk", json={"jobs": jobs})
    assert answer.status_code == 202, answer.text
    items = answer.json()["items"]
    assert len(items) == 1_000
    third = await client.get(f"{environment.path}/jobs/{items[3]['id']}")
    assert third.json()["payload"] == 3
    jobs[7] = {"function": NEVER, "priority": 11}
    answer = await client.post(f"{environment.path}/jobs/bulk", json={"jobs": jobs})
    assert answer.status_code == 422
    assert {fault["path"] for fault in answer.json()["errors"]} == {"/jobs/7/priority"}
    answer = await client.post(f"{environment.path}/jobs/bulk", json={"jobs": jobs[:1] * 1_001})
    assert answer.status_code == 422
    assert await queued(client, environment.path) == 1_000


async def test_what_comes_later_is_not_available(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """Invoke: 501 with a code, not 404."""
    answer = await client.post(f"{shared_environment.path}/functions/a.b/invoke", json={})
    assert (answer.status_code, answer.json()["code"]) == (501, "not_available")


async def test_wait_seconds_answers_the_end_when_it_comes(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """200 with the ended job; 202 with the job as it is by then, and why; another value is refused."""
    expired = {"function": NEVER, "delay_seconds": 3600, "expires_in_seconds": 1}
    answer = await client.post(f"{shared_environment.path}/jobs?wait_seconds=60", json=expired, timeout=90)
    assert (answer.status_code, answer.json()["state"]) == (200, "expired")
    answer = await client.post(f"{shared_environment.path}/jobs?wait_seconds=0.2", json={"function": NEVER})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.json()["waiting"]["reason"] == "no_node_connected"
    for wrong in ("61", "-1", "nan", "x"):
        answer = await client.post(f"{shared_environment.path}/jobs?wait_seconds={wrong}", json={"function": NEVER})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


async def test_a_job_that_is_kept_is_acknowledged_though_it_cannot_be_read(
    own_gateway: OwnGateway, shared_environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL goes away between the commit and the first look: a 503 would say that there is no job."""

    async def away(*_: object) -> None:
        raise errors.unavailable("PostgreSQL")

    monkeypatch.setattr("gateway.waiting.read_job", away)
    answer = await own_gateway.client.post(f"{shared_environment.path}/jobs?wait_seconds=10", json={"function": NEVER})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")


async def test_a_full_queue_is_429(client: httpx.AsyncClient, environment: Any, platform: Any) -> None:
    """Over the environment's limit of waiting jobs nothing is kept, and the answer says when to come back."""
    import asyncpg

    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    await owner.execute(
        "update control.environment set limits = $2 where id = $1", environment.id, json.dumps({"waiting_jobs": 3})
    )
    await owner.close()
    await client.get(environment.path)  # notices that the record has changed
    for _ in range(3):
        assert (await submit(client, environment.path, {"function": NEVER})).status_code == 202
    answer = await submit(client, environment.path, {"function": NEVER})
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (429, "queue_full", True)
    assert int(answer.headers["retry-after"]) >= 1
    assert await queued(client, environment.path) == 3


async def test_what_is_being_kept_while_the_waiting_are_counted_is_not_forgotten(
    own_gateway: OwnGateway, environment: Any
) -> None:
    """It may not be in that count yet; when it is in it or was refused after all, it is counted once or not at all."""
    admission = own_gateway.services.admission
    place: Any = SimpleNamespace(id=UUID(environment.id), status=Status.READY)
    with await admission.check(place, 2):
        for _ in range(2):
            await admission._refresh([place.id])
        with await admission.check(place, 2):
            pass
        with pytest.raises(errors.WaypostError) as refused:
            await admission.check(place, 2, 2)
        assert refused.value.code == "queue_full"
    with await admission.check(place, 2, 2):
        pass
