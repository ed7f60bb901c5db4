"""Changing organizations, projects and environments: fields, names, ETags, slugs, cursors, twins."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.gateway.conftest import bearer

MakeOrganization = Callable[[], Awaitable[tuple[str, httpx.AsyncClient]]]


@pytest.fixture(scope="session")
async def organization(client: httpx.AsyncClient, platform: Any) -> Any:
    """(path, client) of an organization of these tests' own, as its administrator."""
    made = (await client.post("/v1/orgs", json={"name": "Tree", "slug": f"o{secrets.token_hex(6)}"})).json()
    async with httpx.AsyncClient(
        base_url=platform.api_url, headers=bearer(made["admin_key"]), timeout=30
    ) as administrator:
        yield f"/v1/orgs/{made['id']}", administrator


@pytest.fixture
async def project(organization: Any) -> Any:
    """(path, client) of a fresh project."""
    path, administrator = organization
    slug = f"p{secrets.token_hex(6)}"
    made = await administrator.post(f"{path}/projects", json={"name": "Project", "slug": slug})
    assert made.status_code == 201, made.text
    return f"{path}/projects/{made.json()['id']}", administrator


async def test_every_field_of_the_tree_can_be_changed(organization: Any, project: Any) -> None:
    """Given ones change and left out ones stay; the ETag changes with them, and a change of nothing changes nothing."""
    path, administrator = organization
    before = await administrator.get(path)
    changed = await administrator.patch(path, json={"name": "Tree Oy", "settings": {"cost.centre": "4711", "n": 1.5}})
    assert (changed.status_code, changed.json()["name"]) == (200, "Tree Oy")
    assert changed.json()["settings"] == {"cost.centre": "4711", "n": 1.5}
    assert changed.json()["slug"] == before.json()["slug"]
    assert changed.headers["etag"] != before.headers["etag"]
    again = await administrator.patch(path, json={"name": "Tree Oy"})
    assert (again.headers["etag"], again.json()) == (changed.headers["etag"], changed.json())
    assert (await administrator.get(path)).json() == changed.json()
    path, _ = project
    described = await administrator.patch(path, json={"description": "one\ntwo", "name": "Pröject"})
    assert (described.json()["description"], described.json()["name"]) == ("one\ntwo", "Pröject")
    assert (await administrator.patch(path, json={})).json() == described.json()


async def test_an_environment_changes_its_name_posture_and_limits(client: httpx.AsyncClient, environment: Any) -> None:
    """Null takes a limit back; the limits in force say where each comes from; steps stay in the answer."""
    patched = await client.patch(
        environment.path, json={"posture": "prod", "name": "Live", "limits": {"nodes": 5, "waiting_jobs": 7}}
    )
    assert patched.status_code == 200, patched.text
    found = patched.json()
    assert (found["posture"], found["name"], found["limits"]["nodes"]) == ("prod", "Live", 5)
    assert (found["limit_sources"]["nodes"], found["limit_sources"]["node_credentials"]) == ("environment", "default")
    assert found["steps"]
    assert "projects" not in found["limits"]
    taken_back = await client.patch(environment.path, json={"limits": {"nodes": None}})
    assert taken_back.json()["limit_sources"]["nodes"] == "default"
    assert taken_back.json()["limits"]["waiting_jobs"] == 7
    read = await client.get(environment.path)
    assert (read.json(), read.headers["etag"]) == (taken_back.json(), taken_back.headers["etag"])


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"name": None}, "/name", "wrong_type"),
        ({"slug": None}, "/slug", "wrong_type"),
        ({"name": ""}, "/name", "invalid_name"),
        ({"name": "a\u202eb"}, "/name", "invalid_name"),
        ({"slug": "Upper"}, "/slug", "invalid_slug"),
        ({"slug": "1st"}, "/slug", "invalid_slug"),
        ({"slug": "-a"}, "/slug", "invalid_slug"),
        ({"slug": ""}, "/slug", "invalid_slug"),
        ({"slug": "a" * 23}, "/slug", "invalid_slug"),
        ({"nope": 1}, "/nope", "unknown_field"),
        ({"limits": {"nodes": 1}}, "/limits", "unknown_field"),
        ({"settings": {"UPPER": 1}}, "/settings/UPPER", "invalid_setting"),
        ({"settings": {"a": [1]}}, "/settings", "wrong_type"),
        ({"settings": {"a": None}}, "/settings", "wrong_type"),
    ],
)
async def test_what_an_organization_cannot_be_is_refused(
    organization: Any, body: dict[str, Any], path: str, code: str
) -> None:
    """422 at the field: a null is not an absence, and limits are an operator's to set."""
    where, administrator = organization
    before = (await administrator.get(where)).headers["etag"]
    answer = await administrator.patch(where, json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()["errors"][0]
    assert problem["path"] == path
    assert problem["code"] == code
    assert (await administrator.get(where)).headers["etag"] == before


async def test_a_limit_of_an_environment_cannot_exceed_what_its_organization_may_have(
    client: httpx.AsyncClient, environment: Any
) -> None:
    """422 `limit_above_ceiling`, naming the most; a limit of organizations is none of environments."""
    answer = await client.patch(environment.path, json={"limits": {"nodes": 10**9, "projects": 1}})
    assert answer.status_code == 422
    found = {problem["path"]: problem["code"] for problem in answer.json()["errors"]}
    assert found == {"/limits/nodes": "limit_above_ceiling", "/limits/projects": "unknown_limit"}


async def test_a_change_is_made_only_to_what_was_seen(organization: Any, project: Any) -> None:
    """Of twenty who change the version that all of them read, one succeeds; the others hear 412."""
    path, administrator = project
    seen = (await administrator.get(path)).headers["etag"]
    answers = await asyncio.gather(
        *(administrator.patch(path, json={"name": f"n{n}"}, headers={"If-Match": seen}) for n in range(20))
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [412] * 19
    winner = next(answer for answer in answers if answer.status_code == 200)
    assert (await administrator.get(path)).json()["name"] == winner.json()["name"]
    assert (await administrator.delete(path, headers={"If-Match": seen})).status_code == 412
    assert (await administrator.patch(path, json={"name": "x"}, headers={"If-Match": "*"})).status_code == 200
    for where in (path, organization[0]):
        stale = await administrator.patch(where, json={"name": "y"}, headers={"If-Match": '"0"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")


@pytest.mark.parametrize(
    "name",
    ["'; drop table control.project; --", '$1 %s \\ " {}', "аdmin", "admin", "日本", "مرحبا", "❤\ufe0f", "a" * 100],
)
async def test_a_name_is_stored_and_shown_exactly(organization: Any, name: str) -> None:
    """Look-alikes are two projects with two ids; nothing in a name is ever code."""
    path, administrator = organization
    made = await administrator.post(f"{path}/projects", json={"name": name, "slug": f"n{secrets.token_hex(5)}"})
    assert made.status_code == 201, made.text
    assert (await administrator.get(made.headers["location"])).json()["name"] == name
    assert name in {item["name"] for item in (await administrator.get(f"{path}/projects?limit=200")).json()["items"]}


async def test_a_name_is_shown_in_its_normal_form(organization: Any) -> None:
    """NFC, without outer blanks."""
    path, administrator = organization
    made = await administrator.post(
        f"{path}/projects", json={"name": " Zoe\u0308 ", "slug": f"n{secrets.token_hex(5)}"}
    )
    assert made.json()["name"] == "Zo\u00eb"


@pytest.mark.parametrize("slug", ["a", "a" * 22, "z-", "a--b", "x0"])
async def test_slugs_at_their_edges(organization: Any, slug: str) -> None:
    """One and 22 characters, a trailing dash: each names its project in a path."""
    path, administrator = organization
    made = await administrator.post(f"{path}/projects", json={"name": "Edge", "slug": slug})
    assert made.status_code == 201, made.text
    assert (await administrator.get(f"{path}/projects/{slug}")).json()["id"] == made.json()["id"]
    twin = await administrator.post(f"{path}/projects", json={"name": "Edge", "slug": slug})
    assert (twin.status_code, twin.json()["code"]) == (409, "slug_taken")
    assert twin.json()["id"] == made.json()["id"]


async def test_a_slug_can_be_changed_and_taken_by_another(organization: Any, project: Any) -> None:
    """The old name is free at once, on every gateway that hears of it; a taken one is 409 with the id."""
    path, administrator = organization
    mine, _ = project
    old = (await administrator.get(mine)).json()["slug"]
    fresh = f"q{secrets.token_hex(6)}"
    assert (await administrator.patch(mine, json={"slug": fresh})).json()["slug"] == fresh
    assert (await administrator.get(f"{path}/projects/{fresh}")).status_code == 200
    assert (await administrator.get(f"{path}/projects/{old}")).status_code == 404
    heir = await administrator.post(f"{path}/projects", json={"name": "Heir", "slug": old})
    assert heir.status_code == 201
    taken = await administrator.patch(mine, json={"slug": old})
    assert (taken.status_code, taken.json()["id"]) == (409, heir.json()["id"])


async def test_the_slug_of_another_tenant_says_nothing_of_it(organization: Any) -> None:
    """Slugs of organizations are the platform's: taken is taken, and whose is not told."""
    path, administrator = organization
    answer = await administrator.patch(path, json={"slug": "default"})
    assert (answer.status_code, answer.json()["code"]) == (409, "slug_taken")
    assert "id" not in answer.json()


async def test_the_same_environment_made_twice_at_once_is_one(client: httpx.AsyncClient) -> None:
    """One wins, nine hear 409 with its id, whoever comes first."""
    slug = f"t{secrets.token_hex(6)}"
    path = "/v1/orgs/default/projects/default/environments"
    answers = await asyncio.gather(*(client.post(path, json={"name": "Twin", "slug": slug}) for _ in range(10)))
    made = [answer for answer in answers if answer.status_code == 202]
    assert len(made) == 1, [answer.text for answer in answers]
    others = [answer.json() for answer in answers if answer.status_code == 409]
    assert len(others) == 9
    assert {(other["code"], other["id"]) for other in others} == {("slug_taken", made[0].json()["id"])}


async def test_an_environment_of_another_project_keeps_its_id_to_itself(organization: Any, project: Any) -> None:
    """Environment slugs are the organization's; who manages one project may not know the other."""
    path, administrator = organization
    slug = f"e{secrets.token_hex(6)}"
    other = (await administrator.post(f"{path}/projects", json={"name": "Other", "slug": f"o{slug[:8]}"})).json()["id"]
    made = await administrator.post(f"{project[0]}/environments", json={"name": "E", "slug": slug})
    assert made.status_code == 202
    taken = await administrator.post(f"{path}/projects/{other}/environments", json={"name": "E", "slug": slug})
    assert (taken.status_code, taken.json()["code"], "id" in taken.json()) == (409, "slug_taken", False)
    await administrator.delete(project[0])


async def test_pages_are_stable_while_others_add(organization: Any) -> None:
    """Walking the list shows each project that was there exactly once, newest first."""
    path, administrator = organization

    async def add(name: str) -> str:
        made = await administrator.post(f"{path}/projects", json={"name": name, "slug": f"c{secrets.token_hex(6)}"})
        return str(made.json()["id"])

    there = [await add(f"there {n}") for n in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (
            await administrator.get(f"{path}/projects", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await add("meanwhile")
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in there] == there[::-1]


async def test_changes_are_in_the_audit_with_what_changed(organization: Any, project: Any, platform: Any) -> None:
    """Field by field; of settings the names alone."""
    path, administrator = organization
    secret, word = secrets.token_hex(8), secrets.token_hex(4)
    await administrator.patch(path, json={"settings": {"token": secret}}, headers={"X-Request-Id": f"r-{word}"})
    await administrator.patch(project[0], json={"name": "Renamed"}, headers={"X-Request-Id": f"p-{word}"})
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    rows = await owner.fetch(
        "select action, target, details from control.audit where request_id = any ($1)", [f"r-{word}", f"p-{word}"]
    )
    await owner.close()
    found = {row["action"]: (row["target"], json.loads(row["details"])) for row in rows}
    assert found["organization.update"] == (f"organization:{path.rpartition('/')[2]}", {"settings": "token"})
    assert found["project.update"] == (f"project:{project[0].rpartition('/')[2]}", {"name": "Renamed"})


async def test_an_organization_cannot_be_deleted(organization: Any) -> None:
    """That is an operator's action."""
    path, administrator = organization
    assert (await administrator.delete(path)).status_code == 405
