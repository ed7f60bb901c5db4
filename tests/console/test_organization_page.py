"""An organization: projects and environments come in steps that are watched; people, keys, usage, audit."""

import csv
import io
import secrets

from playwright.async_api import expect

from tests.console.conftest import PHONE
from tests.gateway.usage_ground import catch_up, cloud_event


async def tell(place, quantity, meter):
    """Count something, and return when it is in the sums."""
    kind = {"Content-Type": "application/cloudevents+json"}
    event = cloud_event(quantity, meter)
    told = await place.client.post(f"{place.environment.path}/usage-events", json=event, headers=kind)
    assert told.status_code == 202, told.text
    await catch_up(place.platform)


async def test_a_project_and_an_environment_are_made_and_watched(open_page, platform, client, axe):
    """A name that cannot be is refused at its field; each step is shown until the environment is ready and opened."""
    name = f"p{secrets.token_hex(5)}"
    page = await open_page("/")
    await page.get_by_role("link", name="Organization default").click()
    await expect(page.get_by_role("heading", name="Default", exact=True).first).to_be_visible()
    await axe(page)
    await page.get_by_role("button", name="New project…").click()
    await page.get_by_label("Name").fill("Harbour")
    await page.get_by_label("In addresses").fill("Not A Slug")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.locator(".field", has=page.get_by_label("In addresses")).locator(".fault")).to_be_visible()
    await page.get_by_label("In addresses").fill(name)
    await page.get_by_label("Description").fill("where ships lie")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    project = page.locator(".panel", has_text=name)
    await expect(project).to_contain_text("where ships lie")
    await expect(project).to_contain_text("No environment yet")
    await project.get_by_role("button", name=f"New environment in {name}…").click()
    await page.get_by_label("Name").fill(f"Staging {name}")
    await page.get_by_label("In addresses").fill(f"s{name}")
    await page.get_by_label("Posture").select_option("staging")
    await page.get_by_role("button", name="Create", exact=True).click()
    steps = page.get_by_role("dialog").get_by_role("listitem")
    await expect(page.get_by_role("dialog").get_by_role("link", name="Open it")).to_be_visible()
    await expect(steps.filter(has_text="done")).to_have_count(await steps.count())
    await axe(page)
    await page.get_by_role("link", name="Open it").click()
    await expect(page.get_by_text("nothing waits")).to_be_visible()
    await page.get_by_role("link", name="Settings").click()
    await page.get_by_role("link", name="Organization default").click()
    row = page.get_by_role("row", name=f"s{name}")
    await expect(row).to_contain_text("ready")
    await row.get_by_role("button", name="Steps of").click()
    await expect(page.get_by_role("dialog").get_by_role("listitem").first).to_contain_text("done")
    await client.delete(f"/v1/orgs/default/projects/{name}/environments/s{name}")


async def test_members_keys_limits_and_audit_of_an_organization(open_page, axe):
    """Each is a page of its own, on a phone too; somebody is invited to one project of it."""
    page = await open_page("/orgs/default", viewport=PHONE)
    for tab, shown in (("Members", "Members of default"), ("Keys", "Keys of the organization default"),
                       ("Limits", "Limits"), ("Audit", "Audit of default")):  # fmt: skip
        await page.get_by_role("link", name=tab, exact=True).click()
        await expect(page.get_by_role("region", name=shown, exact=True).first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await axe(page)
    await page.get_by_role("link", name="Members", exact=True).click()
    await page.get_by_role("button", name="Invite…").click()
    await page.get_by_label("E-mail address").fill(f"p{secrets.token_hex(6)}@example.com")
    await page.get_by_label("Where").select_option("default")
    await expect(page.get_by_role("combobox", name="Role").get_by_role("option")).to_have_count(3)
    await page.get_by_role("button", name="Make a link").click()
    await expect(page.get_by_label("Link")).to_be_visible()


async def test_usage_is_a_chart_a_table_and_a_file(open_page, common, axe):
    """By day, hour or all together; the file has what the table shows, digit by digit."""
    big = "12345678901234567890.125"
    await tell(common, big, "own.units")
    page = await open_page(f"{common.page}/settings/usage", key=await common.viewer_key())
    table = page.get_by_role("region", name="Sums")
    await expect(table.get_by_role("row", name="own.units")).to_contain_text("12,345,678,901,234,567,890.125")
    await page.get_by_label("In the chart").select_option("own.units")
    await expect(page.get_by_role("img", name="own.units of each day")).to_be_visible()
    await axe(page)
    async with page.expect_download() as coming:
        await page.get_by_role("button", name="Download CSV").click()
    file = await (await coming.value).path()
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [row["quantity"] for row in rows if row["meter"] == "own.units"] == [big]
    await page.get_by_label("Told apart").select_option("hour")
    await expect(page.get_by_role("img", name="own.units of each hour")).to_be_visible()
    await page.get_by_label("Told apart").select_option("")
    await expect(page.locator(".chart")).to_have_count(0)
    await page.get_by_label("Of", exact=True).select_option("year")
    await expect(page.get_by_label("Told apart").get_by_role("option")).to_have_count(2)


async def test_usage_of_an_organization_is_told_apart_by_environment(open_page, common, axe):
    """A line for each environment; whoever may not see the organization is told so."""
    await tell(common, "7", "org.units")
    refused = await open_page("/orgs/default/usage", key=await common.viewer_key())
    await expect(refused.get_by_role("alert").first).to_contain_text("ViewOrg")
    page = await open_page("/orgs/default/usage", viewport=PHONE)
    await page.get_by_label("and by").select_option("environment")
    row = page.get_by_role("row", name="org.units")
    await expect(row).to_contain_text(common.environment.slug)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)


async def test_the_audit_is_a_file_with_the_filters_of_the_page(open_page, common):
    """As JSON Lines and as CSV."""
    note = secrets.token_hex(8)
    await common.client.post(f"{common.environment.path}/functions/f.x{note}/pause", json={"note": note})
    page = await open_page(f"{common.page}/settings/audit")
    await page.get_by_label("On", exact=True).fill(f"function:f.x{note}")
    await page.get_by_label("Since").select_option("1")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("region", name="Audit", exact=True).get_by_role("row")).to_have_count(2)
    for label, beginning in (("Export JSON Lines", "{"), ("Export CSV", "id,")):
        async with page.expect_download() as coming:
            await page.get_by_role("button", name=label).click()
        text = (await (await coming.value).path()).read_text()
        assert text.startswith(beginning), text[:80]
        assert text.count(note) >= 1
        assert "function.resume" not in text
