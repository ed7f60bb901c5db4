"""Subscriptions through HTTP, delivered by the platform's own worker to receivers of the test."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.gateway.conftest import bearer
from tests.receiver import Receiver, answer


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


async def subscribe(client: httpx.AsyncClient, path: str, url: str, *events: str, **more: Any) -> dict[str, Any]:
    body = {"url": url, "events": list(events) or ["*"], **more}
    made = await client.post(f"{path}/subscriptions", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def cancel_a_job(client: httpx.AsyncClient, path: str, **more: Any) -> str:
    """A job that ends: no node is there, so it waits until it is canceled."""
    made = await client.post(f"{path}/jobs", json={"function": "text.count", "payload": {"secret": "s"}, **more})
    assert made.status_code == 202, made.text
    gone = await client.post(f"{path}/jobs/{made.json()['id']}/cancel")
    assert gone.status_code in (200, 202), gone.text
    return str(made.json()["id"])


async def settled(
    client: httpx.AsyncClient, path: str, check: Callable[[list[Any]], bool], seconds: float = 60, **query: Any
) -> list[Any]:
    """The list of deliveries once the check holds: there is no signal for what the worker has written down."""
    async with asyncio.timeout(seconds):
        while True:
            found = await client.get(path, params=query)
            assert found.status_code == 200, found.text
            if check(found.json()["items"]):
                return list(found.json()["items"])
            await asyncio.sleep(0.05)


async def test_the_end_of_a_job_is_delivered_signed(client, environment, receiver) -> None:
    """Standard Webhooks headers, a signature that the library accepts, the job's metadata, never its payload."""
    made = await subscribe(client, environment.path, receiver.url, "job.*", description="for the tests")
    job = await cancel_a_job(client, environment.path, labels={"order": "A-17"}, tags=["gpu"])
    (got,) = await receiver.until(1)
    got.verify(made["secret"])
    assert got.id == job
    assert got.headers["content-type"] == "application/json"
    shown = (await client.get(f"{environment.path}/jobs/{job}")).json()
    event = got.event
    assert (event["type"], event["timestamp"]) == ("job.canceled", shown["finished_at"])
    data = dict(event["data"])
    assert data.pop("environment_id") == environment.id
    assert data.pop("error") is None
    for name in ("trigger_id", "replay_of"):
        assert data.pop(name) is None
    assert data == {name: shown[name] for name in data}
    assert {"id", "function", "state", "attempt", "labels", "tags"} <= set(data)
    assert "payload" not in data
    assert "result" not in data
    path = f"{environment.path}/subscriptions/{made['id']}/deliveries"
    (delivery,) = await settled(client, path, lambda items: items and items[0]["state"] == "delivered")
    detail = (await client.get(f"{path}/{delivery['id']}")).json()
    assert detail["request"]["body"] == event
    (attempt,) = detail["tries"]
    assert (attempt["number"], attempt["status"], attempt["response"]["body"]) == (1, 200, "ok")
    assert attempt["duration_ms"] >= 0


async def test_a_subscription_gets_the_events_that_it_names_and_no_others(client, environment, receiver) -> None:
    """Of a noun, by name, everything; a job's end that nobody asked for makes no delivery."""
    async with Receiver() as other:
        await subscribe(client, environment.path, receiver.url, "job.canceled")
        deaf = await subscribe(client, environment.path, other.url, "job.completed", "environment.*")
        job = await cancel_a_job(client, environment.path)
        assert (await receiver.until(1))[0].id == job
        deliveries = await client.get(f"{environment.path}/subscriptions/{deaf['id']}/deliveries")
        assert deliveries.json()["items"] == []


async def test_suspending_and_resuming_an_environment_is_told(client, environment, receiver) -> None:
    """environment.suspended and environment.resumed, with what the status was before, in their order."""
    made = await subscribe(client, environment.path, receiver.url, "environment.*")
    for word in ("suspend", "resume"):
        answered = await client.post(f"{environment.path}/{word}")
        assert answered.status_code == 202, answered.text
    got = await receiver.until(2)
    by_type = {one.event["type"]: one for one in got}
    assert set(by_type) == {"environment.suspended", "environment.resumed"}
    for one in got:
        one.verify(made["secret"])
    data = by_type["environment.suspended"].event["data"]
    assert (data["environment_id"], data["status"], data["previous_status"]) == (environment.id, "suspended", "ready")


async def test_both_secrets_sign_while_one_is_rotated(client, environment, receiver) -> None:
    """Two signatures until the overlap is over, the new one first; with an overlap of 0 the old one ends at once."""
    made = await subscribe(client, environment.path, receiver.url)
    path = f"{environment.path}/subscriptions/{made['id']}"
    rotated = (await client.post(f"{path}/rotate-secret", json={"overlap_seconds": 60})).json()
    assert rotated["secret"] != made["secret"]
    assert (await client.post(f"{path}/test")).status_code == 202
    (got,) = await receiver.until(1)
    assert len(got.headers["webhook-signature"].split()) == 2
    got.verify(made["secret"])
    got.verify(rotated["secret"])
    last = (await client.post(f"{path}/rotate-secret", json={"overlap_seconds": 0})).json()
    assert (await client.post(f"{path}/test")).status_code == 202
    newest = (await receiver.until(2))[1]
    newest.verify(last["secret"])
    for old in (made["secret"], rotated["secret"]):
        with pytest.raises(WebhookVerificationError):
            newest.verify(old)


async def test_the_secret_is_shown_once_and_is_sealed(client, environment, receiver, platform) -> None:
    """Neither reading nor listing shows it, and no row holds it in plain."""
    import asyncpg

    made = await subscribe(client, environment.path, receiver.url)
    assert made["secret"].startswith("whsec_")
    for path in ("", f"/{made['id']}"):
        assert "whsec_" not in (await client.get(f"{environment.path}/subscriptions{path}")).text
    connection = await asyncpg.connect(platform.database_url("waypost_worker"))
    try:
        rows = await connection.fetch(
            "select sealed from control.subscription_secret where subscription_id = $1", made["id"]
        )
    finally:
        await connection.close()
    assert len(rows) == 1
    assert made["secret"].encode() not in bytes(rows[0]["sealed"])


async def test_a_delivery_is_sent_again_with_its_id_and_body(client, environment, receiver) -> None:
    """Redelivery by hand: same webhook-id, same body, one more attempt in the record; once for an Idempotency-Key."""
    made = await subscribe(client, environment.path, receiver.url)
    await cancel_a_job(client, environment.path)
    await receiver.until(1)
    path = f"{environment.path}/subscriptions/{made['id']}/deliveries"
    (delivery,) = await settled(client, path, lambda items: items and items[0]["state"] == "delivered")
    key = {"Idempotency-Key": secrets.token_hex(8)}
    for _ in range(2):
        again = await client.post(f"{path}/{delivery['id']}/redeliver", headers=key)
        assert again.status_code == 202, again.text
    first, second = await receiver.until(2)
    assert (first.id, first.body) == (second.id, second.body)
    await settled(client, path, lambda items: items[0]["attempts"] == 2 and items[0]["state"] == "delivered")
    assert len(receiver.requests) == 2


async def test_a_range_of_time_is_replayed_once_for_a_key(client, environment, receiver) -> None:
    """Every delivery of the range goes out again, of the state that was asked for; the key makes it happen once."""
    made = await subscribe(client, environment.path, receiver.url)
    began = datetime.now(UTC) - timedelta(seconds=5)
    jobs = {await cancel_a_job(client, environment.path) for _ in range(3)}
    await receiver.until(3)
    path = f"{environment.path}/subscriptions/{made['id']}/deliveries"
    await settled(client, path, lambda items: [one["state"] for one in items] == ["delivered"] * 3)
    body = {"from": began.isoformat(), "to": (began + timedelta(minutes=1)).isoformat()}
    failed = await client.post(f"{path}/replay", json=body | {"state": "failed"})
    assert (failed.status_code, failed.json()) == (202, {"replayed": 0})
    key = {"Idempotency-Key": secrets.token_hex(8)}
    for _ in range(2):
        replayed = await client.post(f"{path}/replay", json=body, headers=key)
        assert (replayed.status_code, replayed.json()) == (202, {"replayed": 3})
    got = await receiver.until(6)
    assert {one.id for one in got[3:]} == jobs
    await settled(client, path, lambda items: [one["attempts"] for one in items] == [2] * 3)
    assert len(receiver.requests) == 6


async def test_deliveries_are_searched_by_state_event_and_time(client, environment, receiver) -> None:
    """Filters and pages; a word that is no state or event is refused."""
    made = await subscribe(client, environment.path, receiver.url)
    for _ in range(3):
        await cancel_a_job(client, environment.path)
    path = f"{environment.path}/subscriptions/{made['id']}/deliveries"
    assert (await client.post(f"{environment.path}/subscriptions/{made['id']}/test")).status_code == 202
    every = await settled(
        client, path, lambda items: len(items) == 4 and all(one["state"] == "delivered" for one in items)
    )

    async def count(**query: Any) -> int:
        found = await client.get(path, params=query)
        assert found.status_code == 200, found.text
        return len(found.json()["items"])

    assert await count(event="job.canceled") == 3
    assert await count(event=["job.canceled", "subscription.test"], state="delivered") == 4
    assert await count(state="failed") == 0
    assert await count(**{"from": datetime.now(UTC).isoformat()}) == 0
    assert await count(to=datetime.now(UTC).isoformat()) == 4
    assert [await count(event_id=one["event_id"]) for one in every] == [1] * 4
    assert await count(event_id=every[0]["event_id"], event="job.failed") == 0
    assert await count(event_id=made["id"]) == 0
    page = (await client.get(path, params={"limit": 3})).json()
    rest = (await client.get(path, params={"limit": 3, "cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == [one["id"] for one in every]
    other = await client.get(path, params={"limit": 3, "cursor": page["next_cursor"], "state": "failed"})
    assert other.json()["code"] == "invalid_cursor"
    for wrong in ({"state": "lost"}, {"event": "job.started"}, {"from": "yesterday"}, {"event_id": "x"}):
        assert (await client.get(path, params=wrong)).status_code == 422


async def test_a_viewer_sees_that_something_was_delivered_and_not_what(client, environment, receiver, make_key) -> None:
    """Requests and answers are bodies: they need OperateEnvironment (decision 22)."""
    made = await subscribe(client, environment.path, receiver.url)
    await cancel_a_job(client, environment.path)
    path = f"{environment.path}/subscriptions/{made['id']}/deliveries"
    (delivery,) = await settled(client, path, lambda items: items and items[0]["state"] == "delivered")
    viewer = await make_key(environment.path, "viewer")
    shown = (await client.get(f"{path}/{delivery['id']}", headers=bearer(viewer["key"]))).json()
    assert "request" not in shown
    assert "response" not in shown["tries"][0]
    assert shown["tries"][0]["status"] == 200


async def test_a_disabled_subscription_gets_nothing_until_it_is_enabled(client, environment, receiver) -> None:
    """What happens meanwhile is not delivered later; test and redelivery are refused."""
    made = await subscribe(client, environment.path, receiver.url)
    path = f"{environment.path}/subscriptions/{made['id']}"
    off = (await client.patch(path, json={"enabled": False})).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "asked")
    assert (await client.post(f"{path}/test")).json()["code"] == "subscription_disabled"
    async with Receiver() as other:
        await subscribe(client, environment.path, other.url)
        await cancel_a_job(client, environment.path)
        await other.until(1)  # so the fan-out has seen the job
    on = (await client.patch(path, json={"enabled": True})).json()
    assert (on["enabled"], on["disabled_reason"]) == (True, None)
    job = await cancel_a_job(client, environment.path)
    assert (await receiver.until(1))[0].id == job


async def test_changes_need_the_tag_that_was_seen(client, environment, receiver) -> None:
    """ETag and If-Match on PATCH, DELETE and rotation."""
    made = await subscribe(client, environment.path, receiver.url)
    path = f"{environment.path}/subscriptions/{made['id']}"
    seen = {"If-Match": (await client.get(path)).headers["etag"]}
    assert (await client.patch(path, json={"events": ["job.failed"]}, headers=seen)).status_code == 200
    for method, where in (("PATCH", path), ("DELETE", path), ("POST", f"{path}/rotate-secret")):
        late = await client.request(method, where, json={} if method != "DELETE" else None, headers=seen)
        assert late.status_code == 412, (method, late.text)
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("url", "ftp://example.com/", "invalid_url"),
        ("url", "https://", "invalid_url"),
        ("url", "https://user:password@example.com/", "invalid_url"),
        ("url", "https://example.com@127.0.0.1/", "invalid_url"),
        ("url", "https://example.com/#part", "invalid_url"),
        ("url", "https://example.com:99999/", "invalid_url"),
        ("url", "https://example.com/a b", "invalid_url"),
        ("url", "https://example.com\\@127.0.0.1/", "invalid_url"),
        ("url", "https://example.com/\r\nx: y", "invalid_url"),
        ("url", "https://example.com/" + "x" * 2_048, "invalid_url"),
        ("events", [], "out_of_range"),
        ("events", ["job.started"], "unknown_event"),
        ("events", ["job.*.x"], "unknown_event"),
        ("events", ["*"] * 33, "out_of_range"),
        ("description", "x" * 1_001, "too_long"),
        ("secret", "whsec_AAAA", "unknown_field"),
    ],
)
async def test_what_cannot_be_subscribed_is_refused(client, shared_environment, field, value, code) -> None:
    """422 that names the field; nothing is kept."""
    body: dict[str, Any] = {"url": "https://example.com/", "events": ["*"]} | {field: value}
    refused = await client.post(f"{shared_environment.path}/subscriptions", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text


async def test_there_are_at_most_a_hundred_subscriptions(client, environment) -> None:
    """The hundred and first is refused, with the limit."""
    body = {"url": "https://example.com/", "events": ["job.failed"]}
    made = [await client.post(f"{environment.path}/subscriptions", json=body) for _ in range(101)]
    assert [one.status_code for one in made] == [201] * 100 + [409]
    assert made[-1].json()["code"] == "quota_exceeded"


async def test_an_answer_is_kept_up_to_sixteen_kibibytes(client, environment, receiver) -> None:
    """Its headers, the beginning of its body, and that there was more."""
    receiver.behave = answer(200, b"y" * 40_000, x_shard="7")
    made = await subscribe(client, environment.path, receiver.url)
    path = f"{environment.path}/subscriptions/{made['id']}"
    delivery = (await client.post(f"{path}/test")).json()
    await settled(client, f"{path}/deliveries", lambda items: items[0]["state"] == "delivered")
    (attempt,) = (await client.get(f"{path}/deliveries/{delivery['id']}")).json()["tries"]
    assert attempt["response"]["body"] == "y" * 16_384
    assert attempt["response"]["truncated"]
    assert ["x-shard", "7"] in attempt["response"]["headers"]


async def test_an_environment_that_goes_leaves_nothing(client, environment, receiver, platform) -> None:
    """Subscriptions, secrets, deliveries, attempts and what waits in the queue are gone at the end of its deletion."""
    import asyncpg

    receiver.behave = answer(500)
    made = await subscribe(client, environment.path, receiver.url)
    await cancel_a_job(client, environment.path)
    path = f"{environment.path}/subscriptions/{made['id']}/deliveries"
    await settled(client, path, lambda items: items and items[0]["attempts"] >= 1)
    assert (await client.delete(environment.path)).status_code == 202
    async with asyncio.timeout(30):
        while (await client.get(environment.path)).status_code != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    tables = (
        "subscription",
        "subscription_secret",
        "delivery",
        "delivery_queue",
        "delivery_attempt",
        "environment_event",
    )
    connection = await asyncpg.connect(platform.database_url("waypost_worker"))
    try:
        for table in tables:
            text = f"select count(*) from control.{table} where environment_id = $1"  # noqa: S608 -- from above
            assert await connection.fetchval(text, environment.id) == 0, table
    finally:
        await connection.close()
