"""Who am I, what may I do here, and why."""

import secrets
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import MakeKey, bearer
from tests.gateway.person_ground import sign_in
from waypost.access.model import Permission, Role


async def ask(client: httpx.AsyncClient, headers: dict[str, str], **place: str) -> dict[str, Any]:
    answer = await client.get("/v1/whoami", headers=headers, params=place)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def allowed(answer: dict[str, Any]) -> set[str]:
    return {one["permission"] for one in answer["permissions"] if one["allowed"]}


@pytest.fixture(scope="module")
async def tree(client: httpx.AsyncClient, shared_environment: Any) -> Any:
    """The place of the shared environment with its ids."""
    return (await client.get(shared_environment.path)).json()


async def test_an_organizations_key_says_what_it_is(client: httpx.AsyncClient, platform: Any) -> None:
    """Kind, id, name, expiry, organization and role; without a place, what it may do in its own."""
    made = (await client.post("/v1/orgs/default/api-keys", json={"name": "terraform", "role": "viewer"})).json()
    me = await ask(client, bearer(made["key"]))
    assert (me["kind"], me["id"], me["name"]) == ("organization_key", made["id"], "terraform")
    assert (me["actor"], me["public_id"], me["expires_at"]) == (f"key:{made['id']}", made["public_id"], None)
    (role,) = me["roles"]
    assert (role["role"], role["organization"]["slug"], role["project"], role["environment"]) == (
        "viewer", "default", None, None,
    )  # fmt: skip
    assert me["place"]["because"] == "role viewer in organization default"
    assert allowed(me) == {"ViewOrg"}
    assert made["key"] not in str(me)
    assert "email" not in me


async def test_an_environments_key_is_told_of_its_environment(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey, tree: Any
) -> None:
    """Where it is confined, with the project and organization above; its expiry too."""
    made = await make_key(shared_environment.path, "operator", expires_at="2099-01-01T00:00:00Z")
    me = await ask(client, bearer(made["key"]))
    assert (me["kind"], me["expires_at"]) == ("environment_key", "2099-01-01T00:00:00Z")
    (role,) = me["roles"]
    assert role["environment"] == {name: tree[name] for name in ("id", "slug", "name")}
    assert role["project"]["slug"] == "default"
    assert me["place"]["because"] == f"role operator in environment {shared_environment.slug}, to which it is confined"
    assert allowed(me) == {"ViewEnvironment", "OperateEnvironment"}
    above = await ask(client, bearer(made["key"]), org="default", project="default")
    assert allowed(above) == set()


async def test_a_person_is_told_why(client: httpx.AsyncClient, platform: Any, tree: Any) -> None:
    """Each role with its place; in a place, the role that counts, and which it replaces; every reason."""
    organization = (await client.get("/v1/orgs/default")).json()
    project = (await client.get("/v1/orgs/default/projects/default")).json()
    person = await sign_in(
        platform, (organization["id"], None, Role.VIEWER), (organization["id"], project["id"], Role.OPERATOR)
    )
    me = await ask(client, person.headers)
    assert (me["kind"], me["id"], me["name"], me["email"]) == ("person", str(person.id), "Test Person", person.email)
    assert me["actor"] == f"person:{person.id}"
    assert me["expires_at"] is not None
    assert me["session_id"]
    assert [(one["role"], (one["project"] or {}).get("slug")) for one in me["roles"]] == [
        ("viewer", None), ("operator", "default"),
    ]  # fmt: skip
    assert (me["place"], me["permissions"]) == (None, [])

    there = await ask(client, person.headers, org="default", project="default", environment=tree["slug"])
    because = "role operator on project default, which replaces the organization's viewer"
    assert there["place"]["because"] == because
    assert there["place"]["environment_id"] == tree["id"]
    assert [one["permission"] for one in there["permissions"]] == [permission.value for permission in Permission]
    reasons = {one["permission"]: one["reason"] for one in there["permissions"]}
    assert reasons["OperateEnvironment"] == because
    assert reasons["ManageEnvironment"] == f"{because}: which does not include ManageEnvironment"
    assert allowed(there) == {
        "ViewOrg", "ViewProject", "OperateProject", "ViewEnvironment", "OperateEnvironment",
    }  # fmt: skip
    in_organization = await ask(client, person.headers, org=organization["id"])
    assert in_organization["place"]["because"] == "role viewer in organization default"
    reasons = {one["permission"]: one["reason"] for one in in_organization["permissions"]}
    assert reasons["ViewProject"].endswith("ViewProject is asked for on one project; name it")


async def test_a_person_without_roles_is_somebody_all_the_same(client: httpx.AsyncClient, platform: Any) -> None:
    """No role, no place, no organization."""
    person = await sign_in(platform)
    me = await ask(client, person.headers)
    assert (me["roles"], me["place"], me["permissions"]) == ([], None, [])
    assert (await client.get("/v1/orgs", headers=person.headers)).json() == {"items": [], "next_cursor": None}


async def test_what_is_not_theirs_is_not_found(
    client: httpx.AsyncClient, platform: Any, foreign_key: str, make_environment: Any, make_key: MakeKey,
    shared_environment: Any,
) -> None:  # fmt: skip
    """Another organization, a sibling environment, what nobody has: 404 alike. Half a place: 422."""
    for place in ({"org": "default"}, {"org": "default", "project": "default"}, {"org": "nobody-has-this"}):
        answer = await client.get("/v1/whoami", headers=bearer(foreign_key), params=place)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    confined = bearer((await make_key(shared_environment.path))["key"])
    sibling = {"org": "default", "project": "default", "environment": (await make_environment()).slug}
    assert (await client.get("/v1/whoami", headers=confined, params=sibling)).status_code == 404
    for half in ({"project": "default"}, {"org": "default", "environment": "x"}):
        assert (await client.get("/v1/whoami", params=half)).status_code == 422


async def test_a_person_of_several_organizations_sees_them_all(client: httpx.AsyncClient, platform: Any) -> None:
    """`GET /v1/orgs` goes page by page through those in which one has a role, and shows no other."""
    mine = []
    for _ in range(3):
        answer = await client.post("/v1/orgs", json={"name": "Mine", "slug": f"w{secrets.token_hex(6)}"})
        mine.append(answer.json())
    person = await sign_in(platform, *((one["id"], None, Role.VIEWER) for one in mine))
    first = (await client.get("/v1/orgs?limit=2", headers=person.headers)).json()
    rest = (await client.get(f"/v1/orgs?limit=2&cursor={first['next_cursor']}", headers=person.headers)).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == [one["id"] for one in reversed(mine)]
    assert rest["next_cursor"] is None
    stolen = await client.get(f"/v1/orgs?cursor={first['next_cursor']}")
    assert (stolen.status_code, stolen.json()["code"]) == (422, "invalid_cursor")
