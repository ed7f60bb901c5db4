"""The overview: how an environment does, and what needs somebody."""

import re

from playwright.async_api import expect
from waypost_sdk import NonRetryable

from tests.console.conftest import PHONE
from tests.receiver import Receiver, answer


async def echo(job, payload):
    return payload


async def refuse(job, payload):
    raise NonRetryable("no", "no")


async def test_an_empty_environment_needs_nobody(open_page, place, axe):
    """Figures are there at once; on a phone, nothing is wider than the screen."""
    page = await open_page(f"{place.page}", key=await place.viewer_key(), viewport=PHONE)
    await expect(page.locator(".figure").filter(has_text="Waiting")).to_contain_text("nothing waits")
    await expect(page.get_by_text("No job was submitted or ended")).to_be_visible()
    await expect(page.get_by_role("heading", name="Needs attention")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)


async def test_figures_are_live_and_what_needs_attention_leads_to_it(open_page, place, axe):
    """A function nobody serves and a paused one, each a link to where it is put right."""
    page = await open_page(f"{place.page}/overview")
    await expect(page.get_by_text("nothing waits")).to_be_visible()
    async with place.node({"well.done": echo, "ill.done": refuse}):
        await place.ended(await place.submit("well.done", {}))
        await place.ended(await place.submit("ill.done", {}, retry={"max_attempts": 1}))
        await place.submit("nobody.has", {})
        await place.client.post(f"{place.environment.path}/functions/well.done/pause", json={"note": "for now"})
        await expect(page.locator(".figure").filter(has_text="Nodes")).to_contain_text("at 1 relay")
        await expect(page.locator(".figure").filter(has_text="Ended, last hour")).to_contain_text("2")
        await expect(page.locator(".figure").filter(has_text="Of these failed")).to_contain_text("50.0 %")
        await expect(page.get_by_role("img", name="3 submitted, 1 completed, 1 failed, 0 canceled")).to_be_visible()
        await expect(page.get_by_role("img", name="1 wait and 0 run")).to_be_visible()
        await axe(page)
        needs = page.get_by_role("region", name="Needs attention")
        await expect(needs.get_by_role("link", name="well.done is paused")).to_be_visible()
        await needs.get_by_role("link", name="1 job waits for nobody.has").click()
    await expect(page.locator(".table-body [role=row]")).to_contain_text(["nobody.has"])


async def test_what_was_given_up_disabled_or_lost_leads_to_it(open_page, place, axe):
    """A dead letter, an endpoint that wants nothing any more, and a node that was gone without a word."""

    async def fail(job, payload):
        raise ValueError("not today")

    async with Receiver(answer(410)) as receiver, place.node({"dead.end": fail}, name="node-1") as node:
        subscriptions = f"{place.environment.path}/subscriptions"
        given = {"url": receiver.url, "events": ["job.dead_letter"]}
        one = (await place.client.post(subscriptions, json=given)).json()["id"]
        await place.client.post(f"{subscriptions}/{one}/test")
        await place.ended(await place.submit("dead.end", {}, retry={"max_attempts": 1}))
        node._runtime.abandon()  # as when its process is killed
        page = await open_page(f"{place.page}/overview")
        needs = page.get_by_role("region", name="Needs attention")
        await expect(needs.get_by_role("listitem")).to_have_count(3)
        await axe(page)
        for link, there in (
            ("1 dead letter", page.locator(".table-body [role=row]").filter(has_text="dead.end")),
            (f"Deliveries to {receiver.url} are disabled", page.get_by_text("disabled: gone")),
            (re.compile("The node node-1 was lost"), page.get_by_role("heading", name="node-1")),
        ):
            await needs.get_by_role("link", name=link).click()
            await expect(there).to_be_visible()
            await page.go_back()


async def test_the_last_hour_is_there_when_the_page_is_opened(open_page, place, axe):
    """What happened before the page was opened, as pictures with words and as a table; then it goes on by itself."""
    async with place.node({"well.done": echo}):
        await place.ended(await place.submit("well.done", {}))
        page = await open_page(f"{place.page}/overview", viewport=PHONE)
        await expect(page.get_by_role("img", name="1 submitted, 1 completed, 0 failed, 0 canceled")).to_be_visible()
        await expect(page.get_by_role("img", name="Time to start in each minute")).to_be_visible()
        start = page.locator(".figure").filter(has_text="Half start within")
        await expect(start).to_contain_text(re.compile(r"99 % within [\d.]+ m?s"))
        await page.get_by_text("The last hour as a table").click()
        table = page.get_by_role("region", name="The last hour, minute by minute")
        await expect(table.get_by_role("row")).to_have_count(61)
        await axe(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await place.ended(await place.submit("well.done", {}))
        await expect(page.get_by_role("img", name="2 submitted, 2 completed")).to_be_visible()


async def test_a_refused_overview_is_said(open_page, place):
    """Every part that could not be read says so; the others are shown."""
    page = await open_page("/sign-in")

    async def fail(route):
        await route.fulfill(status=500, content_type="application/problem+json", body='{"detail":"Something failed."}')

    await page.route("**/queue", fail)
    await page.goto(page.url.replace("/sign-in", f"{place.page}/overview"))
    await expect(page.get_by_role("alert")).to_contain_text("Something failed.")
    await expect(page.get_by_text("No job was submitted or ended")).to_be_visible()
