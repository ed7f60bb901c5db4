"""The public door of webhook triggers: who gets in, what becomes of it, and what is said to those who do not."""

import asyncio
import gzip
import json
import secrets
import time
from typing import Any

import asyncpg
import httpx
import pytest

from tests.gateway.hook_ground import Hook, make_hook
from waypost.trigger.model import MAX_BODY_BYTES

SCHEMES = ("standard", "github", "stripe", "slack", "hmac", "bearer")
NEVER = "01990000-0000-7000-8000-000000000000"


@pytest.fixture
async def hook(client: httpx.AsyncClient, shared_environment: Any) -> Hook:
    """A webhook of Standard Webhooks, of the test's own."""
    return await make_hook(client, shared_environment.path)


# --- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_signed_webhook_makes_a_job(client: httpx.AsyncClient, shared_environment: Any, scheme: str) -> None:
    """`202 {"job_id"}`; the job has the trigger's id and the payload that the request makes."""
    hook = await make_hook(client, shared_environment.path, scheme)
    answer = await hook.send(b'{"id":"evt_1","amount":12.50}', query="?a=1&b=x%20y&b=z")
    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"job_id"}
    job = await hook.job(answer)
    assert job["trigger_id"] == hook.id
    assert job["submitted_by"] == f"trigger:{hook.id}"
    assert job["payload"]["query"] == {"a": "1", "b": ["x y", "z"]}
    assert job["payload"]["body"] == {"id": "evt_1", "amount": 12.5}
    listed = (await client.get(f"{hook.environment}/jobs", params={"trigger_id": hook.id})).json()["items"]
    assert [one["id"] for one in listed] == [job["id"]]


@pytest.mark.parametrize("query", ["", "?a=1"])
async def test_numbers_of_a_body_reach_the_job_as_they_were_written(hook: Hook, query: str) -> None:
    """Neither way through the gateway reads them as floats."""
    answer = await hook.send(b'{"price": 12.50, "big": 12345678901234567890123.10}', query=query)
    raw = (await hook.client.get(f"{hook.environment}/jobs/{answer.json()['job_id']}")).text
    assert '"price": 12.50, "big": 12345678901234567890123.10' in raw


async def refusal(answer: httpx.Response) -> dict[str, Any]:
    """What was said, without what differs by request."""
    said = answer.json()
    return {name: value for name, value in said.items() if name not in ("request_id", "instance")}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_wrong_signature_is_401_and_nothing_else_is_said(
    client: httpx.AsyncClient, shared_environment: Any, scheme: str
) -> None:
    """Wrong, missing, truncated, of another body: the same answer, which names neither scheme nor trigger."""
    hook = await make_hook(client, shared_environment.path, scheme)
    body = b'{"id":"evt_1"}'
    name = {
        "standard": "webhook-signature", "github": "x-hub-signature-256", "stripe": "stripe-signature",
        "slack": "x-slack-signature", "hmac": "x-signature", "bearer": "authorization",
    }[scheme]  # fmt: skip
    other = Hook(client, hook.environment, hook.id, scheme, _other_secret(hook), {})
    answers = [
        await hook.send(body, headers={name: None}),
        await hook.send(body, headers={name: ""}),
        await hook.send(body, headers={name: "x" * 5_000}),
        await other.send(body),
    ]
    said = [await refusal(answer) for answer in answers]
    assert [answer.status_code for answer in answers] == [401] * 4
    assert all(one == said[0] for one in said)
    assert scheme not in json.dumps(said[0])
    assert hook.id not in json.dumps(said[0])
    found = await hook.firings(4)
    assert {firing["outcome"] for firing in found} == {"bad_signature"}
    assert all(firing["job_id"] is None for firing in found)


def _other_secret(hook: Hook) -> str:
    return ("whsec_" + "A" * 43 + "=") if hook.scheme == "standard" else "f" * 64


@pytest.mark.parametrize("scheme", ["standard", "stripe", "slack"])
async def test_a_stale_request_is_refused_like_a_wrong_one(
    client: httpx.AsyncClient, shared_environment: Any, scheme: str
) -> None:
    """More than five minutes either way: 401 with the same words; its firing says stale. Within: taken."""
    hook = await make_hook(client, shared_environment.path, scheme)
    wrong = await refusal(await hook.send(b"{}", headers={"stripe-signature": "", "webhook-signature": "",
                                                          "x-slack-signature": ""}))  # fmt: skip
    for apart in (-302, 330):
        answer = await hook.send(b"{}", at=int(time.time()) + apart)
        assert (answer.status_code, await refusal(answer)) == (401, wrong)
    assert (await hook.send(b"{}", at=int(time.time()) - 270)).status_code == 202
    assert len(await hook.firings(2, outcome="stale")) == 2


async def test_an_unknown_trigger_is_404_whatever_is_sent(hook: Hook, client: httpx.AsyncClient) -> None:
    """Never made, no id at all, a schedule, and one that was deleted."""
    body = {"kind": "schedule", "name": "s", "job": {"function": "f"}, "schedule": {"cron": "0 0 1 1 *"}}
    schedule = (await client.post(f"{hook.environment}/triggers", json=body)).json()["id"]
    assert (await hook.send(b"{}")).status_code == 202
    assert (await client.delete(hook.path)).status_code == 204
    for identifier in (NEVER, "x", "..", schedule, hook.id):
        answer = await Hook(client, hook.environment, identifier, "standard", hook.secret, {}).send(b"{}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), identifier


# --- repeats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_repeat_answers_200_with_the_first_jobs_id(
    client: httpx.AsyncClient, shared_environment: Any, scheme: str
) -> None:
    """By the scheme's own delivery id, also when it is signed anew; the firing says duplicate and of which job."""
    verify = {"delivery_expression": "body.id"} if scheme == "bearer" else None
    hook = await make_hook(client, shared_environment.path, scheme, verify=verify)
    delivery, now = secrets.token_hex(8), int(time.time())
    body = {"id": delivery, "event_id": f"Ev{delivery}", "type": "event_callback"}
    first = await hook.send(body, delivery=delivery, at=now)
    again = await hook.send(body, delivery=delivery, at=now - 60)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json()
    (duplicate,) = await hook.firings(1, outcome="duplicate")
    assert duplicate["job_id"] == first.json()["job_id"]
    other = await hook.send(body | {"id": "x", "event_id": "y"}, delivery="another")
    assert (other.status_code, other.json() == first.json()) == (202, False)


async def test_repeats_at_the_same_moment_make_one_job(hook: Hook) -> None:
    """Twenty at once: one 202, nineteen 200, one id."""
    answers = await asyncio.gather(*(hook.send({"n": 1}, delivery="same") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["job_id"] for answer in answers}) == 1


async def test_a_delivery_is_remembered_for_24_hours(hook: Hook, platform: Any) -> None:
    """And then it is a new one; two triggers never share their memory."""
    other = await make_hook(hook.client, hook.environment)
    first = await hook.send({"n": 1}, delivery="daily")
    assert (await other.send({"n": 1}, delivery="daily")).status_code == 202
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    try:
        row = (f"hook:{hook.id}", "daily")
        left = await owner.fetchval(
            "select expires_at - now() from control.idempotency where scope = $1 and key = $2", *row
        )
        assert 86_000 < left.total_seconds() <= 86_400
        await owner.execute("update control.idempotency set expires_at = now() where scope = $1 and key = $2", *row)
    finally:
        await owner.close()
    later = await hook.send({"n": 1}, delivery="daily")
    assert later.status_code == 202
    assert later.json() != first.json()


# --- filter and map --------------------------------------------------------------------------------------------------


async def test_a_filter_lets_only_what_it_finds_true_become_a_job(
    client: httpx.AsyncClient, shared_environment: Any
) -> None:
    """The rest is 200 without a job, so that the sender does not repeat it, and a firing says filtered."""
    hook = await make_hook(client, shared_environment.path, filter="body.amount > `10` && headers.\"x-kind\" == 'a'")
    taken = await hook.send({"amount": 11}, headers={"X-Kind": "a"})
    left = [await hook.send({"amount": 11}, headers={"X-Kind": "b"}), await hook.send({"amount": 9})]
    assert taken.status_code == 202
    assert [(answer.status_code, answer.json()) for answer in left] == [(200, {"job_id": None})] * 2
    assert [firing["outcome"] for firing in await hook.firings(3)] == ["filtered", "filtered", "accepted"]


async def test_a_map_makes_the_payload(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """From headers, query and body; numbers that are only moved stay as they were written."""
    hook = await make_hook(
        client, shared_environment.path, map='{kind: headers."x-kind", page: query.page, prices: body.items[*].price}'
    )
    answer = await hook.send(b'{"items": [{"price": 1.10}, {"price": 2.00}]}', query="?page=3", headers={"X-Kind": "a"})
    raw = (await client.get(f"{hook.environment}/jobs/{answer.json()['job_id']}")).text
    assert '"payload":{"kind":"a","page":"3","prices":[1.10,2.00]}' in raw


async def test_an_expression_that_cannot_cope_refuses_and_says_why(
    client: httpx.AsyncClient, shared_environment: Any
) -> None:
    """422 to a sender that is genuine; the firing has the reason."""
    hook = await make_hook(client, shared_environment.path, map="sum(body.items)")
    answer = await hook.send({"items": ["a"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "expression_failed")
    (firing,) = await hook.firings(1)
    assert (firing["outcome"], firing["job_id"]) == ("refused", None)
    assert firing["detail"].startswith("expression_failed: The expression 'sum(body.items)'")


async def test_an_expression_that_explodes_delays_nobody(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """It is stopped by its budget, in a thread of its own; webhooks beside it are answered meanwhile."""
    doubling = "body" + " | [@, @]" * 40
    bomb = await make_hook(client, shared_environment.path, map=doubling)
    plain = await make_hook(client, shared_environment.path)
    fuse = asyncio.gather(*(bomb.send({"a": 1}) for _ in range(4)))
    beside = [await plain.send({"n": n}) for n in range(5)]
    assert [answer.status_code for answer in beside] == [202] * 5
    assert {(one.status_code, one.json()["code"]) for one in await fuse} == {(422, "expression_too_expensive")}


# --- bodies ----------------------------------------------------------------------------------------------------------


async def test_a_body_over_the_cap_is_refused_before_it_is_read(hook: Hook, platform: Any) -> None:
    """One byte too many, announced: 413 although nothing of the body was sent. Unannounced: 413 when it gets there."""
    host, _, port = platform.api_url.removeprefix("http://").partition(":")
    for query in (b"", b"?a=1"):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = b"POST /hooks/%s%s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (hook.id.encode(), query, MAX_BODY_BYTES + 1))
        async with asyncio.timeout(30):
            assert (await reader.readline()).split()[1] == b"413"
        writer.close()

    async def endless() -> Any:
        for _ in range(MAX_BODY_BYTES // 65_536 + 1):
            yield b"x" * 65_536

    async with httpx.AsyncClient(timeout=30) as sender:
        answer = await sender.post(f"{platform.api_url}/hooks/{hook.id}", content=endless())
    assert answer.status_code == 413
    assert answer.json()["code"] == "payload_too_large"


async def test_a_large_body_becomes_a_job(hook: Hook) -> None:
    """Larger than what the ledger keeps inline: it goes through the bucket and comes back whole."""
    text = "y" * 700_000
    answer = await hook.send({"text": text})
    assert answer.status_code == 202, answer.text
    assert (await hook.job(answer))["payload"]["body"]["text"] == text


async def test_a_compressed_body_is_not_unpacked(hook: Hook) -> None:
    """A bomb of a gigabyte costs nobody anything: 415, and the firing says why."""
    bomb = gzip.compress(b"0" * (8 << 20))
    answer = await hook.send(bomb, headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")
    assert (await hook.firings(1))[0]["outcome"] == "refused"


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("text/plain", b"hello", {"body": "hello"}),
        ("application/x-www-form-urlencoded", b"a=1&b=2", {"body": "a=1&b=2"}),
        ("application/octet-stream", b"\xff\x00", {"body": "/wA=", "encoding": "base64"}),
        ("application/cloudevents+json; charset=utf-8", b'{"a":1}', {"body": {"a": 1}}),
        (None, b'{"a":1}', {"body": {"a": 1}}),
        ("application/json", b"", {"body": None}),
    ],
)
async def test_any_kind_of_body_becomes_json(
    hook: Hook, kind: str | None, body: bytes, expected: dict[str, Any]
) -> None:
    """JSON as it is, text as text, other bytes in base64 with a word beside."""
    payload = (await hook.job(await hook.send(body, headers={"content-type": kind})))["payload"]
    assert {name: payload[name] for name in ("body", "encoding") if name in payload} == expected


@pytest.mark.parametrize("body", [b"{", b'{"a":1}{"b":2}', b"\xff", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"])
async def test_what_says_it_is_json_and_is_none_is_refused(hook: Hook, body: bytes) -> None:
    """400 or 422 to the sender, and a firing with the reason."""
    answer = await hook.send(body)
    assert answer.status_code in (400, 422), answer.text
    (firing,) = await hook.firings(1)
    assert firing["outcome"] == "refused"
    assert firing["detail"].startswith(answer.json()["code"])


# --- rates, secrets, pauses ------------------------------------------------------------------------------------------


async def test_a_rate_is_the_triggers_own(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """Over it 429 with Retry-After; a trigger beside it has its own."""
    slow = await make_hook(client, shared_environment.path, rate_per_second=1)
    other = await make_hook(client, shared_environment.path)
    answers = [await slow.send({"n": n}) for n in range(30)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert answers[0].status_code == 202
    assert int(limited[0].headers["retry-after"]) >= 1
    assert (await other.send({})).status_code == 202
    assert (await slow.firings(1, outcome="refused"))[0]["detail"].startswith(limited[0].json()["code"])


async def test_a_flood_of_wrong_signatures_is_written_at_a_bounded_rate(hook: Hook) -> None:
    """Anybody can send them; a hundred and ten a second are kept of three hundred, all are refused."""
    url = f"{hook.client.base_url}/hooks/{hook.id}".replace("//hooks", "/hooks")
    began = time.monotonic()
    async with httpx.AsyncClient(timeout=30) as sender:
        answers = [await sender.post(url, content=b"{}") for _ in range(300)]
    taken_seconds = time.monotonic() - began
    assert {answer.status_code for answer in answers} == {401}
    await hook.send({"n": 1})
    await hook.firings(1, outcome="accepted")
    kept, cursor = 0, None
    while True:
        query = {"outcome": "bad_signature", "limit": 200} | ({"cursor": cursor} if cursor else {})
        page = (await hook.client.get(f"{hook.path}/firings", params=query)).json()
        kept, cursor = kept + len(page["items"]), page["next_cursor"]
        if cursor is None:
            break
    assert 100 <= kept <= 100 + 10 * taken_seconds


async def test_two_secrets_are_valid_while_they_are_rotated(hook: Hook) -> None:
    """Both at first; when the old one's time is over it is refused at once, by every gateway."""
    old = hook.secret
    rotated = await hook.client.post(f"{hook.path}/rotate-secret", json={"overlap_seconds": 3600})
    assert rotated.status_code == 200
    new = rotated.json()["secret"]
    assert new != old
    for hook.secret in (old, new):
        assert (await hook.send({})).status_code == 202
    last = (await hook.client.post(f"{hook.path}/rotate-secret", json={"overlap_seconds": 0})).json()["secret"]
    for hook.secret, expected in ((old, 401), (new, 401), (last, 202)):
        assert (await hook.send({})).status_code == expected


async def test_a_secret_is_kept_sealed_and_shown_once(hook: Hook, platform: Any) -> None:
    """Not in what is read later, not in the database as it is, and no environment's role sees its row."""
    assert hook.secret.startswith("whsec_")
    for answer in (await hook.client.get(hook.path), await hook.client.get(f"{hook.environment}/triggers")):
        assert hook.secret not in answer.text
        assert '"secret"' not in answer.text
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    try:
        rows = await owner.fetch("select * from control.trigger_secret where trigger_id = $1::text::uuid", hook.id)
        allowed = await owner.fetchval(
            "select has_table_privilege('waypost_environment', 'control.trigger_secret', 'select')"
        )
    finally:
        await owner.close()
    assert len(rows) == 1
    assert hook.secret.encode() not in bytes(rows[0]["sealed"])
    assert allowed is False


async def test_every_gateway_hears_of_a_change_at_once(
    hook: Hook, own_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has the trigger in its cache; it is told when that is rotated, paused or gone."""
    monkeypatch.setattr(own_gateway.services.hooks._cache, "_seconds", 3_600)
    assert (await hook.send({}, door=own_gateway.url)).status_code == 202
    old = hook.secret
    hook.secret = (await hook.client.post(f"{hook.path}/rotate-secret", json={"overlap_seconds": 0})).json()["secret"]
    await _answers(hook, own_gateway.url, 202)
    hook.secret, new = old, hook.secret
    assert (await hook.send({}, door=own_gateway.url)).status_code == 401
    hook.secret = new
    await hook.client.post(f"{hook.path}/pause")
    await _answers(hook, own_gateway.url, 409)
    await hook.client.delete(hook.path)
    await _answers(hook, own_gateway.url, 404)


async def _answers(hook: Hook, door: str, status: int) -> None:
    """Return when the door answers so."""
    async with asyncio.timeout(30):
        while (await hook.send({}, door=door)).status_code != status:  # noqa: ASYNC110 (what is waited for is an answer)
            await asyncio.sleep(0.02)


async def test_a_suspended_environment_takes_no_webhook(client: httpx.AsyncClient, environment: Any) -> None:
    """409, and the firing says why; when it is resumed the door is open again."""
    hook = await make_hook(client, environment.path)
    assert (await hook.send({})).status_code == 202
    assert (await client.post(f"{environment.path}/suspend")).status_code == 202
    assert (await hook.send({})).status_code == 409
    assert (await hook.firings(1, outcome="refused"))[0]["detail"].startswith("environment_not_ready")
    while (await client.get(environment.path)).json()["status"] != "suspended":  # noqa: ASYNC110 (polled by contract)
        await asyncio.sleep(0.05)
    assert (await client.post(f"{environment.path}/resume")).status_code == 202
    await _answers(hook, "", 202)


async def test_a_paused_trigger_takes_nothing_until_it_is_resumed(hook: Hook) -> None:
    """409 to its sender with a firing; `/test` fires all the same."""
    assert (await hook.client.post(f"{hook.path}/pause")).json()["state"] == "paused"
    answer = await hook.send({})
    assert (answer.status_code, answer.json()["code"]) == (409, "trigger_paused")
    assert (await hook.firings(1))[0]["detail"].startswith("trigger_paused")
    assert (await hook.client.post(f"{hook.path}/test", json={"body": {}})).status_code == 202
    assert (await hook.client.post(f"{hook.path}/resume")).json()["state"] == "active"
    assert (await hook.send({})).status_code == 202


# --- what is kept of it ----------------------------------------------------------------------------------------------


async def test_firings_show_headers_with_everything_secret_masked(hook: Hook) -> None:
    """The signature, credentials, cookies; in the job's payload too."""
    sent = {
        "Authorization": "Basic c2VjcmV0", "Cookie": "session=1", "X-Api-Key": "abc", "X-Auth-Token": "def",
        "X-Kind": "plain",
    }  # fmt: skip
    answer = await hook.send({"n": 1}, headers=sent, delivery="shown")
    (firing,) = await hook.firings(1)
    for shown in (firing["headers"], (await hook.job(answer))["payload"]["headers"]):
        assert shown["x-kind"] == "plain"
        assert shown["webhook-id"] == "shown"
        masked = ("authorization", "cookie", "x-api-key", "x-auth-token", "webhook-signature")
        assert {shown[name] for name in masked} == {"***"}
    assert firing["id"] == firing["job_id"] == answer.json()["job_id"]
    assert firing["received_at"]
    assert "due_at" not in firing


async def test_firings_are_found_by_outcome_and_time_and_paged(hook: Hook) -> None:
    """Newest first; what is no outcome and no time is refused with a pointer."""
    for n in range(3):
        await hook.send({"n": n})
    await hook.send({}, headers={"webhook-signature": "v1,x"})
    found = await hook.firings(4)
    assert [one["outcome"] for one in found] == ["bad_signature", "accepted", "accepted", "accepted"]
    assert [one["id"] for one in await hook.firings(outcome=["accepted", "stale"])] == [one["id"] for one in found[1:]]
    assert await hook.firings(**{"from": "2100-01-01T00:00:00Z"}) == []
    assert len(await hook.firings(**{"from": found[3]["received_at"], "to": "2100-01-01T00:00:00Z"})) == 4
    first = (await hook.client.get(f"{hook.path}/firings", params={"limit": 3})).json()
    rest = (await hook.client.get(f"{hook.path}/firings", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == [one["id"] for one in found]
    assert rest["next_cursor"] is None
    for query in ({"outcome": "maybe"}, {"from": "yesterday"}):
        assert (await hook.client.get(f"{hook.path}/firings", params=query)).status_code == 422


async def test_an_accepted_firing_whose_row_was_lost_is_told_by_its_job(hook: Hook, platform: Any) -> None:
    """A gateway that dies within a fifth of a second loses the headers and nothing else."""
    answer = await hook.send({"n": 1})
    assert (await hook.firings(1))[0]["headers"]
    owner = await asyncpg.connect(platform.database_url("postgres"))
    try:
        gone = await owner.execute("delete from control.firing where trigger_id = $1::text::uuid", hook.id)
    finally:
        await owner.close()
    assert gone == "DELETE 1"
    (firing,) = await hook.firings(1, written=False)
    assert (firing["outcome"], firing["job_id"], firing["headers"]) == ("accepted", answer.json()["job_id"], None)
