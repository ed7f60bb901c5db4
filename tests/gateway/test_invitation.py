"""Invitations: who may make them, what the token opens, and that it opens it once."""

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import OwnGateway
from tests.gateway.sign_in_ground import PASSWORD, browser, csrf, fresh_address, make_someone, owner_of, sign_in
from waypost.access.key import INVITATION_PREFIX, make_key
from waypost.access.model import Role

INVITATIONS = "/v1/orgs/default/invitations"
ACCEPT = "/v1/invitations/accept"


def new_email() -> str:
    return f"i{secrets.token_hex(8)}@example.com"


async def invite(client: httpx.AsyncClient, email: str, role: str = "operator", **more: Any) -> dict[str, Any]:
    answer = await client.post(INVITATIONS, json={"email": email, "role": role, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def open_ids(client: httpx.AsyncClient) -> list[str]:
    """Of the newest invitations that are open."""
    return [item["id"] for item in (await client.get(INVITATIONS, params={"limit": 200})).json()["items"]]


def acceptance(invitation: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"token": invitation["token"], "name": "Grace Hopper", "password": PASSWORD} | more


async def test_an_invitation_is_made_and_its_token_shown_once(client: httpx.AsyncClient, platform: Any) -> None:
    """201 with link and token, 7 days; the list has neither, the database only the SHA-256."""
    email = new_email()
    made = await invite(client, email.upper())
    assert made["token"].startswith("wpi_")
    assert made["link"] == f"{platform.api_url}/invitations/accept#token={made['token']}"
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7, seconds=2)
    listed = (await client.get(INVITATIONS, params={"limit": 200})).json()["items"]
    (found,) = [item for item in listed if item["id"] == made["id"]]
    assert found == {key: value for key, value in made.items() if key not in ("token", "link")}
    (row,) = await owner_of(platform).fetch("select * from control.invitation where id = $1", made["id"])
    assert row["token_hash"] == hashlib.sha256(made["token"].encode()).digest()
    assert made["token"] not in repr(dict(row))
    assert row["email_folded"] == email


async def test_whoever_accepts_becomes_a_person_and_a_member(client: httpx.AsyncClient, platform: Any) -> None:
    """201 without any other credential; then one signs in and has the role."""
    made = await invite(client, new_email(), "viewer")
    async with browser(platform.api_url) as page:
        answer = await page.post(ACCEPT, json=acceptance(made))
        assert answer.status_code == 201
        body = answer.json()
        assert (body["person"]["email"], body["person"]["name"]) == (made["email"], "Grace Hopper")
        assert (body["organization"]["slug"], body["role"], body["project_id"]) == ("default", "viewer", None)
        assert "set-cookie" not in answer.headers
        signed_in = await page.post("/v1/sessions", json={"email": made["email"], "password": PASSWORD})
        assert signed_in.status_code == 201
        assert (await page.get("/v1/orgs/default/projects")).status_code == 200
        refused = await page.post("/v1/orgs/default/projects", json={"name": "No"}, headers=csrf(signed_in.json()))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert made["id"] not in [
        item["id"] for item in (await client.get(INVITATIONS, params={"limit": 200})).json()["items"]
    ]


async def test_somebody_known_joins_with_the_password_they_have(client: httpx.AsyncClient, platform: Any) -> None:
    """Wrong: 401, and the invitation stays open. Right: one more membership, name and password stay."""
    someone = await make_someone(platform, role=None)
    made = await invite(client, someone.email.upper(), "operator")
    async with browser(platform.api_url) as page:
        await sign_in(page, someone)
        assert (await page.get("/v1/orgs/default/projects")).status_code == 404  # a member of nothing
        wrong = await page.post(ACCEPT, json=acceptance(made, password="wrong horse battery"))
        assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_login")
        right = await page.post(ACCEPT, json=acceptance(made))
        assert right.status_code == 201
        assert right.json()["person"] | {"created_at": ""} == {
            "id": str(someone.id), "email": someone.email, "name": "Test Person", "created_at": "",
        }  # fmt: skip
        assert (await page.get("/v1/orgs/default/projects")).status_code == 200  # the session knows at once


async def test_an_invitation_is_used_once(client: httpx.AsyncClient, platform: Any) -> None:
    """The second time it is like one that never was, whoever tries."""
    made = await invite(client, new_email())
    async with browser(platform.api_url) as page:
        assert (await page.post(ACCEPT, json=acceptance(made))).status_code == 201
        again = await page.post(ACCEPT, json=acceptance(made))
    assert (again.status_code, again.json()["code"]) == (404, "invalid_invitation")


async def test_of_two_who_accept_at_once_one_wins(own_gateway: OwnGateway, platform: Any) -> None:
    """One 201, the others 404 invalid_invitation; one person, one membership: for new people and known ones."""
    known = await make_someone(platform, role=None)
    for email in (new_email(), known.email):
        made = await invite(own_gateway.client, email)
        async with browser(own_gateway.url) as page, browser(platform.api_url) as elsewhere:
            answers = await asyncio.gather(
                *(client.post(ACCEPT, json=acceptance(made)) for client in (page, elsewhere, page, elsewhere))
            )
        assert sorted(answer.status_code for answer in answers) == [201, 404, 404, 404], [a.text for a in answers]
        assert {a.json()["code"] for a in answers if a.status_code == 404} == {"invalid_invitation"}
        (row,) = await owner_of(platform).fetch(
            """select count(distinct p.id) as people, count(m.id) as memberships from control.person p
            left join control.membership m on m.person_id = p.id where p.email_folded = $1""",
            email,
        )
        assert (row["people"], row["memberships"]) == (1, 1)


async def test_two_invitations_of_one_new_address_make_one_person(client: httpx.AsyncClient, platform: Any) -> None:
    """Accepted at the same moment: one makes the person, the other is told to look again, and then joins."""
    email = new_email()
    first, second = await invite(client, email), await invite(client, email, "viewer", project="default")
    async with browser(platform.api_url) as page:
        answers = await asyncio.gather(*(page.post(ACCEPT, json=acceptance(made)) for made in (first, second)))
        for made, answer in zip((first, second), answers, strict=True):
            if answer.status_code == 409:
                assert answer.json()["code"] == "email_taken"
                assert (await page.post(ACCEPT, json=acceptance(made))).status_code == 201
            else:
                assert answer.status_code == 201
    (row,) = await owner_of(platform).fetch(
        """select count(*) from control.membership m join control.person p on p.id = m.person_id
        where p.email_folded = $1""",
        email,
    )
    assert row["count"] == 2


async def test_no_answer_tells_why_a_token_opens_nothing(client: httpx.AsyncClient, platform: Any) -> None:
    """Used, revoked, expired, of a project that is gone, unknown, mistyped, none at all: the same 404."""
    used, revoked, expired = [await invite(client, new_email()) for _ in range(3)]
    project = (await client.post("/v1/orgs/default/projects", json={"name": new_email()[:20]})).json()
    homeless = await invite(client, new_email(), project=project["id"])
    assert (await client.delete(f"/v1/orgs/default/projects/{project['id']}")).is_success
    async with browser(platform.api_url) as page:
        assert (await page.post(ACCEPT, json=acceptance(used))).status_code == 201
        assert (await client.delete(f"{INVITATIONS}/{revoked['id']}")).status_code == 204
        await owner_of(platform).execute(
            "update control.invitation set expires_at = now() - interval '1 second' where id = $1", expired["id"]
        )
        unknown = make_key(INVITATION_PREFIX)[1]
        mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
        spent = [one["token"] for one in (used, revoked, expired, homeless)]
        tokens = [*spent, unknown, mistyped, "", "wpi_", "\x00"]
        answers = [await page.post(ACCEPT, json={"token": token, "password": PASSWORD}) for token in tokens]
    shown = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(one == shown[0] for one in shown)
    assert shown[0]["code"] == "invalid_invitation"


async def test_a_bad_password_leaves_the_invitation_open(client: httpx.AsyncClient, platform: Any) -> None:
    """422 with the rule; then a good one."""
    made = await invite(client, new_email())
    async with browser(platform.api_url) as page:
        for password in ("short", made["email"].upper(), "a" * 1025):
            answer = await page.post(ACCEPT, json=acceptance(made, password=password))
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_password")
            assert answer.json()["errors"][0]["path"] == "/password"
            assert password not in answer.text
        assert (await page.post(ACCEPT, json=acceptance(made, name="a\u202eb"))).status_code == 422
        assert (await page.post(ACCEPT, json=acceptance(made))).status_code == 201


async def test_a_member_is_told_so_and_keeps_the_role(client: httpx.AsyncClient, platform: Any) -> None:
    """409 already_member: an invitation never takes a role away."""
    someone = await make_someone(platform, Role.PROJECT_ADMIN)
    made = await invite(client, someone.email, "viewer")
    async with browser(platform.api_url) as page:
        answer = await page.post(ACCEPT, json=acceptance(made))
    assert (answer.status_code, answer.json()["code"]) == (409, "already_member")
    (row,) = await owner_of(platform).fetch("select role from control.membership where person_id = $1", someone.id)
    assert row["role"] == "project_admin"
    assert made["id"] in await open_ids(client)


async def test_an_invitation_can_be_to_one_project(client: httpx.AsyncClient, platform: Any) -> None:
    """By id or slug; the membership is in that project alone."""
    made = await invite(client, new_email(), "project_admin", project="default")
    async with browser(platform.api_url) as page:
        assert (await page.post(ACCEPT, json=acceptance(made))).json()["project_id"] == made["project_id"]
    (row,) = await owner_of(platform).fetch(
        """select m.project_id, m.role from control.membership m join control.person p on p.id = m.person_id
        where p.email_folded = $1""",
        made["email"],
    )
    assert (str(row["project_id"]), row["role"]) == (made["project_id"], "project_admin")
    by_id = await invite(client, new_email(), project=made["project_id"])
    assert by_id["project_id"] == made["project_id"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"email": "nobody"}, "/email"),
        ({"email": "аda@example.com"}, "/email"),
        ({"role": "owner"}, "/role"),
        ({"role": "org_admin", "project": "default"}, "/role"),
        ({"project": "no-such"}, "/project"),
        ({"project": "a\x00b"}, "/project"),
        ({"expires_in_seconds": 59}, "/expires_in_seconds"),
        ({"expires_in_seconds": 2592001}, "/expires_in_seconds"),
        ({"expires_in_seconds": -1}, "/expires_in_seconds"),
        ({"note": "hi"}, "/note"),
    ],
)
async def test_a_bad_invitation_is_refused(
    client: httpx.AsyncClient, platform: Any, change: dict[str, Any], path: str
) -> None:
    """422 naming the field; nothing is kept."""
    email = new_email()
    answer = await client.post(INVITATIONS, json={"email": email, "role": "viewer"} | change)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"] == path
    kept = await owner_of(platform).fetch("select from control.invitation where email_folded = $1", email)
    assert kept == []


async def test_a_project_of_another_organization_is_none(
    client: httpx.AsyncClient, platform: Any, foreign_key: str
) -> None:
    """An id of elsewhere is as unknown as any."""
    headers = {"Authorization": f"Bearer {foreign_key}"}
    async with browser(platform.api_url, headers=headers) as foreign:
        organization = (await foreign.get("/v1/orgs")).json()["items"][0]["id"]
        made = await foreign.post(f"/v1/orgs/{organization}/projects", json={"name": "Theirs"})
        answer = await client.post(
            INVITATIONS, json={"email": new_email(), "role": "viewer", "project": made.json()["id"]}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_project")
        ours = await invite(client, new_email())
        assert (await foreign.delete(f"{INVITATIONS}/{ours['id']}")).status_code == 404
        theirs = f"/v1/orgs/{organization}/invitations"
        assert (await foreign.delete(f"{theirs}/{ours['id']}")).status_code == 404
        assert (await foreign.get(theirs)).json()["items"] == []
        assert (await foreign.get(INVITATIONS)).status_code == 404


async def test_an_invitation_expires_when_it_says(client: httpx.AsyncClient) -> None:
    """`expires_in_seconds` from a minute to 30 days."""
    for seconds in (60, 2592000):
        made = await invite(client, new_email(), expires_in_seconds=seconds)
        life = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
        assert life == timedelta(seconds=seconds)


async def test_only_who_manages_memberships_sees_or_makes_invitations(platform: Any) -> None:
    """403 naming ManageOrgMemberships for every other role; an administrator who signed in may."""
    async with browser(platform.api_url) as page:
        for role in (Role.VIEWER, Role.OPERATOR, Role.PROJECT_ADMIN):
            signed_in = await sign_in(page, await make_someone(platform, role))
            for method, path in (("GET", INVITATIONS), ("POST", INVITATIONS), ("DELETE", f"{INVITATIONS}/x")):
                answer = await page.request(method, path, json={}, headers=csrf(signed_in))
                assert answer.status_code == 403
                assert answer.json()["permission"] == "ManageOrgMemberships"
        admin = await make_someone(platform, Role.ORG_ADMIN)
        signed_in = await sign_in(page, admin)
        made = await page.post(INVITATIONS, json={"email": new_email(), "role": "viewer"}, headers=csrf(signed_in))
        assert made.json()["created_by"] == f"person:{admin.id}"


async def test_the_same_idempotency_key_invites_once(client: httpx.AsyncClient) -> None:
    """The first answer again, token included."""
    body, headers = {"email": new_email(), "role": "viewer"}, {"Idempotency-Key": secrets.token_hex(8)}
    first = await client.post(INVITATIONS, json=body, headers=headers)
    second = await client.post(INVITATIONS, json=body, headers=headers)
    assert second.headers["idempotent-replayed"] == "true"
    assert first.json() == second.json()


async def test_revoking_twice_or_after_use_finds_nothing(client: httpx.AsyncClient, platform: Any) -> None:
    """404: only what is open can be revoked."""
    made, used = await invite(client, new_email()), await invite(client, new_email())
    async with browser(platform.api_url) as page:
        await page.post(ACCEPT, json=acceptance(used))
    assert (await client.delete(f"{INVITATIONS}/{made['id']}")).status_code == 204
    for path in (made["id"], used["id"], "not-an-id"):
        assert (await client.delete(f"{INVITATIONS}/{path}")).status_code == 404


async def test_the_audit_tells_of_invitations_and_holds_no_token(client: httpx.AsyncClient, platform: Any) -> None:
    """invitation.create, .revoke, .accept with person.create and member.add: all in the organization's audit."""
    address, revoked, made = fresh_address(), await invite(client, new_email()), await invite(client, new_email())
    await client.delete(f"{INVITATIONS}/{revoked['id']}")
    async with browser(platform.api_url, address) as page:
        accepted = (await page.post(ACCEPT, json=acceptance(made))).json()
    owner, person = owner_of(platform), f"person:{accepted['person']['id']}"
    rows = await owner.fetch(
        """select action, actor, target, outcome, details, organization_id is not null as owned from control.audit
        where target = any ($1) order by id""",
        [f"invitation:{revoked['id']}", f"invitation:{made['id']}", person],
    )
    assert [(row["action"], row["target"]) for row in rows] == [
        ("invitation.create", f"invitation:{revoked['id']}"),
        ("invitation.create", f"invitation:{made['id']}"),
        ("invitation.revoke", f"invitation:{revoked['id']}"),
        ("person.create", person),
        ("invitation.accept", f"invitation:{made['id']}"),
        ("member.add", person),
    ]
    assert all(row["owned"] and row["outcome"] == "done" for row in rows)
    assert {row["actor"] for row in rows[3:]} == {person}
    whole = repr([dict(row) for row in rows])
    for secret in (made["token"], made["token"][16:59], revoked["token"], PASSWORD):
        assert secret not in whole
