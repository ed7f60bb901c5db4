"""Limits that bind a submission: jobs a second, payload bytes, stored bytes, waiting jobs; and what headers tell."""

import asyncio
import secrets
import time
from typing import Any

import asyncpg
import httpx
import pytest

from functions.environment.measure import measure, tick
from infra.local.admin.connection import of_folder
from infra.local.folder import DataFolder
from storage.objects.admin import ObjectAdmin
from storage.postgres.database import Database
from tests.gateway.conftest import MakeGateway, MakeKey, OwnGateway, bearer, within_a_second
from waypost.ids import parse_id

LARGE = "x" * 100_000  # more than is kept in the database


async def lower(own: OwnGateway, path: str, **limits: int) -> None:
    """As whoever manages the environment does, through the gateway that is then asked."""
    answer = await own.client.patch(path, json={"limits": limits})
    assert answer.status_code == 200, answer.text


async def test_jobs_a_second_are_limited_for_the_environment_not_the_key(
    make_gateway: MakeGateway, environment: Any, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The burst is two seconds' worth; then 429 `rate_limited` naming the limit, with its own headers."""
    monkeypatch.setattr("gateway.limit.ASK_SECONDS", 10)  # else a slow answer makes the gateway count by itself
    keys = [bearer((await make_key(environment.path))["key"]) for _ in range(2)]
    answers: list[httpx.Response] = []
    async with make_gateway() as own:
        await lower(own, environment.path, submissions_per_second=2)
        path, job, began = f"{environment.path}/jobs", {"function": "a.b"}, time.monotonic()
        while len(answers) < 60 and (not answers or answers[-1].status_code == 202):
            answers.append(await own.client.post(path, json=job, headers=keys[len(answers) % 2]))
        taken_seconds = time.monotonic() - began
    *accepted, refused = answers
    assert refused.status_code == 429
    assert 4 <= len(accepted) <= 4 + 2 * taken_seconds
    assert (refused.json()["code"], refused.json()["limit"]) == ("rate_limited", "submissions_per_second")
    assert refused.json()["retryable"] is True
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-policy"] == '"submissions";q=4;w=2'
    assert refused.headers["ratelimit"].startswith('"submissions";r=0;')
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert answers[0].headers["ratelimit-policy"].startswith('"default";')


@pytest.mark.parametrize("hot", [True, False])
async def test_a_bulk_counts_every_job(make_gateway: MakeGateway, make_environment: Any, hot: bool) -> None:
    """All or nothing: a bulk over what is left is refused whole, and counts nothing."""
    jobs = [{"function": "a.b"}] * 15
    async with make_gateway(hot=hot) as own:

        async def limited() -> str:
            path = str((await make_environment()).path)
            await lower(own, path, submissions_per_second=10)
            return path

        async def submit(path: str) -> list[int]:
            first = await own.client.post(f"{path}/jobs/bulk", json={"jobs": jobs})
            second = await own.client.post(f"{path}/jobs/bulk", json={"jobs": jobs})
            one = await own.client.post(f"{path}/jobs", json={"function": "a.b"})
            nothing = await own.client.post(f"{path}/jobs/bulk", json={"jobs": []})
            return [answer.status_code for answer in (first, second, one, nothing)]

        assert await within_a_second(limited, submit) == [202, 429, 202, 202]


async def test_two_gateways_share_one_rate(
    make_gateway: MakeGateway, environment: Any, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential does not get more by asking two of them."""
    monkeypatch.setattr("gateway.limit.ASK_SECONDS", 10)  # else a slow answer makes a gateway count by itself
    key = bearer((await make_key(environment.path))["key"])
    settings = {"rate_limit_per_second": 1, "rate_limit_burst": 20}
    async with make_gateway(**settings) as one, make_gateway(**settings) as other:
        began = time.monotonic()
        answers = await asyncio.gather(
            *((one, other)[n % 2].client.get(environment.path, headers=key) for n in range(40))
        )
        taken_seconds = time.monotonic() - began
    taken = [answer for answer in answers if answer.status_code == 200]
    assert 20 <= len(taken) <= 20 + taken_seconds
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_nobody_is_refused_because_valkey_is_away(
    make_gateway: MakeGateway, environment: Any, make_key: MakeKey
) -> None:
    """Each gateway then counts for itself, and the headers are there as ever."""
    away = "valkey://127.0.0.1:1"
    async with make_gateway(valkey_url=away, rate_limit_per_second=1, rate_limit_burst=5) as own:

        async def ask(key: dict[str, Any]) -> list[httpx.Response]:
            return [await own.client.get(environment.path, headers=bearer(key["key"])) for _ in range(6)]

        answers = await within_a_second(lambda: make_key(environment.path), ask)
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]


async def test_an_organization_can_have_a_rate_of_its_own(
    make_gateway: MakeGateway, client: httpx.AsyncClient, platform: Any
) -> None:
    """Each of its credentials has it; the default is nobody else's business."""
    made = (await client.post("/v1/orgs", json={"name": "Slow", "slug": f"r{secrets.token_hex(6)}"})).json()
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    await owner.execute(
        "update control.organization set limits = $2 where id = $1", made["id"], '{"requests_per_second": 2}'
    )
    await owner.close()
    async with make_gateway() as own:
        answers = [await own.client.get("/v1/orgs", headers=bearer(made["admin_key"])) for _ in range(5)]
        assert answers[0].headers["ratelimit-policy"] == '"default";q=4;w=2'
        assert [answer.status_code for answer in answers][:4] == [200] * 4
        assert (await own.client.get("/v1/orgs")).headers["ratelimit-policy"].startswith('"default";q=40000;')


async def test_defaults_come_from_the_settings(make_gateway: MakeGateway, environment: Any) -> None:
    """And show as such."""
    async with make_gateway(limits={"nodes": 12, "projects": 34}) as own:
        found = (await own.client.get(environment.path)).json()
        organization = (await own.client.get("/v1/orgs/default")).json()
    assert (found["limits"]["nodes"], found["limit_sources"]["nodes"]) == (12, "default")
    assert organization["limits"]["projects"] == 34


async def test_payload_bytes_are_limited(make_gateway: MakeGateway, environment: Any) -> None:
    """413 that says what to do; one byte less is taken."""
    async with make_gateway() as own:
        await lower(own, environment.path, payload_bytes=10)
        path = f"{environment.path}/jobs"
        over = await own.client.post(path, json={"function": "a.b", "payload": "x" * 9})
        assert (over.status_code, over.json()["code"]) == (413, "payload_too_large")
        assert (over.json()["limit"], over.json()["value"]) == ("payload_bytes", 10)
        assert "artifact" in over.json()["detail"]
        assert (await own.client.post(path, json={"function": "a.b", "payload": "x" * 8})).status_code == 202


async def test_stored_bytes_are_limited(make_gateway: MakeGateway, environment: Any) -> None:
    """What this gateway put into the bucket counts at once; small payloads are not in the bucket."""
    async with make_gateway() as own:
        await lower(own, environment.path, stored_bytes=250_000)
        path = f"{environment.path}/jobs"
        answers = [await own.client.post(path, json={"function": "a.b", "payload": LARGE}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 409]
        refused = answers[2].json()
        assert (refused["code"], refused["limit"], refused["value"]) == ("quota_exceeded", "stored_bytes", 250_000)
        assert (await own.client.post(path, json={"function": "a.b", "payload": "x"})).status_code == 202


async def test_what_a_bucket_holds_is_measured_and_counts(
    make_gateway: MakeGateway, environment: Any, platform: Any
) -> None:
    """A gateway that put nothing there refuses all the same, once a worker has looked."""
    async with make_gateway() as own:
        for _ in range(2):
            await own.client.post(f"{environment.path}/jobs", json={"function": "a.b", "payload": LARGE})
    identifier = parse_id(environment.id)
    assert identifier is not None
    passwords = of_folder(DataFolder(platform.data_dir), {})
    admin = ObjectAdmin(
        f"http://{platform.process('objects')['address']}",
        passwords["WAYPOST_S3_ACCESS_KEY"], passwords["WAYPOST_S3_SECRET_KEY"],
    )  # fmt: skip
    database = await Database.open(platform.database_url("waypost_worker"), name="test-measure")
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    try:
        await tick(database, admin)  # enters environments that were never measured
        await measure(identifier, database, admin)
        row = await owner.fetchrow("select * from control.environment_storage where environment_id = $1", identifier)
    finally:
        await database.close()
        await owner.close()
    assert (row["objects"], 200_000 <= row["bytes"] < 201_000) == (2, True)
    assert row["next_at"] > row["measured_at"]
    async with make_gateway() as other:
        await lower(other, environment.path, stored_bytes=250_000)
        answer = await other.client.post(f"{environment.path}/jobs", json={"function": "a.b", "payload": LARGE})
    assert (answer.status_code, answer.json()["limit"]) == (409, "stored_bytes")
    assert answer.json()["used"] == row["bytes"]


async def test_a_bucket_that_is_not_there_is_left_alone(platform: Any) -> None:
    """Its environment is going: no row, no error."""
    from waypost.ids import new_id

    passwords = of_folder(DataFolder(platform.data_dir), {})
    admin = ObjectAdmin(
        f"http://{platform.process('objects')['address']}",
        passwords["WAYPOST_S3_ACCESS_KEY"], passwords["WAYPOST_S3_SECRET_KEY"],
    )  # fmt: skip
    assert await admin.measure_bucket(new_id()) is None
