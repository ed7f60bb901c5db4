"""Signing in, what a session may do, and how it ends."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import argon2
import httpx
import pytest
import structlog

from tests.gateway.conftest import MakeGateway, OwnGateway
from tests.gateway.sign_in_ground import (
    PASSWORD,
    bearer,
    browser,
    csrf,
    fresh_address,
    make_someone,
    owner_of,
    sign_in,
)
from waypost.access.model import Role
from waypost.person import password as hashing

PROJECTS = "/v1/orgs/default/projects"


def cookie_of(answer: httpx.Response) -> tuple[str, set[str]]:
    """The session's token and the cookie's attributes."""
    value, *attributes = answer.headers["set-cookie"].split("; ")
    name, _, token = value.partition("=")
    assert name == "waypost_session"
    return token, set(attributes)


async def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_do_not_get(platform: Any) -> None:
    """201; HttpOnly, SameSite=Strict, Path=/, 12 hours; not Secure where the public URL is plain HTTP."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        answer = await page.post("/v1/sessions", json=someone.login)
    assert answer.status_code == 201
    token, attributes = cookie_of(answer)
    assert token.startswith("wps_")
    assert attributes == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"id", "expires_at", "person", "csrf_token"}
    assert token not in answer.text
    assert body["person"]["email"] == someone.email
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=58) < left <= timedelta(hours=12, seconds=2)


async def test_the_cookie_is_secure_where_the_public_url_is_https(platform: Any, make_gateway: MakeGateway) -> None:
    """So that no browser ever sends it in the clear; also when it is taken away."""
    someone = await make_someone(platform)
    async with make_gateway(public_url="https://waypost.example") as own, browser(own.url) as page:
        answer = await page.post("/v1/sessions", json=someone.login)
        token, attributes = cookie_of(answer)
        assert "Secure" in attributes
        headers = {"Cookie": f"waypost_session={token}"} | csrf(answer.json())
        gone = await page.delete("/v1/sessions/current", headers=headers)
        assert gone.status_code == 204
        assert cookie_of(gone) == ("", {"Path=/", "Max-Age=0", "HttpOnly", "SameSite=Strict", "Secure"})


async def test_a_command_gets_a_token_and_no_cookie(platform: Any) -> None:
    """`wps_…` for Authorization: Bearer; its changes need no CSRF token."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as command:
        answer = await command.post("/v1/sessions", json=someone.login | {"token": True})
        assert answer.status_code == 201
        assert "set-cookie" not in answer.headers
        assert set(answer.json()) == {"id", "expires_at", "person", "access_token"}
        headers = bearer(answer.json())
        assert (await command.get(PROJECTS, headers=headers)).status_code == 200
        assert (await command.patch("/v1/people/me", json={"name": "New"}, headers=headers)).status_code == 200
        gone = await command.delete("/v1/sessions/current", headers=headers)
        assert gone.status_code == 204
        assert "set-cookie" not in gone.headers
        assert (await command.get(PROJECTS, headers=headers)).status_code == 401


async def test_a_cookies_token_is_no_bearer_token_nor_the_other_way_round(platform: Any) -> None:
    """Else who stole a cookie's value would need no CSRF token."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        await sign_in(page, someone)
        stolen = page.cookies["waypost_session"]
        issued = (await sign_in(page, someone, token=True))["access_token"]
        page.cookies.clear()
        as_bearer = await page.get(PROJECTS, headers={"Authorization": f"Bearer {stolen}"})
        as_cookie = await page.get(PROJECTS, headers={"Cookie": f"waypost_session={issued}"})
    for answer in (as_bearer, as_cookie):
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_session")


CHANGES = [
    ("POST", PROJECTS, {"name": "Never"}),
    ("POST", "/v1/orgs/default/invitations", {"email": "x@example.com", "role": "viewer"}),
    ("PATCH", "/v1/people/me", {"name": "Never"}),
    ("DELETE", "/v1/sessions/current", None),
    ("DELETE", "/v1/sessions", None),
    ("POST", "/v1/orgs/default/projects/default/environments/default/jobs", {"function": "a.b"}),  # past Litestar
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=[f"{method} {path}" for method, path, _ in CHANGES])
async def test_a_cookie_changes_nothing_without_its_csrf_token(
    platform: Any, method: str, path: str, body: Any
) -> None:
    """Every method that is not reading, on every kind of route: 403 csrf_token_missing, and nothing happened."""
    someone = await make_someone(platform, Role.ORG_ADMIN)
    async with browser(platform.api_url) as page, browser(platform.api_url) as elsewhere:
        other = await sign_in(elsewhere, someone)
        await sign_in(page, someone)
        for sent in (None, "", "0" * 64, other["csrf_token"]):
            headers = {} if sent is None else {"X-CSRF-Token": sent}
            answer = await page.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "csrf_token_missing")
        current = await page.get("/v1/sessions/current")
        assert current.json()["person"]["name"] == "Test Person"
        names = [project["name"] for project in (await page.get(PROJECTS)).json()["items"]]
        assert "Never" not in names


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_reading_with_a_cookie_needs_no_csrf_token(platform: Any, method: str) -> None:
    """A page can be loaded by following a link."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        await sign_in(page, someone)
        assert (await page.request(method, PROJECTS)).status_code < 300


async def test_a_change_with_the_csrf_token_is_done(platform: Any) -> None:
    """Through Litestar and on the path of submissions alike."""
    someone = await make_someone(platform, Role.ORG_ADMIN)
    async with browser(platform.api_url) as page:
        signed_in = await sign_in(page, someone)
        renamed = await page.patch("/v1/people/me", json={"name": "Done"}, headers=csrf(signed_in))
        assert (renamed.status_code, renamed.json()["name"]) == (200, "Done")
        path = f"{platform.environment_path}/jobs"
        refused = await page.post(path, json={"function": "Not A Name"}, headers=csrf(signed_in))
        assert refused.status_code in (409, 422)  # past every question of who asks
        loaded_anew = (await page.get("/v1/sessions/current")).json()
        assert loaded_anew["csrf_token"] == signed_in["csrf_token"]


async def test_an_authorization_header_counts_before_a_cookie(platform: Any) -> None:
    """What is sent on purpose says who asks; a wrong one is not made up for by a cookie."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        await sign_in(page, someone)
        as_key = await page.get("/v1/whoami", headers={"Authorization": f"Bearer {platform.admin_key}"})
        assert as_key.json()["kind"] == "organization_key"
        wrong = await page.get("/v1/whoami", headers={"Authorization": "Bearer wp_wrong"})
        assert wrong.status_code == 401


async def test_another_sites_page_cannot_sign_its_visitor_in(platform: Any) -> None:
    """As a browser says of itself; the session would be the attacker's own."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        answer = await page.post("/v1/sessions", json=someone.login, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
    assert "set-cookie" not in answer.headers


async def test_of_a_session_only_the_digest_of_its_token_is_kept(platform: Any) -> None:
    """No column of the row holds the token or the CSRF token."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        signed_in = await sign_in(page, someone)
        token = page.cookies["waypost_session"]
    (row,) = await owner_of(platform).fetch("select * from control.person_session where person_id = $1", someone.id)
    assert row["token_hash"] == hashlib.sha256(token.encode()).digest()
    kept = repr(dict(row))
    assert token not in kept
    assert token[16:59] not in kept
    assert signed_in["csrf_token"] not in kept


async def test_a_session_ends_an_hour_after_its_last_use(own_gateway: OwnGateway, platform: Any) -> None:
    """59 minutes of silence are none too many; 61 are."""
    someone, owner = await make_someone(platform), owner_of(platform)
    async with browser(own_gateway.url) as page:
        await sign_in(page, someone)
        await _age(owner, someone, "last_used_at", minutes=59)
        own_gateway.services.sessions.clear()
        assert (await page.get("/v1/sessions/current")).status_code == 200
        await _age(owner, someone, "last_used_at", minutes=61)
        own_gateway.services.sessions.clear()
        answer = await page.get("/v1/sessions/current")
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_session")


async def test_using_a_session_moves_its_idle_end_but_is_written_once_a_minute(
    own_gateway: OwnGateway, platform: Any
) -> None:
    """Sliding; a second use within a minute writes nothing."""
    someone, owner = await make_someone(platform), owner_of(platform)
    async with browser(own_gateway.url) as page:
        await sign_in(page, someone)
        await _age(owner, someone, "last_used_at", minutes=30)
        own_gateway.services.sessions.clear()
        await page.get("/v1/sessions/current")
        (first,) = await owner.fetch(
            "select last_used_at, now() - last_used_at as since from control.person_session where person_id = $1",
            someone.id,
        )
        assert first["since"] < timedelta(minutes=1)
        own_gateway.services.sessions.clear()
        await page.get("/v1/sessions/current")
        (second,) = await owner.fetch(
            "select last_used_at from control.person_session where person_id = $1", someone.id
        )
        assert second["last_used_at"] == first["last_used_at"]


async def test_a_session_ends_after_twelve_hours_however_busy_it_is(own_gateway: OwnGateway, platform: Any) -> None:
    """The absolute end is fixed when it begins and no use moves it."""
    someone, owner = await make_someone(platform), owner_of(platform)
    async with browser(own_gateway.url) as page:
        await sign_in(page, someone)
        (row,) = await owner.fetch(
            "select expires_at - created_at as life from control.person_session where person_id = $1", someone.id
        )
        assert row["life"] == timedelta(hours=12)
        await _age(owner, someone, "expires_at", minutes=12 * 60 + 1)
        own_gateway.services.sessions.clear()
        assert (await page.get("/v1/sessions/current")).status_code == 401


async def _age(owner: Any, someone: Any, column: str, *, minutes: int) -> None:
    await owner.execute(
        f"update control.person_session set {column} = {column} - $2::interval where person_id = $1",  # noqa: S608 - ours
        someone.id,
        timedelta(minutes=minutes),
    )


async def test_signing_out_ends_that_session_at_once_and_no_other(platform: Any) -> None:
    """The cookie is taken away and would be good for nothing."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page, browser(platform.api_url) as elsewhere:
        signed_in = await sign_in(page, someone)
        await sign_in(elsewhere, someone)
        kept = page.cookies["waypost_session"]
        answer = await page.delete("/v1/sessions/current", headers=csrf(signed_in))
        assert answer.status_code == 204
        assert "waypost_session" not in page.cookies
        again = await page.get("/v1/sessions/current", headers={"Cookie": f"waypost_session={kept}"})
        assert again.status_code == 401
        assert (await elsewhere.get("/v1/sessions/current")).status_code == 200


async def test_signing_out_everywhere_ends_every_session_at_every_gateway(
    own_gateway: OwnGateway, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers and tokens; another gateway, which had them cached, is told."""
    monkeypatch.setattr(own_gateway.services.sessions._cache, "_seconds", 3_600)
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page, browser(own_gateway.url) as elsewhere:
        signed_in = await sign_in(page, someone)
        command = await sign_in(elsewhere, someone, token=True)
        assert (await elsewhere.get(PROJECTS, headers=bearer(command))).status_code == 200  # cached there
        assert (await page.delete("/v1/sessions", headers=csrf(signed_in))).status_code == 204
        await _until_refused(elsewhere, bearer(command))
        assert (await page.get(PROJECTS)).status_code == 401
    (row,) = await owner_of(platform).fetch(
        "select count(*) from control.person_session where person_id = $1 and ended_at is null", someone.id
    )
    assert row["count"] == 0


async def _until_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """The message is on its way; the cache alone would take an hour."""
    async with asyncio.timeout(30):
        while (await client.get(PROJECTS, headers=headers)).status_code != 401:  # noqa: ASYNC110 (a message, not an event)
            await asyncio.sleep(0.02)


async def test_one_sees_ones_own_sessions_and_which_one_is_asking(platform: Any) -> None:
    """Newest first, in pages, with kind and address; nobody else's, and none that is over."""
    someone, stranger, address = await make_someone(platform), await make_someone(platform), fresh_address()
    async with browser(platform.api_url, address) as page, browser(platform.api_url) as other:
        await sign_in(other, stranger)
        over = await sign_in(page, someone, token=True)
        await page.delete("/v1/sessions/current", headers=bearer(over))
        command = await sign_in(page, someone, token=True)
        current = await sign_in(page, someone)
        items = (await page.get("/v1/sessions")).json()["items"]
        assert [item["id"] for item in items] == [current["id"], command["id"]]
        assert [item["kind"] for item in items] == ["cookie", "bearer"]
        assert [item["current"] for item in items] == [True, False]
        assert {item["source_address"] for item in items} == {address}
        first = (await page.get("/v1/sessions?limit=1")).json()
        second = (await page.get("/v1/sessions", params={"limit": 1, "cursor": first["next_cursor"]})).json()
        assert [item["id"] for item in first["items"] + second["items"]] == [current["id"], command["id"]]


async def test_a_key_has_neither_sessions_nor_a_password(client: httpx.AsyncClient) -> None:
    """403 person_required: keys are no people."""
    for method, path in [
        ("GET", "/v1/sessions"), ("GET", "/v1/sessions/current"), ("DELETE", "/v1/sessions"),
        ("DELETE", "/v1/sessions/current"), ("GET", "/v1/people/me"), ("PATCH", "/v1/people/me"),
    ]:  # fmt: skip
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "person_required")


@pytest.mark.parametrize("token", ["wps_", "wps_short", "wps_" + "a" * 61, "wps_\xe4", "", "wp_x", "a; b=c"])
async def test_a_cookie_that_is_no_session_is_refused(platform: Any, token: str) -> None:
    """Malformed or unknown: 401, never an error."""
    async with browser(platform.api_url) as page:
        answer = await page.get(PROJECTS, headers=[(b"cookie", f"x=1; waypost_session={token}".encode("latin-1"))])
    assert answer.status_code == 401


# --- who may sign in --------------------------------------------------------------------------------------------------


async def test_an_unknown_address_and_a_wrong_password_are_the_same_answer_after_the_same_work(
    own_gateway: OwnGateway, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash is computed each time, of the dummy where there is nobody, and no word tells which it was."""
    someone, verified = await make_someone(platform), []
    real = hashing.verify_password

    def spy(kept: str | None, password: str) -> bool:
        verified.append(kept is None)
        return real(kept, password)

    monkeypatch.setattr(hashing, "verify_password", spy)
    answers = []
    async with browser(own_gateway.url) as page:
        for email in (someone.email, "nobody-" + someone.email, "not an address", "a\x00@b", "x" * 300):
            body = {"email": email, "password": "wrong horse battery"}
            answers.append(await page.post("/v1/sessions", json=body))
    assert {answer.status_code for answer in answers} == {401}
    shown = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in answers]
    assert all(one == shown[0] for one in shown)
    assert shown[0]["code"] == "invalid_login"
    assert verified == [False, True, True, True, True]


async def test_the_address_is_the_same_in_every_spelling(platform: Any) -> None:
    """Case and width do not matter; the password's case does."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        loud = someone.login | {"email": f" {someone.email.upper()} "}
        assert (await page.post("/v1/sessions", json=loud)).status_code == 201
        assert (await page.post("/v1/sessions", json=someone.login | {"password": PASSWORD.upper()})).status_code == 401


async def test_a_person_without_a_password_cannot_sign_in_with_one(platform: Any) -> None:
    """Somebody of an identity provider: a null hash is no empty password."""
    someone = await make_someone(platform)
    await owner_of(platform).execute("update control.person set password_hash = null where id = $1", someone.id)
    async with browser(platform.api_url) as page:
        for password in ("", PASSWORD):
            answer = await page.post("/v1/sessions", json=someone.login | {"password": password})
            assert answer.status_code == 401


async def test_a_hash_of_old_parameters_is_made_anew_at_the_next_sign_in(platform: Any) -> None:
    """The password stays the same."""
    someone, owner = await make_someone(platform), owner_of(platform)
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    await owner.execute("update control.person set password_hash = $2 where id = $1", someone.id, weak)
    async with browser(platform.api_url) as page:
        await sign_in(page, someone)
        (row,) = await owner.fetch("select password_hash from control.person where id = $1", someone.id)
        assert row["password_hash"] != weak
        assert not hashing.is_outdated(row["password_hash"])
        await sign_in(page, someone)


@pytest.mark.parametrize(
    "body", [{}, {"email": "a@b"}, {"password": "x"}, {"email": 1, "password": "x"}, {"user": "a"}]
)
async def test_a_body_that_is_no_sign_in_is_refused_without_repeating_it(platform: Any, body: Any) -> None:
    """422 with the field's path."""
    async with browser(platform.api_url) as page:
        answer = await page.post("/v1/sessions", json=body | {"extra": "hunter2hunter2"})
    assert answer.status_code == 422
    assert "hunter2hunter2" not in answer.text


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_the_audit_tells_of_sign_ins_and_holds_no_secret(platform: Any) -> None:
    """session.create, session.refuse (denied), session.end, each in the person's organization; of nobody's address only
    a digest, for people type passwords there."""
    someone, owner, address = await make_someone(platform), owner_of(platform), fresh_address()
    async with browser(platform.api_url, address) as page:
        wrong = "wrong horse battery"
        await page.post("/v1/sessions", json=someone.login | {"password": wrong})
        unknown = await page.post("/v1/sessions", json={"email": "my secret passphrase", "password": wrong})
        signed_in = await sign_in(page, someone)
        token = page.cookies["waypost_session"]
        await page.delete("/v1/sessions/current", headers=csrf(signed_in))
        again = await sign_in(page, someone)
        await page.delete("/v1/sessions", headers=csrf(again))
    rows = await owner.fetch(
        """select actor, actor_kind, action, target, outcome, source_address, request_id, details,
            organization_id is not null as owned from control.audit where source_address = $1 order by id""",
        address,
    )
    person = f"person:{someone.id}"
    assert [(row["action"], row["outcome"], row["actor"], row["target"], row["owned"]) for row in rows] == [
        ("session.refuse", "denied", f"address:{address}", person, True),
        ("session.refuse", "denied", f"address:{address}", "person:unknown", False),
        ("session.create", "done", person, f"session:{signed_in['id']}", True),
        ("session.end", "done", person, f"session:{signed_in['id']}", True),
        ("session.create", "done", person, f"session:{again['id']}", True),
        ("session.end", "done", person, person, True),
    ]
    assert rows[1]["request_id"] == unknown.json()["request_id"]
    whole = repr([dict(row) for row in rows])
    for secret in (PASSWORD, wrong, "my secret passphrase", token, token[16:59], signed_in["csrf_token"]):
        assert secret not in whole


async def test_no_password_and_no_token_is_in_any_log(
    own_gateway: OwnGateway, platform: Any, client: httpx.AsyncClient
) -> None:
    """Refused and served, here and in the platform's own gateway, which logs at level debug."""
    someone = await make_someone(platform)
    found: set[str] = {PASSWORD, "wrong horse battery", "another horse battery"}
    with structlog.testing.capture_logs() as lines:
        for url in (own_gateway.url, platform.api_url):
            async with browser(url) as page:
                await page.post("/v1/sessions", json=someone.login | {"password": "wrong horse battery"})
                await page.post("/v1/sessions", content=b'{"password": "wrong horse battery"')
                signed_in = await sign_in(page, someone)
                found |= {page.cookies["waypost_session"], signed_in["csrf_token"]}
                command = await sign_in(page, someone, token=True)
                found.add(command["access_token"])
                change = {"password": "another horse battery", "current_password": "wrong horse battery"}
                await page.patch("/v1/people/me", json=change, headers=csrf(signed_in))
                invited = await client.post(
                    "/v1/orgs/default/invitations", json={"email": someone.email, "role": "viewer"}
                )
                found.add(invited.json()["token"])
                await page.post("/v1/invitations/accept", json={"token": invited.json()["token"], "password": PASSWORD})
    logs = _logs(platform.data_dir) + repr(lines)
    assert logs
    for secret in found:
        assert secret not in logs


def _logs(data_dir: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in data_dir.glob("logs/*.log"))
