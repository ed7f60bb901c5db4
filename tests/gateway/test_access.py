"""Who may do what over HTTP: every route, every role, no credential, somebody else's."""

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar, get

from gateway.endpoint import Endpoint, application, check_permissions, options_of
from gateway.surface import ENDPOINTS
from tests.gateway.conftest import MakeGateway, MakeKey, OwnGateway, bearer, within_a_second
from waypost.access.model import Permission, Role

ENVIRONMENT_ROLES = (Role.PROJECT_ADMIN, Role.OPERATOR, Role.VIEWER)


@pytest.fixture(scope="module")
async def keys(shared_environment: Any, make_key: MakeKey) -> dict[Role, str]:
    """An environment key of every role that there is for one."""
    return {role: (await make_key(shared_environment.path, role.value))["key"] for role in ENVIRONMENT_ROLES}


def test_a_route_without_a_permission_stops_the_start() -> None:
    """The check names the route."""

    @get("/v1/bare")
    async def bare() -> None:
        """A route that somebody forgot to guard."""

    with pytest.raises(RuntimeError, match="/v1/bare"):
        check_permissions(Litestar(route_handlers=[bare], openapi_config=None))
    unguarded = Endpoint(method="GET", path="/v1/open", run=ENDPOINTS[0].run, summary="x")
    with pytest.raises(RuntimeError, match="/v1/open"):
        application(None, [unguarded])  # type: ignore[arg-type]  # nothing is asked of it


def test_public_routes_are_few_and_say_why() -> None:
    """What needs no credential, or just any, is on these lists and nowhere else."""
    assert {declared.path for declared in ENDPOINTS if declared.public} == {
        "/healthz", "/readyz", "/docs", "/v1/openapi.json", "/api/oauth/token", "/api/.well-known/jwks.json",
        "/v1/sessions", "/v1/invitations/accept", "/hooks/{trigger}",
    }  # fmt: skip
    assert {declared.path for declared in ENDPOINTS if declared.personal} == {
        "/v1/orgs", "/v1/whoami", "/v1/sessions", "/v1/sessions/current", "/v1/people/me",
    }  # fmt: skip
    assert all(declared.guarded for declared in (*ENDPOINTS, *options_of(ENDPOINTS)))
    both = Endpoint(
        method="GET", path="/v1/x", run=ENDPOINTS[0].run, summary="x", permission=Permission.VIEW_ORG, public="no"
    )
    assert not both.guarded


async def test_a_viewer_sees_metadata_and_no_bodies(
    client: httpx.AsyncClient, shared_environment: Any, keys: dict[Role, str]
) -> None:
    """Payload, result and error need OperateEnvironment (decision 22)."""
    job = (await client.post(f"{shared_environment.path}/jobs", json={"function": "a.b", "payload": "secret"})).json()
    path = f"{shared_environment.path}/jobs/{job['id']}"
    seen = (await client.get(path, headers=bearer(keys[Role.VIEWER]))).json()
    assert seen["function"] == "a.b"
    assert not {"payload", "result", "error"} & set(seen)
    assert (await client.get(path, headers=bearer(keys[Role.OPERATOR]))).json()["payload"] == "secret"
    listed = (await client.get(f"{shared_environment.path}/jobs")).json()["items"]
    assert all("payload" not in item for item in listed)


async def test_a_key_is_shown_once_and_dies_when_revoked(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey
) -> None:
    """No list shows a key's text; a revoked one is 401 at once on the gateway that revoked it."""
    made = await make_key(shared_environment.path)
    assert made["key"].startswith("wpe_")
    listed = (await client.get(f"{shared_environment.path}/keys")).json()["items"]
    assert made["id"] in {item["id"] for item in listed}
    assert made["key"] not in json.dumps(listed)
    headers = bearer(made["key"])
    assert (await client.get(shared_environment.path, headers=headers)).status_code == 200
    assert (await client.delete(f"{shared_environment.path}/keys/{made['id']}")).status_code == 204
    answer = await client.get(shared_environment.path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credential")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await client.delete(f"{shared_environment.path}/keys/{made['id']}")).status_code == 404


async def test_other_gateways_hear_of_a_revoked_key(
    client: httpx.AsyncClient, own_gateway: OwnGateway, shared_environment: Any, make_key: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The message drops it from their caches long before these age."""
    monkeypatch.setattr(own_gateway.services.keys._cache, "_seconds", 3_600)
    made = await make_key(shared_environment.path)
    headers = bearer(made["key"])
    assert (await own_gateway.client.get(shared_environment.path, headers=headers)).status_code == 200
    await client.delete(f"{shared_environment.path}/keys/{made['id']}")
    async with asyncio.timeout(30):
        while (  # noqa: ASYNC110 - the other process's message is what is waited for
            await own_gateway.client.get(shared_environment.path, headers=headers)
        ).status_code != 401:
            await asyncio.sleep(0.02)


async def test_a_typing_error_is_refused_without_a_look_up(
    own_gateway: OwnGateway, shared_environment: Any, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum says so; the database is not asked."""
    text = (await make_key(shared_environment.path))["key"]
    wrong = text[:20] + ("a" if text[20] != "a" else "b") + text[21:]
    monkeypatch.setattr(own_gateway.services.keys, "_load", None)
    answer = await own_gateway.client.get(shared_environment.path, headers=bearer(wrong))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credential")
    assert "mistyped" in answer.json()["detail"]


async def test_an_expired_key_is_refused(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """Within its life 200, after it 401, also while it is cached."""
    for life_seconds in (1.2, 5, 20):  # until both requests fit into it
        soon = datetime.now(UTC) + timedelta(seconds=life_seconds)
        brief = {"name": "brief", "expires_at": soon.isoformat()}
        made = await client.post(f"{shared_environment.path}/keys", json=brief)
        headers = bearer(made.json().get("key", "none"))
        used = await client.get(shared_environment.path, headers=headers)
        if datetime.now(UTC) < soon:
            break
    assert (made.status_code, used.status_code) == (201, 200)
    await asyncio.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 0.05)  # until it expires
    assert (await client.get(shared_environment.path, headers=headers)).status_code == 401
    answer = await client.post(
        f"{shared_environment.path}/keys", json={"name": "x", "expires_at": "2020-01-01T00:00:00Z"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_expiry")


async def test_rotation_overlaps(client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey) -> None:
    """Both keys work for the overlap; with none, the old one stops."""
    old = await make_key(shared_environment.path, "viewer")
    path = f"{shared_environment.path}/keys/{old['id']}/rotate"
    new = (await client.post(path)).json()
    assert new["role"] == "viewer"
    for key in (old, new):
        assert (await client.get(shared_environment.path, headers=bearer(key["key"]))).status_code == 200
    assert (await client.post(path)).json()["code"] == "already_rotated"
    cut = await client.post(f"{shared_environment.path}/keys/{new['id']}/rotate", json={"overlap_seconds": 0})
    assert cut.status_code == 201
    assert (await client.get(shared_environment.path, headers=bearer(new["key"]))).status_code == 401
    assert (await client.get(shared_environment.path, headers=bearer(cut.json()["key"]))).status_code == 200


async def test_nothing_tells_whether_another_tenant_has_it(
    client: httpx.AsyncClient, shared_environment: Any, foreign_key: str
) -> None:
    """An organization, project or environment of somebody else reads exactly like one that nobody has."""
    headers = bearer(foreign_key)
    organization, project, _ = shared_environment.place.split("/")
    there = [f"/v1/orgs/{organization}", f"/v1/orgs/{organization}/projects/{project}", shared_environment.path]
    for path in there:
        existing = (await client.get(path, headers=headers)).json()
        made_up = (await client.get(path.replace(organization, "nobody-has-this"), headers=headers)).json()
        for problem in (existing, made_up):
            problem.pop("request_id")
        assert existing == made_up
    seen = (await client.get("/v1/orgs", headers=headers)).json()["items"]
    assert organization not in {item["slug"] for item in seen}


async def test_a_credential_that_asks_too_often_is_slowed(
    make_gateway: MakeGateway, shared_environment: Any, make_key: MakeKey
) -> None:
    """429 with Retry-After and what is left in the headers; others are not concerned."""
    other = await make_key(shared_environment.path)
    async with make_gateway(rate_limit_per_second=1, rate_limit_burst=3) as own:

        async def ask(one: dict[str, Any]) -> list[httpx.Response]:
            return [await own.client.get(shared_environment.path, headers=bearer(one["key"])) for _ in range(4)]

        answers = await within_a_second(lambda: make_key(shared_environment.path), ask)
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert answers[0].headers["ratelimit"].startswith('"default";r=2;')
        assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=3'
        assert int(answers[3].headers["retry-after"]) >= 1
        assert answers[3].json()["code"] == "rate_limited"
        fresh = await own.client.get(shared_environment.path, headers=bearer(other["key"]))
        assert fresh.status_code == 200


async def test_changes_leave_an_audit_entry(
    client: httpx.AsyncClient, shared_environment: Any, platform: Any, make_key: MakeKey
) -> None:
    """Key made and revoked, function paused: who, what, which request; in the transaction of the change."""
    import asyncpg

    made = await make_key(shared_environment.path)
    request_id = f"test-{secrets.token_hex(8)}"
    await client.delete(f"{shared_environment.path}/keys/{made['id']}", headers={"X-Request-Id": request_id})
    await client.post(f"{shared_environment.path}/functions/au.dit/pause", json={"note": "why"})
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    rows = await owner.fetch("select * from control.audit where environment_id = $1", shared_environment.id)
    await owner.close()
    found = {(row["action"], row["target"]): row for row in rows}
    revoked = found[("api_key.revoke", f"api_key:{made['id']}")]
    assert revoked["request_id"] == request_id
    assert revoked["actor"].startswith("key:")
    assert ("api_key.create", f"api_key:{made['id']}") in found
    assert ("function.pause", "function:au.dit") in found
