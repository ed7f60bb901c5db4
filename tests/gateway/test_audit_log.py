"""The audit log over HTTP: lists, filters, exports."""

import asyncio
import csv
import io
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from gateway.v1 import audit as audit_endpoints
from gateway.v1.audit_view import CSV_COLUMNS, safe_cell
from tests.gateway.conftest import MakeKey, OwnGateway, bearer
from waypost.errors import unavailable

ORG = "/v1/orgs/default"


@pytest.fixture(scope="module")
async def owner(platform: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


async def entries(client: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    """Every entry of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = await client.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def test_an_entry_says_who_what_on_what_how_when_and_from_where(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey, owner: Any
) -> None:
    """Actor and its kind, action, target, outcome, Postgres' instant, scope, source address, request id; no secret."""
    request_id = f"test-{secrets.token_hex(8)}"
    made = await client.post(
        f"{shared_environment.path}/keys", json={"name": "audited"}, headers={"X-Request-Id": request_id}
    )
    found = await entries(client, f"{ORG}/audit", request_id=request_id)
    assert len(found) == 1
    entry = found[0]
    assert entry["actor"].startswith("key:")
    assert entry["actor_type"] == "organization_key"
    assert (entry["action"], entry["outcome"], entry["count"]) == ("api_key.create", "done", 1)
    assert (entry["target_type"], entry["target_id"]) == ("api_key", made.json()["id"])
    assert entry["source_ip"] == "127.0.0.1"
    assert entry["details"] == {"name": "audited", "role": "operator"}
    assert entry["resource_scope"]["environment_id"] == shared_environment.id
    assert entry["resource_scope"]["project_id"] is not None
    assert made.json()["key"] not in json.dumps(found)
    at = await owner.fetchval("select at from control.audit where request_id = $1", request_id)
    assert entry["timestamp"] == at.isoformat().replace("+00:00", "Z")


async def test_each_filter_narrows_the_list(client: httpx.AsyncClient, environment: Any, make_key: MakeKey) -> None:
    """Actor, action, its prefix, target, outcome, environment, project, times; together they are an `and`."""
    made = await make_key(environment.path)
    await client.delete(f"{environment.path}/keys/{made['id']}")
    mine = await entries(client, f"{environment.path}/audit")
    assert {entry["action"] for entry in mine} >= {"environment.create", "api_key.create", "api_key.revoke"}

    async def actions(**query: str) -> list[str]:
        return [entry["action"] for entry in await entries(client, f"{ORG}/audit", **query)]

    here = {"environment": environment.id}
    assert await actions(**here) == [entry["action"] for entry in mine]
    assert await actions(environment=environment.slug) == [entry["action"] for entry in mine]
    assert await actions(**here, project="default") == [entry["action"] for entry in mine]
    assert await actions(**here, action="api_key.*") == ["api_key.revoke", "api_key.create"]
    assert await actions(**here, action="api_key.create") == ["api_key.create"]
    assert await actions(target=f"api_key:{made['id']}") == ["api_key.revoke", "api_key.create"]
    assert await actions(**here, outcome="failed") == []
    assert await actions(**here, actor=mine[0]["actor"]) == [
        entry["action"] for entry in mine if entry["actor"] != "system"
    ]
    revoked = mine[0]["timestamp"]
    assert await actions(**here, **{"from": revoked}) == ["api_key.revoke"]
    assert "api_key.revoke" not in await actions(**here, to=revoked)
    assert len(await actions(**here, to=revoked)) == len(mine) - 1


async def test_pages_are_newest_first_and_meet_without_gap(
    client: httpx.AsyncClient, environment: Any, make_key: MakeKey
) -> None:
    """Three a page, each once, also when entries are added between two pages; a cursor is bound to its filters."""
    for _ in range(4):
        await make_key(environment.path)
    path = f"{environment.path}/audit"
    whole = await entries(client, path)
    first = (await client.get(path, params={"limit": 3})).json()
    await make_key(environment.path)
    rest = (await client.get(path, params={"limit": 200, "cursor": first["next_cursor"]})).json()
    assert [*first["items"], *rest["items"]] == whole
    assert [entry["id"] for entry in whole] == sorted((entry["id"] for entry in whole), reverse=True)
    other = await client.get(path, params={"cursor": first["next_cursor"], "outcome": "done"})
    assert (other.status_code, other.json()["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize(
    "query",
    [
        {"action": "environment"}, {"action": "*"}, {"outcome": "maybe"}, {"from": "yesterday"},
        {"to": "2026-01-01T00:00:00"}, {"actor": ""}, {"target": "a\nb"}, {"environment": "nowhere"},
        {"project": "' or 1=1"}, {"request_id": "x" * 300},
    ],
)  # fmt: skip
async def test_filters_that_cannot_be_read_are_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    """422 naming the parameter, on lists and exports alike."""
    for path in ("/audit", "/audit/export"):
        answer = await client.get(ORG + path, params=query)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["path"] == f"/{next(iter(query))}"


async def test_only_administrators_read_the_log(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey, foreign_key: str
) -> None:
    """The organization's needs ManageOrgMemberships, the environment's ManageEnvironment; another tenant's is 404."""
    paths = [f"{place}/audit{tail}" for place in (ORG, shared_environment.path) for tail in ("", "/export")]
    operator = bearer((await make_key(shared_environment.path, "operator"))["key"])
    manager = bearer((await make_key(shared_environment.path, "project_admin"))["key"])
    assert [(await client.get(path, headers=operator)).status_code for path in paths] == [403] * 4
    assert [(await client.get(path, headers=manager)).status_code for path in paths] == [403, 403, 200, 200]
    assert [(await client.get(path, headers=bearer(foreign_key))).status_code for path in paths] == [404] * 4


async def test_an_organization_sees_nothing_of_another(client: httpx.AsyncClient, foreign_key: str) -> None:
    """Whatever the filters: entries are those of the path's organization."""
    mine = (await client.get("/v1/orgs", headers=bearer(foreign_key))).json()["items"][0]["id"]
    async with httpx.AsyncClient(base_url=client.base_url, headers=bearer(foreign_key), timeout=30) as foreign:
        for query in ({}, {"action": "environment.*"}, {"outcome": "done"}, {"from": "2020-01-01T00:00:00Z"}):
            found = await entries(foreign, f"/v1/orgs/{mine}/audit", **query)
            assert {entry["resource_scope"]["organization_id"] for entry in found} <= {mine}


async def test_an_export_holds_what_the_list_does(
    client: httpx.AsyncClient, environment: Any, make_key: MakeKey
) -> None:
    """JSON Lines and CSV, with the same filters, newest first; the CSV has a header and one row an entry."""
    await make_key(environment.path)
    whole = await entries(client, f"{environment.path}/audit")
    lines = await client.get(f"{environment.path}/audit/export")
    assert lines.headers["content-type"] == "application/jsonl"
    assert [json.loads(line) for line in lines.text.splitlines()] == whole
    answer = await client.get(f"{environment.path}/audit/export", params={"format": "csv", "action": "api_key.*"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["action"] for row in rows] == ["api_key.create"]
    assert json.loads(rows[0]["details"]) == {"name": "test", "role": "operator"}
    refused = await client.get(f"{environment.path}/audit/export", params={"format": "xlsx"})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "/format")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    """What a spreadsheet would run begins with an apostrophe; other text is as it was."""
    assert safe_cell(text) == f"'{text}"
    assert safe_cell(f"a{text}") == f"a{text}"
    assert safe_cell(None) == ""


async def test_a_formula_in_a_request_id_is_text_in_the_csv(client: httpx.AsyncClient, environment: Any) -> None:
    """Who is audited chooses the request id; what a spreadsheet gets of it is text."""
    request_id = f"=1+{secrets.token_hex(4)}"
    await client.post(f"{environment.path}/functions/a.b/pause", headers={"X-Request-Id": request_id}, json={})
    answer = await client.get(f"{environment.path}/audit/export", params={"format": "csv", "request_id": request_id})
    assert [row["request_id"] for row in csv.DictReader(io.StringIO(answer.text))] == [f"'{request_id}"]


@pytest.fixture(scope="module")
async def long_log(client: httpx.AsyncClient, owner: Any) -> tuple[str, str]:
    """The path and key of an organization with 30,000 entries, about 15 MB of lines."""
    made = (await client.post("/v1/orgs", json={"name": "Long", "slug": f"l{secrets.token_hex(6)}"})).json()
    await owner.execute(
        """
        insert into control.audit (id, organization_id, actor, action, target, outcome, details)
        select uuidv7(), $1::uuid, 'system', 'thing.change', 'thing:' || n, 'done',
            jsonb_build_object('a', repeat('x', 100))
        from generate_series(1, 30000) n
        """,
        made["id"],
    )
    return f"/v1/orgs/{made['id']}/audit/export", str(made["admin_key"])


def counted(monkeypatch: pytest.MonkeyPatch, fail_at: int = 1 << 30) -> list[int]:
    """Notes every page that an export reads; the database goes away at one of them."""
    pages: list[int] = []
    read = audit_endpoints.list_entries

    async def noted(*args: Any, **kwargs: Any) -> Any:
        if len(pages) >= fail_at:
            raise unavailable("PostgreSQL")
        pages.append(1)
        return await read(*args, **kwargs)

    monkeypatch.setattr(audit_endpoints, "list_entries", noted)
    return pages


async def settled(pages: list[int]) -> int:
    """How many pages were read when no more are, for a while."""
    before = -1
    while before != len(pages):
        before = len(pages)
        await asyncio.sleep(0.4)  # silence is what is waited for
    return before


async def test_an_export_waits_for_a_slow_reader_and_holds_nothing_meanwhile(
    own_gateway: OwnGateway, long_log: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constant memory: pages are read as they are taken, and no transaction is open while nobody takes any. In the end
    every entry is there once. A reader who leaves ends it."""
    path, key = long_log
    pages = counted(monkeypatch)
    async with own_gateway.client.stream("GET", path, headers=bearer(key)) as answer:
        assert answer.status_code == 200
        assert await settled(pages) < 45
        pool = own_gateway.services.database._general
        async with asyncio.timeout(20):  # the gateway's own tasks take a connection now and then
            while pool.get_idle_size() != pool.get_size():  # noqa: ASYNC110 - a pool tells nobody
                await asyncio.sleep(0.02)
        identifiers = [json.loads(line)["id"] async for line in answer.aiter_lines()]
    assert len(identifiers) == len(set(identifiers)) >= 30_000
    assert len(pages) >= 60
    pages.clear()
    async with (
        httpx.AsyncClient(base_url=own_gateway.url, headers=bearer(key), timeout=30) as leaving,
        leaving.stream("GET", path),
    ):
        await settled(pages)
    assert await settled(pages) < 60


async def test_an_export_that_breaks_off_is_not_taken_for_the_whole(
    own_gateway: OwnGateway, long_log: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away in the middle: the connection is cut; before the first page it is a 503."""
    path, key = long_log
    pages = counted(monkeypatch, fail_at=3)
    with pytest.raises(httpx.RemoteProtocolError):
        await own_gateway.client.get(path, headers=bearer(key))
    assert len(pages) == 3
    assert (await own_gateway.client.get(path, headers=bearer(key))).status_code == 503
