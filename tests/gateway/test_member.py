"""Members: people with roles, over HTTP."""

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from storage.postgres.access import membership
from tests.gateway.conftest import OwnGateway, bearer
from tests.gateway.person_ground import SignedIn, sign_in
from waypost.access.model import Role
from waypost.ids import new_id

MANY = 10_000
NOBODY = "018f0000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Ground:
    """An organization of the test's own, with the project `images`."""

    id: UUID
    path: str
    project: UUID
    key: str
    key_id: str

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.key)

    @property
    def members(self) -> str:
        return f"{self.path}/members"


@pytest.fixture
async def ground(client: httpx.AsyncClient) -> Ground:
    slug = f"n{secrets.token_hex(6)}"
    made = (await client.post("/v1/orgs", json={"name": "Harbour", "slug": slug})).json()
    path, headers = f"/v1/orgs/{slug}", bearer(made["admin_key"])
    project = await client.post(f"{path}/projects", json={"name": "images"}, headers=headers)
    keys = (await client.get(f"{path}/api-keys", headers=headers)).json()["items"]
    return Ground(UUID(made["id"]), path, UUID(project.json()["id"]), made["admin_key"], keys[0]["id"])


async def test_a_member_is_added_read_changed_and_removed(
    client: httpx.AsyncClient, platform: Any, ground: Ground
) -> None:
    """By e-mail and by id, in the organization and in a project; each step counts at once for the person."""
    person = await sign_in(platform)
    assert (await client.get(ground.path, headers=person.headers)).status_code == 404
    body = {"email": person.email.upper(), "role": "viewer"}
    made = await client.post(ground.members, json=body, headers=ground.headers)
    assert made.status_code == 201, made.text
    member = made.json()
    assert member["person"] == {"id": str(person.id), "email": person.email, "name": "Test Person"}
    assert (member["role"], member["project_id"]) == ("viewer", None)
    path = f"{ground.members}/{member['id']}"
    assert made.headers["location"].endswith(f"/members/{member['id']}")
    assert (await client.get(ground.path, headers=person.headers)).status_code == 200
    assert (await client.post(f"{ground.path}/projects", json={"name": "p"}, headers=person.headers)).status_code == 403

    read = await client.get(path, headers=ground.headers)
    assert (read.json(), read.headers["etag"]) == (member, made.headers["etag"])
    changed = await client.patch(path, json={"role": "org_admin"}, headers=ground.headers)
    assert changed.json()["role"] == "org_admin"
    assert changed.headers["etag"] != made.headers["etag"]
    assert (await client.post(f"{ground.path}/projects", json={"name": "p"}, headers=person.headers)).status_code == 201

    body = {"person_id": str(person.id), "role": "operator", "project": "images"}
    in_project = (await client.post(ground.members, json=body, headers=ground.headers)).json()
    assert in_project["project_id"] == str(ground.project)
    listed = (await client.get(ground.members, headers=ground.headers)).json()["items"]
    assert [one["id"] for one in listed] == [in_project["id"], member["id"]]
    only = (await client.get(f"{ground.members}?project=images", headers=ground.headers)).json()["items"]
    assert [one["id"] for one in only] == [in_project["id"]]

    assert (await client.delete(path, headers=ground.headers)).status_code == 204
    assert (await client.get(path, headers=ground.headers)).status_code == 404
    assert (await client.delete(path, headers=ground.headers)).status_code == 404
    assert (await client.get(f"{ground.path}/projects/images", headers=person.headers)).status_code == 200
    seen = (await client.get(f"{ground.path}/projects", headers=person.headers)).json()["items"]
    assert [one["slug"] for one in seen] == ["images"]


async def test_if_match_guards_changes(client: httpx.AsyncClient, platform: Any, ground: Ground) -> None:
    """A change made on what was seen before somebody else's change is 412."""
    person = await sign_in(platform, (ground.id, None, Role.VIEWER))
    path = f"{ground.members}/{person.member_ids[0]}"
    seen = (await client.get(path, headers=ground.headers)).headers["etag"]
    stale = ground.headers | {"If-Match": seen}
    assert (await client.patch(path, json={"role": "operator"}, headers=stale)).status_code == 200
    for refused in (
        await client.patch(path, json={"role": "viewer"}, headers=stale),
        await client.delete(path, headers=stale),
    ):
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert (await client.get(path, headers=ground.headers)).json()["role"] == "operator"


async def test_the_same_request_makes_one_member(client: httpx.AsyncClient, platform: Any, ground: Ground) -> None:
    """With an Idempotency-Key the first answer again; without, 409 with the id of what is there."""
    person = await sign_in(platform)
    headers = ground.headers | {"Idempotency-Key": secrets.token_hex(8)}
    body = {"email": person.email, "role": "viewer"}
    first, again = [await client.post(ground.members, json=body, headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = await client.post(ground.members, json=body | {"role": "operator"}, headers=headers)
    assert other.json()["code"] == "idempotency_conflict"
    twice = await client.post(ground.members, json=body, headers=ground.headers)
    assert (twice.status_code, twice.json()["code"]) == (409, "already_member")
    assert twice.json()["member_id"] == first.json()["id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": "nobody@example.com", "role": "viewer"}, "unknown_person"),
        ({"person_id": NOBODY, "role": "viewer"}, "unknown_person"),
        ({"email": "x'; drop table control.person; --@example.com", "role": "viewer"}, "invalid_email"),
        ({"email": "a\u0000b@example.com", "role": "viewer"}, "invalid_email"),
        ({"role": "viewer"}, "invalid_member"),
        (
            {"person_id": NOBODY, "email": "a@example.com", "role": "viewer"},
            "invalid_member",
        ),
        ({"email": "EXISTING", "role": "owner"}, "invalid_value"),
        ({"email": "EXISTING", "role": "ORG_ADMIN"}, "invalid_value"),
        ({"email": "EXISTING"}, "missing_field"),
        ({"email": "EXISTING", "role": "org_admin", "project": "images"}, "invalid_role"),
        ({"email": "EXISTING", "role": "viewer", "project": "' or 1=1 --"}, "unknown_project"),
        ({"email": "EXISTING", "role": "viewer", "project": "a\u0000"}, "unknown_project"),
        ({"email": "EXISTING", "role": "viewer", "project": NOBODY}, "unknown_project"),
        ({"email": "EXISTING", "role": "viewer", "admin": True}, "unknown_field"),
    ],
)
async def test_bad_members_are_refused(
    client: httpx.AsyncClient, platform: Any, ground: Ground, body: dict[str, Any], code: str
) -> None:
    """422 with a stable code; nothing is kept."""
    if body.get("email") == "EXISTING":
        body = body | {"email": (await sign_in(platform)).email}
    answer = await client.post(ground.members, json=body, headers=ground.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert (await client.get(ground.members, headers=ground.headers)).json()["items"] == []


async def test_bad_addresses_and_changes_are_refused(client: httpx.AsyncClient, platform: Any, ground: Ground) -> None:
    """An id that is none is 404; a project's member cannot become org_admin; a foreign member is 404."""
    person = await sign_in(platform, (ground.id, ground.project, Role.VIEWER))
    path = f"{ground.members}/{person.member_ids[0]}"
    answer = await client.patch(path, json={"role": "org_admin"}, headers=ground.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_role")
    for wrong in ("nobody", str(new_id()), "'%20or%201=1", "%00"):
        assert (await client.get(f"{ground.members}/{wrong}", headers=ground.headers)).status_code == 404
    foreign = f"/v1/orgs/default/members/{person.member_ids[0]}"
    assert (await client.get(foreign)).status_code == 404
    assert (await client.delete(foreign)).status_code == 404
    assert (await client.get(f"{ground.members}?project=nothing", headers=ground.headers)).status_code == 422


async def _alone(client: httpx.AsyncClient, platform: Any, ground: Ground, count: int) -> list[SignedIn]:
    """So many administrators, and no key that administers."""
    people = [await sign_in(platform, (ground.id, None, Role.ORG_ADMIN)) for _ in range(count)]
    gone = await client.delete(f"{ground.path}/api-keys/{ground.key_id}", headers=people[0].headers)
    assert gone.status_code == 204, gone.text
    return people


async def test_the_last_administrator_may_not_leave(client: httpx.AsyncClient, platform: Any, ground: Ground) -> None:
    """Not leave, not be demoted; it says why. With a second one, or with a live key, they may."""
    (last,) = await _alone(client, platform, ground, 1)
    await sign_in(platform, (ground.id, None, Role.PROJECT_ADMIN))  # of no help
    path = f"{ground.members}/{last.member_ids[0]}"
    for refused in (
        await client.delete(path, headers=last.headers),
        await client.patch(path, json={"role": "viewer"}, headers=last.headers),
    ):
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "last_admin")
        assert last.email in problem["detail"]
        assert "no other person has the role org_admin" in problem["detail"]
    assert (await client.patch(path, json={"role": "org_admin"}, headers=last.headers)).status_code == 200
    made = await client.post(
        f"{ground.path}/api-keys", json={"name": "rescue", "role": "org_admin"}, headers=last.headers
    )
    assert (await client.delete(path, headers=last.headers)).status_code == 204
    key = bearer(made.json()["key"])
    last_key = await client.delete(f"{ground.path}/api-keys/{made.json()['id']}", headers=key)
    assert (last_key.status_code, last_key.json()["code"]) == (409, "last_admin")


async def test_keys_that_do_not_live_and_people_who_are_disabled_administer_nothing(
    client: httpx.AsyncClient, platform: Any, ground: Ground
) -> None:
    """An expired key and a disabled administrator do not let the last one go."""
    last, disabled = await _alone(client, platform, ground, 2)
    made = await client.post(f"{ground.path}/api-keys", json={"name": "old", "role": "org_admin"}, headers=last.headers)
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    await owner.execute("update control.person set disabled_at = now() where id = $1", disabled.id)
    await owner.execute("update control.api_key set expires_at = now() where id = $1", UUID(made.json()["id"]))
    await owner.close()
    answer = await client.delete(f"{ground.members}/{last.member_ids[0]}", headers=last.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")


@pytest.mark.parametrize("act", ["delete", "demote", "mixed"])
async def test_of_two_administrators_who_remove_each_other_one_stays(
    client: httpx.AsyncClient, platform: Any, ground: Ground, act: str
) -> None:
    """At the same moment, again and again: never none, never both refused."""
    one, two = await _alone(client, platform, ground, 2)

    async def take(actor: SignedIn, target: SignedIn, demote: bool) -> int:
        path = f"{ground.members}/{target.member_ids[0]}"
        if demote:
            return (await client.patch(path, json={"role": "viewer"}, headers=actor.headers)).status_code
        return (await client.delete(path, headers=actor.headers)).status_code

    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    query = "select count(*) from control.membership where organization_id = $1 and role = 'org_admin'"
    for _ in range(8):
        both = await asyncio.gather(take(one, two, act != "delete"), take(two, one, act == "demote"))
        assert sorted(status // 100 for status in both) == [2, 4], both
        assert set(both) <= {200, 204, 403, 404, 409}
        assert await owner.fetchval(query, ground.id) == 1
        one = one if both[0] < 300 else two
        two = await sign_in(platform, (ground.id, None, Role.ORG_ADMIN))
    await owner.close()


async def test_other_gateways_hear_of_a_changed_role(
    client: httpx.AsyncClient, own_gateway: OwnGateway, platform: Any, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message drops what they know of the person long before that ages."""
    monkeypatch.setattr(own_gateway.services.sessions._cache, "_seconds", 3_600)
    person = await sign_in(platform, (ground.id, None, Role.ORG_ADMIN))
    elsewhere = own_gateway.client
    assert (await elsewhere.get(f"{ground.path}/invitations", headers=person.headers)).status_code == 200
    path = f"{ground.members}/{person.member_ids[0]}"
    assert (await client.patch(path, json={"role": "viewer"}, headers=ground.headers)).status_code == 200
    async with asyncio.timeout(30):
        while (  # noqa: ASYNC110 - the other process's message is what is waited for
            await elsewhere.get(f"{ground.path}/invitations", headers=person.headers)
        ).status_code != 403:
            await asyncio.sleep(0.02)


async def test_changes_of_members_are_in_the_audit(client: httpx.AsyncClient, platform: Any, ground: Ground) -> None:
    """Who gave, changed and took which role, with the request's id, in one transaction with the change."""
    person = await sign_in(platform)
    request_id = f"test-{secrets.token_hex(6)}"
    headers = ground.headers | {"X-Request-Id": request_id}
    made = await client.post(ground.members, json={"email": person.email, "role": "viewer"}, headers=headers)
    path = f"{ground.members}/{made.json()['id']}"
    await client.patch(path, json={"role": "operator"}, headers=headers)
    await client.delete(path, headers=headers)
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    rows = await owner.fetch("select * from control.audit where request_id = $1 order by id", request_id)
    await owner.close()
    assert [row["action"] for row in rows] == ["member.add", "member.change", "member.remove"]
    assert {row["target"] for row in rows} == {f"person:{person.id}"}
    assert {row["actor"] for row in rows} == {f"key:{ground.key_id}"}
    assert '"role_before":"viewer"' in rows[1]["details"].replace(" ", "")


_PEOPLE = """
insert into control.person (id, email, email_folded) select i, e, e from unnest($1::uuid[], $2::text[]) as u (i, e)
"""
_MEMBERS = """
insert into control.membership (id, organization_id, person_id, role, created_by)
select i, $2, i, 'viewer', 'test' from unnest($1::uuid[]) i
"""


async def test_ten_thousand_members_are_listed_page_by_page(
    client: httpx.AsyncClient, platform: Any, ground: Ground
) -> None:
    """Each once, newest first, also while somebody joins; a page is read from the index."""
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    ids = [new_id() for _ in range(MANY)]
    emails = [f"m{identifier.hex}@example.com" for identifier in ids]
    await owner.execute(_PEOPLE, ids, emails)
    await owner.execute(_MEMBERS, ids, ground.id)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        address = f"{ground.members}?limit=200" + (f"&cursor={cursor}" if cursor else "")
        page = (await client.get(address, headers=ground.headers)).json()
        seen += [member["id"] for member in page["items"]]
        cursor = page["next_cursor"]
        if len(seen) == 200:
            newcomer = await sign_in(platform, (ground.id, None, Role.VIEWER))
            assert str(newcomer.member_ids[0]) not in seen
    assert seen == [str(identifier) for identifier in reversed(ids)]
    await owner.execute("analyze control.membership; analyze control.person")
    explain = "explain (analyze, format json) " + membership._LIST
    plan = json.loads(await owner.fetchval(explain, ground.id, ids[MANY // 2], None, 201))[0]["Plan"]
    await owner.execute("delete from control.membership where organization_id = $1 and id = any ($2)", ground.id, ids)
    await owner.execute("delete from control.person where id = any ($1)", ids)
    await owner.close()
    assert [node["Node Type"] for node in _nodes(plan) if node.get("Relation Name") == "membership"] == ["Index Scan"]
    for node in _nodes(plan):
        assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) < 300, node


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", ()) for node in _nodes(inner))]
