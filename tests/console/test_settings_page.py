"""Settings: keys, members, limits, audit; and where an invitation leads."""

import asyncio
import re
import secrets

from playwright.async_api import expect

from tests.console.conftest import PHONE
from tests.gateway.sign_in_ground import PASSWORD


async def test_a_key_is_shown_once_works_and_is_revoked(open_page, place, platform, axe):
    """Its secret is in no later page; rotated, a second one is there."""
    page = await open_page(f"{place.page}/settings")
    keys = page.get_by_role("region", name=f"Keys of {place.environment.slug}").first
    await expect(keys).to_contain_text("None yet")
    await axe(page)
    await keys.get_by_role("button", name="New key…").click()
    await page.get_by_label("Name").fill("n" * 300)
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Name").fill("ci")
    await page.get_by_role("combobox", name="Role").select_option("viewer")
    await page.get_by_role("button", name="Create", exact=True).click()
    key = await page.get_by_label("Key", exact=True).inner_text()
    await page.get_by_role("button", name="I have it").click()
    await expect(keys.get_by_role("rowheader")).to_have_count(1)
    assert key not in await page.content()
    other = await open_page(f"{place.page}/jobs", key=key)
    await expect(other.get_by_text("No jobs yet")).to_be_visible()
    await keys.get_by_role("button", name="Rotate the key ci").click()
    await page.get_by_role("button", name="Rotate", exact=True).click()
    await page.get_by_role("button", name="I have it").click()
    await expect(keys.get_by_role("rowheader")).to_have_count(2)
    await keys.get_by_role("button", name="Revoke the key ci").last.click()
    await page.get_by_role("button", name="Revoke", exact=True).click()
    await expect(keys.get_by_role("rowheader")).to_have_count(1)
    await other.reload()
    await expect(other.get_by_role("status").filter(has_text="no longer valid")).to_be_visible()


async def test_who_is_invited_joins_and_is_a_member(open_page, common, axe):
    """The link leads to a page that asks for a password; then one is signed in, and listed with the role."""
    email = f"p{secrets.token_hex(6)}@example.com"
    page = await open_page(f"{common.page}/settings/members")
    await page.get_by_role("button", name="Invite…").click()
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_role("combobox", name="Role").select_option("viewer")
    await page.get_by_role("button", name="Make a link").click()
    link = await page.get_by_label("Link").inner_text()
    await page.get_by_role("button", name="I have it").click()
    await expect(page.get_by_role("region", name="Open invitations").first).to_contain_text(email)
    await axe(page)

    joining = await open_page("/invitations/accept#" + link.partition("#")[2], key=None)
    await joining.get_by_label("Password").fill("short")
    await joining.get_by_role("button", name="Join").click()
    await expect(joining.get_by_role("alert")).to_contain_text("12")
    await axe(joining)
    await joining.get_by_label("Name").fill("Grace")
    await joining.get_by_label("Password").fill(PASSWORD)
    await joining.get_by_role("button", name="Join").click()
    await expect(joining.get_by_role("heading", name="Environments")).to_be_visible()
    await joining.goto(joining.url + common.page[1:] + "/settings/members")
    await expect(joining.get_by_text(email)).to_be_visible()
    await expect(joining.get_by_role("button", name="Invite…")).to_be_disabled()
    await joining.goto(joining.url.replace("members", "audit"))
    await expect(joining.get_by_role("alert")).to_contain_text("ManageEnvironment")
    await joining.goto(joining.url.partition("/e/")[0] + "/invitations/accept")
    await expect(joining.get_by_text("This link is not whole")).to_be_visible()


async def test_the_audit_is_filtered_and_limits_are_listed(open_page, place, axe):
    """Who did what on what; a filter that fits nothing says so, one that is none is refused in words."""
    await place.client.post(f"{place.environment.path}/functions/a.b/pause", json={"note": "why"})
    page = await open_page(f"{place.page}/settings/limits")
    await expect(page.get_by_role("rowheader", name="waiting jobs")).to_be_visible()
    await axe(page)
    await page.get_by_role("link", name="Audit").click()
    await expect(page.get_by_role("cell", name="function:a.b")).to_be_visible()
    await axe(page)
    await page.get_by_label("What").fill("job.*")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_text("No entry matches")).to_be_visible()
    await page.get_by_label("What").fill("nonsense")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("alert")).to_contain_text("noun.verb")


async def test_a_key_of_an_environment_is_told_what_it_may_not(open_page, common, axe):
    """On a phone: keys need ManageEnvironment; the organization is not its to see."""
    page = await open_page(f"{common.page}/settings/keys", key=await common.viewer_key(), viewport=PHONE)
    await expect(page.get_by_role("alert").first).to_contain_text("ManageEnvironment")
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)


async def test_an_environment_is_suspended_resumed_and_deleted(open_page, place, axe):
    """Each in steps that are watched; nothing is changed that was not seen, and deleted only what is named by hand."""
    path, slug = f"{place.page}/settings/environment", place.environment.slug
    viewer = await open_page(path, key=await place.viewer_key())
    await expect(viewer.get_by_text("ManageEnvironment")).to_be_visible()
    await expect(viewer.get_by_role("button", name="Suspend…")).to_be_disabled()
    await expect(viewer.get_by_role("button", name="Delete…")).to_be_disabled()

    page = await open_page(path)
    dialog = page.get_by_role("dialog")
    steps = dialog.get_by_role("listitem")
    await page.get_by_role("button", name="Suspend…").click()
    await dialog.get_by_role("button", name="Suspend", exact=True).click()
    await expect(steps.filter(has_text="sessions")).to_contain_text("done")
    await expect(dialog.get_by_role("status")).to_contain_text("suspended")
    await dialog.get_by_role("button", name="Close").click()
    assert (await place.client.post(f"{place.environment.path}/jobs", json={"function": "a.b"})).status_code == 409
    await page.get_by_role("button", name="Resume…").click()
    await dialog.get_by_role("button", name="Resume", exact=True).click()
    await expect(steps.filter(has_text="login")).to_contain_text("done")
    await expect(dialog.get_by_role("status")).to_contain_text("ready")
    await dialog.get_by_role("button", name="Close").click()

    async def stay(job, payload):
        await asyncio.sleep(60)

    async with place.node({"stay.here": stay}):
        await place.submit("stay.here")
        await page.get_by_role("button", name="Delete…").click()
        delete = dialog.get_by_role("button", name="Delete", exact=True)
        await expect(delete).to_be_disabled()
        await dialog.get_by_label(f"Type {slug}").fill(slug[:-1])
        await expect(delete).to_be_disabled()
        await dialog.get_by_label(f"Type {slug}").fill(slug)
        await axe(page)
        await place.client.patch(place.environment.path, json={"name": "Renamed"})
        await delete.click()
        await expect(dialog.get_by_role("alert")).to_contain_text("It has changed since it was read")
        await delete.click()
        done = steps.filter(has_text=re.compile("jobs.*done", re.DOTALL))
        await done.wait_for()  # what runs has its grace after that, which is shorter than `expect` may look away
    await expect(dialog.get_by_role("status")).to_contain_text("is gone", timeout=30_000)
    await dialog.get_by_role("link", name="All environments").click()
    await expect(page.get_by_role("heading", name="Environments")).to_be_visible()
    await expect(page.get_by_role("link", name=slug)).to_have_count(0)
