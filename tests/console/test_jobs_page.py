"""The table of jobs."""

from playwright.async_api import expect

from tests.console.conftest import PHONE, refusing


async def test_an_empty_environment_says_how_to_begin_and_fills_by_itself(open_page, place, axe):
    """The first job needs no reload."""
    page = await open_page(f"{place.page}/jobs")
    await expect(page.get_by_text("No jobs yet")).to_be_visible()
    await axe(page)
    await place.submit("first.one")
    await expect(page.get_by_role("link", name="first.one")).to_be_visible()


async def test_filters_are_in_the_address(open_page, place, axe):
    """State, function, label and time: set here, read again from the address, taken back one by one."""
    await place.submit("a.one", labels={"order": "A-17"})
    await place.submit("a.two", labels={"order": "A-18"}, delay_seconds=3600)
    page = await open_page(f"{place.page}/jobs")
    rows = page.locator(".table-body [role=row]")
    await expect(rows).to_have_count(2)
    await axe(page)
    await page.get_by_label("Label").fill("order=A-17")
    await page.get_by_role("button", name="Filter", exact=True).click()
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("a.one")
    await page.get_by_role("button", name="queued").click()
    await page.get_by_label("Created").select_option("1h")  # before the first is drawn: neither is lost
    await page.wait_for_url("**/jobs?state=queued&label=order%3DA-17&since=1h")
    await expect(page.get_by_role("button", name="Remove the filter label order=A-17")).to_be_visible()
    await page.reload()
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="running").click()
    await page.get_by_role("button", name="queued").click()
    await expect(page.get_by_text("No job matches these filters")).to_be_visible()
    await page.get_by_role("link", name="Clear all filters").click()
    await expect(rows).to_have_count(2)
    await page.go_back()
    await expect(page.get_by_text("No job matches these filters")).to_be_visible()


async def test_rows_change_in_place_and_newer_jobs_wait_to_be_asked_for(open_page, place):
    """Nothing jumps under the pointer: states change where they are, new jobs are counted above."""
    first = await place.submit("a.one", delay_seconds=3600)
    page = await open_page(f"{place.page}/jobs")
    rows = page.locator(".table-body [role=row]")
    await expect(rows).to_contain_text(["a.one"])
    await place.client.post(f"{place.environment.path}/jobs/{first}/cancel")
    await expect(rows.first).to_contain_text("canceled")
    await place.submit("a.two", delay_seconds=3600)
    button = page.get_by_role("button", name="Show 1 new job")
    await expect(button).to_be_visible()
    await expect(rows).to_have_count(1)
    await button.click()
    await expect(rows).to_contain_text(["a.two", "a.one"])


async def test_ended_jobs_are_counted_and_then_replayed(open_page, place, axe):
    """Of those that the filters let through, the ended ones; a new job for each, watched until it is done."""
    for name in ("a.one", "a.one", "a.two"):
        job = await place.submit(name, delay_seconds=3600, labels={"batch": "7"})
        await place.client.post(f"{place.environment.path}/jobs/{job}/cancel")
    await place.submit("a.one", delay_seconds=3600, labels={"batch": "7"})
    page = await open_page(f"{place.page}/jobs?function=a.one&label=batch%3D7")
    await page.get_by_role("button", name="Replay these…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("2 jobs that have ended match these filters")
    await expect(dialog).to_contain_text("2 canceled")
    await axe(page)
    await dialog.get_by_role("button", name="Replay 2 jobs").click()
    await expect(dialog.get_by_role("status")).to_have_text("2 of 2 replayed.")
    await dialog.get_by_role("link", name="To all jobs").click()
    await expect(page.locator(".table-body [role=row]").filter(has_text="queued")).to_have_count(3)


async def test_thousands_of_jobs_have_rows_only_for_what_is_in_sight(open_page, place):
    """Pages come as one scrolls, down to the last job; the keyboard goes from row to row."""
    await place.submit_many("many.jobs", 2_000, delay_seconds=86_400)
    page = await open_page(f"{place.page}/jobs")
    rows = page.locator(".table-body [role=row]")
    await expect(rows.first).to_be_visible()
    end = page.get_by_text("That is all of them.")
    for _ in range(400):
        await page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        await page.wait_for_timeout(60)
        if await end.is_visible():
            break
    await expect(end).to_be_visible()
    await expect(page.get_by_role("status").filter(has_text="2,000")).to_be_visible()
    assert await rows.count() < 100
    await page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    await expect(page.locator("[role=row]").last).to_have_attribute("aria-rowindex", "2001")
    await page.locator("a.row-link").first.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="many.jobs")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_text("That is all of them.")).to_be_attached()  # where one was


async def test_a_hundred_thousand_jobs_are_as_quick_as_a_few(open_page, place):
    """The first rows need one page, scrolling fetches the next ones, and the document stays small all the while."""
    await place.submit_many("many.jobs", 100_000, delay_seconds=86_400)
    page = await open_page("/")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/jobs?limit=200" in request.url else None)
    await page.goto(page.url.rstrip("/") + f"{place.page}/jobs")
    rows = page.locator(".table-body [role=row]")
    await expect(rows.first).to_be_visible()
    await expect(page.get_by_role("status").filter(has_text="200 read so far")).to_be_visible()
    assert len(asked) == 1
    read = page.locator(".title [role=status]")
    for pages in range(2, 12):
        await page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        await expect(read).to_have_text(f"{pages * 200:,} read so far")
        assert await rows.count() < 100
    assert len(asked) == 11
    assert await page.evaluate("document.querySelectorAll('*').length") < 2_000
    assert await page.evaluate("Number(document.querySelector('.table-body [role=row]').ariaRowIndex)") > 1_900
    await page.evaluate("window.scrollTo(0, 0)")
    await expect(rows.first).to_have_attribute("aria-rowindex", "2")
    await place.submit("many.jobs")
    await expect(page.get_by_role("button", name="Show 1 new job")).to_be_visible()


async def test_who_may_only_look_sees_the_table_on_a_phone(open_page, common, axe):
    """A viewer's key; nothing wider than the screen."""
    await common.submit("looked.at")
    path = f"{common.page}/jobs?function=looked.at"
    page = await open_page(path, key=await common.viewer_key(), viewport=PHONE)
    await expect(page.get_by_role("link", name="looked.at").first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)


async def test_a_refused_list_is_said_and_asked_again(open_page, place):
    """The API's own sentence, with the request's id."""
    page = await open_page(f"{place.page}/jobs?label=" + "k" * 300 + "%3Dv")
    await expect(page.get_by_role("alert").or_(page.get_by_text("No job matches"))).to_be_visible()

    await page.route("**/jobs?limit=*", refusing(500, "internal_error", "Something failed here."))
    await page.goto(page.url.partition("?")[0])
    await expect(page.get_by_role("alert")).to_contain_text("Something failed here.")
    await expect(page.get_by_role("alert")).to_contain_text("r-1")
    await page.unroute_all()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("No jobs yet")).to_be_visible()
