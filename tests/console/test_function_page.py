"""Functions: who serves them, pausing, running one now."""

from playwright.async_api import expect

from tests.console.conftest import PHONE

BIG = "1234567890123456789012345678901234567890"


async def echo(job, payload):
    return payload


async def test_no_function_yet_leads_to_the_nodes(open_page, place, axe):
    """The way on is a link."""
    page = await open_page(f"{place.page}/functions", viewport=PHONE)
    await expect(page.get_by_text("No function has been seen yet")).to_be_visible()
    await axe(page)
    await page.get_by_role("link", name="Connect a node").click()
    await expect(page.get_by_role("heading", name="Nodes", exact=True)).to_be_visible()


async def test_a_function_is_paused_with_a_note_resumed_and_run(open_page, place, axe):
    """Whoever looks is told who paused it and why; a run's payload arrives digit by digit."""
    async with place.node({"echo.back": echo}, name="node-3", tags=["gpu"]):
        page = await open_page(f"{place.page}/functions")
        await page.get_by_role("link", name="echo.back").click()
        await expect(page.get_by_role("region", name="Nodes that have it")).to_contain_text("node-3")
        await axe(page)
        await page.get_by_role("button", name="Pause…").click()
        await page.get_by_label("Note").fill("the licence server is down")
        await page.get_by_role("button", name="Pause", exact=True).click()
        await expect(page.locator(".note")).to_contain_text("the licence server is down")
        await page.get_by_role("button", name="Resume…").click()
        await page.get_by_role("button", name="Resume", exact=True).click()
        await expect(page.locator(".note")).to_have_count(0)

        await page.get_by_role("button", name="Run it now…").click()
        await page.get_by_role("textbox", name="Payload").fill(f'{{"n": {BIG}}}')
        await page.get_by_label("Tags").fill("gpu >")
        await page.get_by_role("button", name="Run", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("/tags/0")
        await page.get_by_label("Tags").fill("gpu, zone in (a, b)")
        await page.get_by_label("Tags").fill("gpu")
        await page.get_by_role("button", name="Run", exact=True).click()
        await expect(page.get_by_role("group", name="Result")).to_contain_text(BIG)


async def test_a_viewer_sees_functions_but_changes_none(open_page, place, axe):
    """Buttons are there and off; jobs without a node are marked; the last hour is this function's alone."""
    await place.submit("nobody.has", {})
    await place.submit("another.one", {})
    page = await open_page(f"{place.page}/functions", key=await place.viewer_key())
    await expect(page.get_by_text("nobody serves it")).to_have_count(2)
    await axe(page)
    await page.get_by_role("link", name="nobody.has").click()
    await expect(page.get_by_text("no node that is connected has it")).to_be_visible()
    await expect(page.get_by_role("img", name="1 submitted, 0 completed, 0 ended otherwise")).to_be_visible()
    await expect(page.get_by_role("img", name="1 wait and 0 run")).to_be_visible()
    await expect(page.get_by_role("button", name="Pause…")).to_be_disabled()
    await page.goto(page.url.replace("nobody.has", "never.seen"))
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
