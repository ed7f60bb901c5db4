"""What people change of their own, and what happens to those who are disabled."""

import asyncio
from typing import Any

import httpx
import pytest

import gateway.cache
from jobs.wake import ACCESS_CHANNEL, PersonChanged, encode
from tests.gateway.conftest import OwnGateway
from tests.gateway.sign_in_ground import (
    PASSWORD,
    Someone,
    bearer,
    browser,
    csrf,
    fresh_address,
    make_someone,
    owner_of,
    sign_in,
)
from waypost import clock

ME = "/v1/people/me"
NEW = "another horse battery"


async def test_a_new_password_ends_all_other_sessions(platform: Any) -> None:
    """The one that changed it goes on; the old password opens nothing any more."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page, browser(platform.api_url) as elsewhere:
        signed_in, other = await sign_in(page, someone), await sign_in(elsewhere, someone)
        command = await sign_in(elsewhere, someone, token=True)
        change = {"password": NEW, "current_password": PASSWORD}
        answer = await page.patch(ME, json=change, headers=csrf(signed_in))
        assert answer.status_code == 200
        assert (await page.get(ME)).status_code == 200
        assert (await elsewhere.get(ME)).status_code == 401
        assert (await elsewhere.get(ME, headers=bearer(command))).status_code == 401
        assert other["id"] != signed_in["id"]
        assert (await elsewhere.post("/v1/sessions", json=someone.login)).status_code == 401
        await sign_in(elsewhere, Someone(someone.id, someone.email, NEW))


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"password": NEW}, 422, "missing_field"),
        ({"password": NEW, "current_password": "wrong horse battery"}, 403, "wrong_password"),
        ({"password": "short", "current_password": PASSWORD}, 422, "invalid_password"),
        ({"email": "other@example.com"}, 422, "unknown_field"),
        ({"name": "a\u202eb"}, 422, "invalid_name"),
        ({"name": "x" * 101}, 422, "invalid_name"),
    ],
)
async def test_a_bad_change_changes_nothing(platform: Any, change: dict[str, Any], status: int, code: str) -> None:
    """No session ends, the password stays, and nothing is repeated."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page, browser(platform.api_url) as elsewhere:
        signed_in, _ = await sign_in(page, someone), await sign_in(elsewhere, someone)
        answer = await page.patch(ME, json=change, headers=csrf(signed_in))
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "horse" not in answer.text
        assert (await elsewhere.get(ME)).json()["name"] == "Test Person"
        await sign_in(page, someone)


async def test_the_address_is_no_password(platform: Any) -> None:
    """In no spelling."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        signed_in = await sign_in(page, someone)
        change = {"password": someone.email.upper(), "current_password": PASSWORD}
        answer = await page.patch(ME, json=change, headers=csrf(signed_in))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_password")


async def test_a_name_is_changed_only_as_it_was_read(platform: Any) -> None:
    """ETag and If-Match, as of everything that can be changed."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        signed_in = await sign_in(page, someone)
        tag = (await page.get(ME)).headers["etag"]
        changed = await page.patch(ME, json={"name": " Ada "}, headers=csrf(signed_in) | {"If-Match": tag})
        assert (changed.status_code, changed.json()["name"]) == (200, "Ada")
        assert changed.headers["etag"] != tag
        late = await page.patch(ME, json={"name": "Eve"}, headers=csrf(signed_in) | {"If-Match": tag})
        assert late.status_code == 412
        assert (await page.get(ME)).json()["name"] == "Ada"


async def test_who_has_no_password_has_none_to_change(platform: Any) -> None:
    """409 no_password: somebody of an identity provider."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        signed_in = await sign_in(page, someone)
        await owner_of(platform).execute("update control.person set password_hash = null where id = $1", someone.id)
        change = {"password": NEW, "current_password": PASSWORD}
        answer = await page.patch(ME, json=change, headers=csrf(signed_in))
    assert (answer.status_code, answer.json()["code"]) == (409, "no_password")


async def test_a_disabled_persons_sessions_stop_at_once(own_gateway: OwnGateway, platform: Any) -> None:
    """A gateway that had the session cached hears of it; signing in is refused without saying why."""
    someone, owner = await make_someone(platform), owner_of(platform)
    async with browser(own_gateway.url) as page:
        await sign_in(page, someone)
        assert (await page.get(ME)).status_code == 200  # cached now
        await owner.execute("update control.person set disabled_at = now() where id = $1", someone.id)
        heard = await _heard(own_gateway, someone)
        assert heard
        assert (await page.get(ME)).status_code == 401
        refused = await page.post("/v1/sessions", json=someone.login)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_login")
        await owner.execute("update control.person set disabled_at = null where id = $1", someone.id)
        await sign_in(page, someone)


async def _heard(gateway: OwnGateway, someone: Someone) -> bool:
    """Publish the message as any other process would; true once this gateway's own subscription delivered it."""
    arrived = asyncio.Event()
    subscription = await gateway.services.valkey.subscribe([ACCESS_CHANNEL], lambda *_: arrived.set())
    gateway.services.valkey.publish(ACCESS_CHANNEL, encode(PersonChanged(someone.id)))
    async with asyncio.timeout(30):
        await arrived.wait()
    subscription.close()
    return True


async def test_without_a_message_a_disabled_person_is_known_within_the_caches_seconds(
    own_gateway: OwnGateway, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a lost message would have said is read again after 5 s; here the clock moves instead of us."""
    someone = await make_someone(platform)
    async with browser(own_gateway.url) as page:
        await sign_in(page, someone)
        assert (await page.get(ME)).status_code == 200
        await owner_of(platform).execute("update control.person set disabled_at = now() where id = $1", someone.id)
        monkeypatch.setattr(gateway.cache, "monotonic", lambda: clock.monotonic() + 5.1)
        assert (await page.get(ME)).status_code == 401


async def test_the_audit_tells_of_changes_and_holds_no_password(platform: Any) -> None:
    """person.rename, person.change_password, and person.refuse (denied) for a wrong current one."""
    someone, address = await make_someone(platform), fresh_address()
    async with browser(platform.api_url, address) as page:
        signed_in = await sign_in(page, someone)
        wrong = {"password": NEW, "current_password": "wrong horse battery"}
        await page.patch(ME, json=wrong, headers=csrf(signed_in))
        both = {"name": "Ada", "password": NEW, "current_password": PASSWORD}
        await page.patch(ME, json=both, headers=csrf(signed_in))
    rows = await owner_of(platform).fetch(
        """select action, outcome, actor, details from control.audit where source_address = $1 and target = $2
        and organization_id is not null order by id""",
        address,
        f"person:{someone.id}",
    )
    assert [(row["action"], row["outcome"]) for row in rows] == [
        ("person.refuse", "denied"),
        ("person.change_password", "done"),
        ("person.rename", "done"),
    ]
    assert "horse" not in repr([dict(row) for row in rows])


async def test_nobody_else_is_reached_at_people(client: httpx.AsyncClient, platform: Any) -> None:
    """There is `me` and no other: people are seen through an organization's members."""
    someone = await make_someone(platform)
    for path in (f"/v1/people/{someone.id}", "/v1/people"):
        assert (await client.get(path)).status_code == 404
