"""Usage over HTTP: events in three modes, counted once and exactly; sums by what they are asked for, and for whom."""

import csv
import io
import json
import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from gateway.v1.cloud_event import BATCH, STRUCTURED
from storage.postgres.usage import event as rows
from tests.gateway.conftest import MakeGateway, MakeKey, bearer
from tests.gateway.person_ground import sign_in
from tests.gateway.usage_ground import catch_up, cloud_event, hours_ago, new_environment
from waypost.access.model import Role
from waypost.errors import WaypostError, unavailable


async def tell(client: httpx.AsyncClient, path: str, body: Any, kind: str = STRUCTURED, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": kind, **headers}
    return await client.post(f"{path}/usage-events", content=content, headers=sent)


async def sums(client: httpx.AsyncClient, path: str, **query: Any) -> dict[str, str]:
    answer = await client.get(f"{path}/usage", params=query)
    assert answer.status_code == 200, answer.text
    return {item["meter"]: item["quantity"] for item in answer.json()["items"]}


async def test_all_three_modes_count_once_and_exactly(
    platform: Any, client: httpx.AsyncClient, environment: Any
) -> None:
    """Structured, binary, batch; a repeat of `(source, id)` changes nothing; thirty digits stay thirty digits."""
    path = environment.path
    one = cloud_event("0.123456789012345678901234567890")
    answer = await tell(client, path, one)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "duplicates": 0})
    assert (await tell(client, path, one)).json() == {"accepted": 0, "duplicates": 1}
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "b-1",
        "ce-source": "/tests",
        "ce-type": "t",
        "ce-subject": "S%C3%A4de",
    }
    data = b'{"meter": "test.things", "quantity": 999999999999999999999999999999}'
    assert (await tell(client, path, data, "application/json", **headers)).json()["accepted"] == 1
    batch = [cloud_event(12.5), cloud_event("-2.5"), one, cloud_event("7", meter="test.others")]
    assert (await tell(client, path, [*batch, batch[0]], BATCH)).json() == {"accepted": 3, "duplicates": 2}
    assert (await tell(client, path, batch, "application/json")).json() == {"accepted": 0, "duplicates": 4}
    await catch_up(platform)
    found = await sums(client, path)
    assert found["test.things"] == "1000000000000000000000000000009.12345678901234567890123456789"
    assert found["test.others"] == "7"


async def test_what_is_told_late_is_an_adjustment(platform: Any, client: httpx.AsyncClient, environment: Any) -> None:
    """Counted at its own time; what came in more than a day after its hour is told apart."""
    then = hours_ago(26)
    late = [cloud_event("5", time=then), cloud_event("2", time=hours_ago(2))]
    assert (await tell(client, environment.path, late, BATCH)).status_code == 202
    await catch_up(platform)
    since = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%d")
    query = {"from": since, "group_by": "hour", "meter": "test.things"}
    items = (await client.get(f"{environment.path}/usage", params=query)).json()["items"]
    assert [(item["quantity"], item["adjustment"]) for item in items] == [("2", "0"), ("5", "5")]
    hours = [datetime.fromisoformat(item["hour"]) for item in items]
    assert hours[1] == datetime.fromisoformat(then).replace(minute=0, second=0, microsecond=0)
    query["group_by"] = "day"
    by_day = (await client.get(f"{environment.path}/usage", params=query)).json()["items"]
    assert sum(Decimal(item["quantity"]) for item in by_day) == 7
    assert [item["day"] for item in by_day] == sorted({f"{hour:%Y-%m-%d}" for hour in hours}, reverse=True)


BAD = [
    ({"id": None}, "/id"),
    ({"id": ""}, "/id"),
    ({"id": "a\u0000b"}, "/id"),
    ({"source": "x" * 256}, "/source"),
    ({"source": "urn:waypost:gateway"}, "/source"),
    ({"specversion": "0.3"}, "/specversion"),
    ({"time": "2016-11-21T09:00:00Z"}, "/time"),
    ({"time": "2999-01-01T00:00:00Z"}, "/time"),
    ({"time": "2026-11-21T09:00:00"}, "/time"),
    ({"time": "yesterday"}, "/time"),
    ({"datacontenttype": "text/xml"}, "/datacontenttype"),
    ({"data": None}, "/data"),
    ({"data": {"meter": "test.things", "quantity": 1, "unit": "m"}}, "/data/unit"),
    ({"data": {"meter": "Test Things", "quantity": 1}}, "/data/meter"),
    ({"data": {"meter": "job.attempts", "quantity": 1}}, "/data/meter"),
    ({"data": {"meter": "test.things"}}, "/data/quantity"),
    *(
        ({"data": {"meter": "test.things", "quantity": wrong}}, "/data/quantity")
        for wrong in ("NaN", "1e999", "0x1", "", " 1", "1_000", True, None, [1], "1" + "0" * 30, "0." + "0" * 30 + "1")
    ),
]


@pytest.mark.parametrize(("change", "at"), BAD, ids=lambda value: json.dumps(value)[:60])
async def test_an_event_that_may_not_be_spoils_its_batch(
    client: httpx.AsyncClient, shared_environment: Any, change: dict[str, Any], at: str
) -> None:
    """422 with the place of the fault, alone and in a batch, of which nothing is kept."""
    good = cloud_event()
    bad = {name: value for name, value in (good | {"id": "bad"} | change).items() if value is not None}
    answer = await tell(client, shared_environment.path, bad)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"] == at
    answer = await tell(client, shared_environment.path, [good, bad], BATCH)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"] == f"/1{at}"
    assert (await tell(client, shared_environment.path, good)).json()["accepted"] == 1


async def test_requests_that_hold_no_events(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """None, too many, no JSON, another media type, a header that binary mode misses."""
    path = shared_environment.path
    assert (await tell(client, path, [], BATCH)).status_code == 422
    assert (await tell(client, path, [cloud_event() for _ in range(1_001)], BATCH)).status_code == 422
    assert (await tell(client, path, b"{", BATCH)).status_code == 400
    assert (await tell(client, path, b'{"id": "a", "id": "b"}')).status_code == 422
    assert (await tell(client, path, b"<event/>", "application/xml")).status_code == 415
    headers = {"ce-specversion": "1.0", "ce-source": "/tests", "ce-type": "t"}
    answer = await tell(client, path, b'{"meter": "a.b", "quantity": 1}', "application/json", **headers)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "/id")
    thousand = [cloud_event() for _ in range(1_000)]
    assert (await tell(client, path, thousand, BATCH)).json()["accepted"] == 1_000


async def test_sums_are_of_what_the_caller_may_see(
    platform: Any, client: httpx.AsyncClient, make_environment: Any, make_key: MakeKey, foreign_key: str
) -> None:
    """A key of an environment sees that one; a role on a project its project; another tenant nothing."""
    first, second = await make_environment(), await make_environment()
    meter = f"test.m{secrets.token_hex(6)}"
    for environment, quantity in ((first, "3"), (second, "4")):
        assert (await tell(client, environment.path, cloud_event(quantity, meter=meter))).status_code == 202
    await catch_up(platform)
    org = "/v1/orgs/default"
    assert await sums(client, org, meter=meter) == {meter: "7"}
    query = {"group_by": "project,environment,meter,day", "meter": meter}
    whole = (await client.get(f"{org}/usage", params=query)).json()
    assert {item["environment_id"]: item["quantity"] for item in whole["items"]} == {first.id: "3", second.id: "4"}
    assert {(item["project"], item["environment"]) for item in whole["items"]} == {
        ("default", first.slug),
        ("default", second.slug),
    }
    own = bearer((await make_key(first.path, "viewer"))["key"])
    seen = (await client.get(f"{first.path}/usage", params={"meter": meter}, headers=own)).json()["items"]
    assert [item["quantity"] for item in seen] == ["3"]
    assert (await client.get(f"{second.path}/usage", headers=own)).status_code == 404
    assert (await client.get(f"{org}/usage", headers=own)).status_code == 403
    assert (await client.get(f"{org}/usage", headers=bearer(foreign_key))).status_code == 404
    organization = UUID((await client.get(org)).json()["id"])
    project = UUID((await client.get(f"{org}/projects/default")).json()["id"])
    elsewhere = UUID((await client.post(f"{org}/projects", json={"name": "Other"})).json()["id"])
    for place, expected in ((project, ["7"]), (elsewhere, [])):
        member = await sign_in(platform, (organization, place, Role.VIEWER))
        found = await client.get(f"{org}/usage", params={"meter": meter}, headers=member.headers)
        assert [item["quantity"] for item in found.json()["items"]] == expected


async def test_sums_as_csv(platform: Any, client: httpx.AsyncClient, environment: Any) -> None:
    """A header and a line a sum: first what sums are told apart by."""
    now = datetime.now(UTC)
    at, today = now.isoformat(), f"{now:%Y-%m-%d}"
    told = [cloud_event("1.50", time=at), cloud_event("-3", meter="test.credit", time=at)]
    await tell(client, environment.path, told, BATCH)
    await catch_up(platform)
    meters = ["test.things", "test.credit"]
    query = {"format": "csv", "group_by": "day,environment", "meter": meters, "from": today}
    answer = await client.get(f"{environment.path}/usage", params=query)
    assert answer.headers["content-type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["environment_id", "environment", "day", "meter", "quantity", "adjustment"],
        [environment.id, environment.slug, today, "test.credit", "-3", "0"],
        [environment.id, environment.slug, today, "test.things", "1.5", "0"],
    ]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"from": "2026-11-21T09:30:00Z"}, "from"),
        ({"from": "2026-11-21T09:00:00"}, "from"),
        ({"to": "tomorrow"}, "to"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"from": "2020-01-01"}, "from"),
        ({"from": "2026-09-01", "to": "2026-11-01", "group_by": "hour"}, "from"),
        ({"group_by": "meter,month"}, "group_by"),
        ({"group_by": "day,day"}, "group_by"),
        ({"meter": "'; drop"}, "meter"),
        ({"format": "xml"}, "format"),
        ({"limit": "5"}, "limit"),
    ],
    ids=str,
)
async def test_a_question_that_cannot_be_answered(
    client: httpx.AsyncClient, shared_environment: Any, query: dict[str, str], name: str
) -> None:
    """422 naming the parameter."""
    answer = await client.get(f"{shared_environment.path}/usage", params=query)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, f"/{name}")


async def test_calls_of_the_api_are_counted_once(
    platform: Any, make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both ways through the edge, by environment or organization, errors of the caller too; a batch that may have
    been written already is sent again under its name and counts once; what was not asked about anything, not."""
    async with make_gateway(usage_seconds=3600.0) as own:
        path = await new_environment(own.client)  # nobody but this gateway was asked about it
        calls = own.services.calls
        await calls.flush()
        await catch_up(platform)
        before = int((await sums(own.client, path, meter="api.calls"))["api.calls"])  # and this is the first of five
        for _ in range(3):
            assert (await own.client.post(f"{path}/jobs", json={"function": "a.b"})).status_code == 202
        assert (await own.client.get(f"{path}/jobs/none")).status_code == 404
        assert (await own.client.get("/v1/whoami")).status_code == 200
        assert (await own.client.get(path, headers={"Authorization": "Bearer wp_nobody"})).status_code == 401
        real = rows.insert_calls

        async def lost(connection: Any, batch: str, counted: Any) -> None:
            async with own.services.database.unit() as other:
                await real(other, batch, counted)
            raise unavailable("PostgreSQL")

        monkeypatch.setattr("gateway.call_count.insert_calls", lost)
        with pytest.raises(WaypostError):
            await calls.flush()
        monkeypatch.undo()
        assert (await own.client.get(path)).status_code == 200
        await calls.flush()
        await catch_up(platform)
        assert await sums(own.client, path, meter="api.calls") == {"api.calls": str(before + 5)}
    await catch_up(platform)  # the close of the gateway wrote the rest: GET E, and the second question for sums
    async with make_gateway(usage_seconds=3600.0) as own:
        assert await sums(own.client, path, meter="api.calls") == {"api.calls": str(before + 7)}
