"""Signing in and out of the console, and getting from environment to environment."""

import contextlib
from datetime import timedelta

from playwright.async_api import Error as PlaywrightError
from playwright.async_api import expect

from tests.console.conftest import PHONE, path_of
from tests.gateway.sign_in_ground import make_someone
from waypost import clock


async def use_key(page, key):
    await page.get_by_role("tab", name="Key").click()
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Use this key").click()


async def test_a_key_opens_the_page_that_was_asked_for_and_is_kept_for_the_tab_only(open_page, common, platform, axe):
    """A deep link survives signing in; the key is in no address, no cookie and no storage that outlives the tab."""
    asked = f"{common.page}/jobs?state=failed"
    page = await open_page(asked, key=None)
    await expect(page.get_by_role("heading", name="Waypost")).to_be_visible()
    await axe(page)
    await use_key(page, platform.admin_key)
    await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert path_of(page) == asked
    await page.reload()
    await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert await page.context.cookies() == []
    assert await page.evaluate("Object.keys(localStorage)") == []
    assert await page.evaluate("indexedDB.databases()") == []
    assert await page.evaluate("caches.keys()") == []
    other = await page.context.new_page()
    await other.goto(platform.api_url + asked)
    await expect(other.get_by_role("tab", name="Key")).to_be_visible()


async def test_mistyped_expired_and_revoked_keys_are_refused_in_words(open_page, common, client):
    """In the API's words; who is signed out while at work is told why, and is led back."""
    keys = f"{common.environment.path}/keys"
    for life_seconds in (1, 5, 20):  # until the request fits into it
        soon = clock.now() + timedelta(seconds=life_seconds)
        brief = await client.post(keys, json={"name": "brief", "role": "viewer", "expires_at": clock.rfc3339(soon)})
        if brief.status_code == 201:
            break
    page = await open_page("/sign-in", key=None)
    await use_key(page, "wp_nonsense")
    await expect(page.get_by_role("alert")).to_contain_text("mistyped")
    await page.wait_for_timeout(max(0.0, (soon - clock.now()).total_seconds() * 1000) + 50)
    await use_key(page, brief.json()["key"])
    await expect(page.get_by_role("alert")).to_contain_text("no longer valid")

    known = (await client.post(keys, json={"name": "known", "role": "viewer"})).json()
    page = await open_page(f"{common.page}/jobs", key=known["key"])
    await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert (await client.delete(f"{keys}/{known['id']}")).status_code == 204
    with contextlib.suppress(PlaywrightError):  # the page's own next look may come before
        await page.get_by_role("button", name="failed").click(timeout=2_000)
    await expect(page.get_by_role("status").filter(has_text="no longer valid")).to_be_visible()
    assert path_of(page).startswith("/sign-in?to=")
    assert await page.evaluate("sessionStorage.getItem('waypost.key')") is None


async def test_a_person_signs_in_and_out_in_two_tabs(open_page, platform, common):
    """The cookie is out of reach of scripts, changes carry the CSRF token, and signing out ends the other tab too."""
    someone = await make_someone(platform)
    job = await common.submit("later.on", delay_seconds=3600)
    page = await open_page(f"{common.page}/jobs/{job}", key=None)
    await page.get_by_label("E-mail address").fill(someone.email)
    await page.get_by_label("Password").fill("not the password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("The e-mail address or the password is wrong.")
    await page.get_by_label("Password").fill(someone.password)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="later.on")).to_be_visible()
    assert "waypost" not in await page.evaluate(
        "document.cookie + JSON.stringify({...sessionStorage, ...localStorage})"
    )

    other = await page.context.new_page()
    await other.goto(page.url)
    await other.get_by_role("button", name="Cancel…").click()
    await other.get_by_role("button", name="Cancel the job").click()
    await expect(other.locator(".title .state")).to_have_text("canceled")
    await expect(page.locator(".title .state")).to_have_text("canceled")  # by its event

    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="Sign out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
    await other.reload()
    await expect(other.get_by_label("Password")).to_be_visible()


async def test_what_another_person_in_another_tab_may_do_is_not_done_from_this_one(open_page, platform, common):
    """The cookie speaks for whoever signed in last: a change from somebody else's tab is refused, and it says why."""
    one, two = await make_someone(platform), await make_someone(platform)
    job = await common.submit("later.on", delay_seconds=3600)
    page = await open_page(f"{common.page}/jobs/{job}", key=None)
    await sign_in(page, one)
    await page.get_by_role("button", name="Cancel…").click()
    other = await page.context.new_page()
    await other.goto(platform.api_url + "/sign-in")
    await sign_in(other, two)
    await expect(other.get_by_role("heading", name="Environments")).to_be_visible()
    await page.get_by_role("button", name="Cancel the job").click()
    await expect(page.get_by_role("status").filter(has_text="in another tab")).to_be_visible()
    assert (await common.client.get(f"{common.environment.path}/jobs/{job}")).json()["state"] == "queued"


async def sign_in(page, someone):
    await page.get_by_label("E-mail address").fill(someone.email)
    await page.get_by_label("Password").fill(someone.password)
    await page.get_by_role("button", name="Sign in").click()


async def test_who_has_no_role_is_told_so(open_page, platform, common, axe):
    """Signed in, and nothing in sight; a page of an environment is one that is not there."""
    page = await open_page("/", key=None, color_scheme="dark")
    await sign_in(page, await make_someone(platform, role=None))
    await expect(page.get_by_text("This account has no role anywhere")).to_be_visible()
    await axe(page)
    await page.goto(platform.api_url + f"{common.page}/jobs")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")


async def test_the_switcher_keeps_the_page(open_page, common, platform):
    """From the failed jobs of one environment to those of another, by keyboard alone; and to the organization."""
    page = await open_page(f"{common.page}/jobs?state=failed")
    switcher = page.get_by_role("button", name="Environment")
    await switcher.focus()
    await page.keyboard.press("Enter")
    await choose(page, platform.environment, "ArrowDown")
    await page.wait_for_url(f"**/e/{platform.environment}/jobs?state=failed")
    await expect(switcher).to_contain_text(platform.environment.rpartition("/")[2])
    await switcher.press("Enter")
    await choose(page, "organization:default", "ArrowUp")
    await expect(page.get_by_role("button", name="New project…")).to_be_visible()


async def choose(page, key, arrow):
    """Go through the open menu to the item with this key, and take it."""
    focused = page.locator("[role^=menuitem]:focus")
    await expect(focused).to_have_count(1)  # the menu has taken the focus: not before that is it the keyboard's
    while await focused.get_attribute("data-key") != key:
        await page.keyboard.press(arrow)
    await page.keyboard.press("Enter")


async def test_home_lists_what_is_in_sight_and_a_strange_place_is_not_found(open_page, common, axe):
    """A key of an environment sees that one only; another one's address reads like one that nobody has."""
    page = await open_page("/", key=await common.viewer_key(), viewport=PHONE)
    await expect(page.get_by_role("heading", name="Environments")).to_be_visible()
    links = page.get_by_role("main").get_by_role("link")
    await expect(links).to_have_count(1)
    await axe(page)
    await links.click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await page.goto(page.url.replace(common.environment.slug, "nowhere").replace("overview", "jobs"))
    await expect(page.get_by_role("alert")).to_contain_text("Not found")


async def test_the_page_says_when_waypost_is_away_and_recovers(open_page, place, proxy):
    """As when the gateway is restarted: what is shown stays, and goes on by itself."""
    page = await open_page(f"{place.page}/jobs", origin=proxy.url)
    await expect(page.get_by_text("No jobs yet")).to_be_visible()
    await proxy.down()
    await expect(page.get_by_role("status").filter(has_text="does not answer")).to_be_visible()
    await expect(page.get_by_text("No jobs yet")).to_be_visible()
    await place.submit("a.b")
    await proxy.up()
    await expect(page.get_by_role("status").filter(has_text="does not answer")).to_have_count(0)
    await expect(page.get_by_role("link", name="a.b")).to_be_visible()
