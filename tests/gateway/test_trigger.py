"""Triggers over HTTP: made, read, changed, paused, tested, deleted; and what of it is refused, where and why."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.gateway.conftest import MakeKey, bearer
from tests.gateway.hook_ground import make_hook
from waypost.ids import new_id

JOB = {"function": "clock.tick", "tags": ["linux"], "retry": {"max_attempts": 2}}
WEBHOOK = {"kind": "webhook", "name": "pushes", "job": JOB, "verify": {"scheme": "github"}}
SCHEDULE = {
    "kind": "schedule", "name": "nightly", "job": JOB,
    "schedule": {"cron": "30 3 * * *", "timezone": "Europe/Helsinki"},
}  # fmt: skip

WRONG_CHANGES = [
    ({"kind": "schedule"}, "/kind"),
    ({"secret": "x" * 20}, "/secret"),
    ({"verify": {"scheme": "slack"}}, "/verify/scheme"),
    ({"overlap": "skip"}, "/overlap"),
]


async def made(client: httpx.AsyncClient, environment: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(f"{environment}/triggers", json=body)
    assert answer.status_code == 201, answer.text
    assert (await client.get(answer.headers["location"])).json()["id"] == answer.json()["id"]
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


async def test_a_webhook_is_read_as_it_was_made(
    client: httpx.AsyncClient, shared_environment: Any, platform: Any
) -> None:
    """Its door, its scheme, its defaults, its job; the secret the first time alone."""
    path = shared_environment.path
    one = await made(client, path, WEBHOOK)
    assert one["url"] == f"{platform.api_url}/hooks/{one['id']}"
    assert (one["state"], one["rate_per_second"], one["filter"], one["map"]) == ("active", 1000, None, None)
    assert one["verify"] == {"scheme": "github"}
    assert one["job"]["function"] == "clock.tick"
    assert one["job"]["tags"] == ["linux"]
    assert len(one.pop("secret")) == 64
    assert (await client.get(f"{path}/triggers/{one['id']}")).json() == one


async def test_a_schedule_says_when_it_fires_next(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """Five due times, in UTC, of half past three in Helsinki; defaults spelled out; no secret."""
    one = await made(client, shared_environment.path, SCHEDULE)
    due = [datetime.fromisoformat(text) for text in one["next_fire_times"]]
    assert len(due) == 5
    assert due == sorted(due)
    assert due[0] > datetime.now(UTC)
    local = [at.astimezone(ZoneInfo("Europe/Helsinki")) for at in due]
    assert {(at.hour, at.minute) for at in local} <= {(3, 30), (4, 0)}  # at four on the day that has no half past three
    assert (one["overlap"], one["catch_up"], one["jitter_seconds"]) == ("allow", "none", 0)
    assert "secret" not in one
    rotated = await client.post(f"{shared_environment.path}/triggers/{one['id']}/rotate-secret", json={})
    assert (rotated.status_code, rotated.json()["code"]) == (409, "no_secret")


async def test_triggers_are_listed_newest_first_by_kind_and_page(client: httpx.AsyncClient, environment: Any) -> None:
    """With a cursor; of another environment nothing."""
    ids = [(await made(client, environment.path, body))["id"] for body in (WEBHOOK, SCHEDULE, WEBHOOK)]
    page = (await client.get(f"{environment.path}/triggers", params={"limit": 2})).json()
    rest = (await client.get(f"{environment.path}/triggers", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == ids[::-1]
    found = (await client.get(f"{environment.path}/triggers", params={"kind": "schedule"})).json()["items"]
    assert [one["id"] for one in found] == [ids[1]]
    assert (await client.get(f"{environment.path}/triggers", params={"kind": "clock"})).status_code == 422


async def test_a_change_is_checked_and_matched(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """What is left out stays, null is the default again; with If-Match only the version that was read."""
    one = await made(client, shared_environment.path, WEBHOOK | {"filter": "body.a", "rate_per_second": 5})
    path = f"{shared_environment.path}/triggers/{one['id']}"
    tag = (await client.get(path)).headers["etag"]
    changed = await client.patch(path, json={"name": "tags", "filter": None}, headers={"If-Match": tag})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["filter"], changed.json()["rate_per_second"]) == ("tags", None, 5)
    assert (await client.patch(path, json={"name": "x"}, headers={"If-Match": tag})).status_code == 412
    for body, pointer in WRONG_CHANGES:
        answer = await client.patch(path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, pointer), answer.text


async def test_a_schedule_that_is_changed_is_due_anew(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """From its new settings; paused it makes no job although it is due each second, resumed it goes on from now."""
    one = await made(client, shared_environment.path, SCHEDULE)
    path = f"{shared_environment.path}/triggers/{one['id']}"
    changed = (await client.patch(path, json={"schedule": {"every_seconds": 1}})).json()
    assert datetime.fromisoformat(changed["next_fire_times"][0]) - datetime.now(UTC) <= timedelta(seconds=1.1)
    await _fired(client, path, 1)
    assert (await client.post(f"{path}/pause")).json()["paused_by"].startswith("key:")
    paused = (await client.get(f"{path}/firings")).json()["items"]
    await asyncio.sleep(1.3)
    left = (await client.get(f"{path}/firings")).json()["items"]
    assert len(left) - len(paused) <= 1  # one may have been under way
    assert (await client.post(f"{path}/resume")).json()["state"] == "active"
    firings = await _fired(client, path, len(left) + 1)
    assert {firing["outcome"] for firing in firings} == {"accepted"}
    job = (await client.get(f"{shared_environment.path}/jobs/{firings[0]['job_id']}")).json()
    assert job["payload"]["trigger_id"] == one["id"]
    told = [datetime.fromisoformat(text) for text in (job["payload"]["due_at"], firings[0]["due_at"])]
    assert told[0] == told[1]
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def _fired(client: httpx.AsyncClient, path: str, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while True:
            items = (await client.get(f"{path}/firings")).json()["items"]
            if len(items) >= count:
                return list(items)
            await asyncio.sleep(0.05)


async def test_a_test_fires_once_with_what_it_is_given(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """Through filter and map, without a signature; its firing says that it was a test; a key makes it one job."""
    hook = await make_hook(
        client, shared_environment.path, filter="body.n > `1`", map='{n: body.n, kind: headers."x-kind", q: query.a}'
    )
    body = {"body": {"n": 2.50}, "headers": {"X-Kind": "k"}, "query": {"a": "1"}}
    answers = [await client.post(f"{hook.path}/test", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["payload"] == {"n": 2.5, "kind": "k", "q": "1"}
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotent-replayed"] == "true"
    job = await hook.job(answers[0])
    assert job["trigger_id"] == hook.id
    assert job["submitted_by"].startswith("key:")
    filtered = await client.post(f"{hook.path}/test", json={"body": {"n": 1}})
    assert (filtered.status_code, filtered.json()) == (200, {"outcome": "filtered", "job_id": None, "payload": None})
    details = {firing["outcome"]: firing["detail"] for firing in await hook.firings(2, written=False)}
    assert set(details) == {"accepted", "filtered"}


async def test_a_preview_says_when_it_would_fire_and_keeps_nothing(
    client: httpx.AsyncClient, environment: Any, make_key: MakeKey
) -> None:
    """The same five times as the schedule that is made then; of a period those of the trigger that it is to be of."""
    viewer = bearer((await make_key(environment.path, "viewer"))["key"])
    path = f"{environment.path}/triggers"
    settings = {"kind": "schedule", "schedule": SCHEDULE["schedule"], "overlap": "skip"}
    shown = await client.post(f"{path}/preview", json=settings, headers=viewer)
    assert shown.status_code == 200, shown.text
    assert (await client.get(path)).json()["items"] == []
    own = await made(client, environment.path, SCHEDULE)
    assert shown.json() == {"next_fire_times": own["next_fire_times"]}
    every = {"kind": "schedule", "schedule": {"every_seconds": 86_400}}
    of_it = (await client.post(f"{path}/preview", json=every | {"trigger_id": own["id"]})).json()["next_fire_times"]
    made_at = datetime.fromisoformat(own["created_at"])
    assert abs(datetime.fromisoformat(of_it[0]) - made_at - timedelta(days=1)) < timedelta(milliseconds=1)
    webhook = {"kind": "webhook", "verify": {"scheme": "github"}, "filter": "body.ref == 'main'"}
    assert (await client.post(f"{path}/preview", json=webhook)).json() == {"next_fire_times": []}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "schedule"}, "/schedule"),
        ({"kind": "schedule", "schedule": {"cron": "61 * * * *"}}, "/schedule/cron"),
        ({"kind": "schedule", "schedule": {"cron": "0 0 30 2 *"}}, "/schedule/cron"),
        ({"kind": "schedule", "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Nowhere"}}, "/schedule/timezone"),
        ({"kind": "schedule", "schedule": {"every_seconds": 60}, "overlap": "never"}, "/overlap"),
        ({"kind": "webhook", "verify": {"scheme": "github"}, "map": "{"}, "/map"),
        ({"kind": "schedule", "schedule": {"every_seconds": 60}, "name": "x"}, "/name"),
        ({"kind": "schedule", "schedule": {"every_seconds": 60}, "trigger_id": "x"}, "/trigger_id"),
        ({"kind": "schedule", "schedule": {"every_seconds": 60}, "trigger_id": str(new_id())}, "/trigger_id"),
    ],
)
async def test_a_preview_names_the_fault_where_it_lies(
    client: httpx.AsyncClient, shared_environment: Any, body: dict[str, Any], pointer: str
) -> None:
    """As creating one with these settings would."""
    answer = await client.post(f"{shared_environment.path}/triggers/preview", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, pointer), answer.text


async def test_a_viewer_sees_triggers_and_starts_nothing(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey
) -> None:
    """Reading is ViewEnvironment, everything else OperateEnvironment."""
    hook = await make_hook(client, shared_environment.path)
    viewer = bearer((await make_key(shared_environment.path, "viewer"))["key"])
    for path in (hook.path, f"{hook.path}/firings"):
        assert (await client.get(path, headers=viewer)).status_code == 200
    for action in ("pause", "resume", "rotate-secret", "test"):
        assert (await client.post(f"{hook.path}/{action}", json={}, headers=viewer)).status_code == 403


def _with(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value != "gone"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (_with(WEBHOOK, kind="gone"), "/kind"),
        (_with(WEBHOOK, kind="cron"), "/kind"),
        (_with(WEBHOOK, name="gone"), "/name"),
        (_with(WEBHOOK, name=""), "/name"),
        (_with(WEBHOOK, job="gone"), "/job"),
        (_with(WEBHOOK, job={}), "/job/function"),
        (_with(WEBHOOK, job={"function": "f", "payload": 1}), "/job/payload"),
        (_with(WEBHOOK, job={"function": "f", "run_at": "2030-01-01T00:00:00Z"}), "/job/run_at"),
        (_with(WEBHOOK, job={"function": "f", "tags": ["=="]}), "/job/tags/0"),
        (_with(WEBHOOK, verify="gone"), "/verify"),
        (_with(WEBHOOK, verify={"scheme": "md5"}), "/verify/scheme"),
        (_with(WEBHOOK, verify={"scheme": "hmac"}), "/verify/header"),
        (_with(WEBHOOK, verify={"scheme": "hmac", "header": "a b"}), "/verify/header"),
        (_with(WEBHOOK, verify={"scheme": "hmac", "header": "x", "algorithm": "md5"}), "/verify/algorithm"),
        (_with(WEBHOOK, verify={"scheme": "github", "header": "x"}), "/verify/header"),
        (_with(WEBHOOK, verify={"scheme": "standard", "public_keys": ["whpk_x"]}), "/verify/public_keys/0"),
        (_with(WEBHOOK, verify={"scheme": "stripe"}), "/secret"),
        (_with(WEBHOOK, verify={"scheme": "slack"}, secret="short"), "/secret"),
        (
            _with(WEBHOOK, verify={"scheme": "stripe", "delivery_header": "x"}, secret="s" * 20),
            "/verify/delivery_header",
        ),
        (_with(WEBHOOK, filter="body["), "/filter"),
        (_with(WEBHOOK, map="nothing_like_it(@)"), "/map"),
        (_with(WEBHOOK, map="a" * 4097), "/map"),
        (_with(WEBHOOK, rate_per_second=0), "/rate_per_second"),
        (_with(WEBHOOK, overlap="skip"), "/overlap"),
        (_with(SCHEDULE, schedule="gone"), "/schedule"),
        (_with(SCHEDULE, schedule={}), "/schedule"),
        (_with(SCHEDULE, schedule={"cron": "* * * *"}), "/schedule/cron"),
        (_with(SCHEDULE, schedule={"cron": "60 * * * *"}), "/schedule/cron"),
        (_with(SCHEDULE, schedule={"cron": "0 0 30 2 *"}), "/schedule/cron"),
        (_with(SCHEDULE, schedule={"cron": "* * * * *", "timezone": "Mars/Olympus"}), "/schedule/timezone"),
        (_with(SCHEDULE, schedule={"every_seconds": 0}), "/schedule/every_seconds"),
        (_with(SCHEDULE, schedule={"every_seconds": 1, "cron": "* * * * *"}), "/schedule/every_seconds"),
        (_with(SCHEDULE, overlap="queue"), "/overlap"),
        (_with(SCHEDULE, catch_up="first"), "/catch_up"),
        (_with(SCHEDULE, jitter_seconds=3601), "/jitter_seconds"),
        (_with(SCHEDULE, secret="s" * 20), "/secret"),
        (_with(SCHEDULE, filter="body"), "/filter"),
    ],
)
async def test_what_cannot_be_a_trigger_is_refused_where_it_is_wrong(
    client: httpx.AsyncClient, shared_environment: Any, body: dict[str, Any], pointer: str
) -> None:
    """422 with a pointer to the field, and nothing is made."""
    answer = await client.post(f"{shared_environment.path}/triggers", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"] == pointer, answer.text


async def test_a_rotation_is_refused_what_it_cannot_do(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """A month at most; Stripe's secret must be given; given ones are not shown again."""
    hook = await make_hook(client, shared_environment.path, "stripe")
    for body, pointer in (({}, "/secret"), ({"secret": "s" * 20, "overlap_seconds": 2_592_001}, "/overlap_seconds")):
        answer = await client.post(f"{hook.path}/rotate-secret", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, pointer)
    rotated = await client.post(f"{hook.path}/rotate-secret", json={"secret": "whsec_given_by_stripe"})
    assert rotated.status_code == 200
    assert "whsec_given" not in rotated.text
