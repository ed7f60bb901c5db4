"""What is done to all the jobs that the filters let through: canceling and exporting them."""

import asyncio
import csv
import io
import json
from pathlib import Path

from playwright.async_api import expect

from tests.console.conftest import PHONE, refusing

BIG = "1234567890123456789012345678901234567890"


async def test_jobs_that_have_not_ended_are_counted_and_then_canceled(open_page, place, axe):
    """Of those that the filters let through, and no other; what has ended before is left as it is."""
    await place.submit_many("a.one", 60, delay_seconds=3600, labels={"batch": "7"})
    ended = await place.submit("a.one", delay_seconds=3600, labels={"batch": "7"})
    await place.client.post(f"{place.environment.path}/jobs/{ended}/cancel")
    await place.submit("a.two", delay_seconds=3600, labels={"batch": "7"})
    page = await open_page(f"{place.page}/jobs?function=a.one&label=batch%3D7", viewport=PHONE)
    await page.get_by_role("button", name="Cancel these…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("60 jobs that have not ended match these filters")
    await expect(dialog).to_contain_text("60 queued")
    await axe(page)
    await dialog.get_by_role("button", name="Cancel 60 jobs").click()
    await expect(dialog.get_by_role("status")).to_have_text("60 of 60 canceled.")
    await expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)
    await expect(page.locator(".table-body [role=row]").filter(has_text="queued")).to_have_count(0)
    left = (await place.client.get(f"{place.environment.path}/jobs?state=queued")).json()["items"]
    assert [job["function"] for job in left] == ["a.two"]


async def test_canceling_many_can_be_stopped_and_tells_a_refusal(open_page, place, axe):
    """Stopped: what was done is said, the rest goes on. Refused: in the API's words, and it is not tried for ever."""
    await place.submit_many("a.one", 40, delay_seconds=3600)
    page = await open_page(f"{place.page}/jobs?state=queued", color_scheme="dark")
    dialog = page.get_by_role("dialog")
    asked, stopped = [], asyncio.Event()

    async def hold(route):
        asked.append(route.request.url)
        if len(asked) > 4:
            await stopped.wait()
        await route.continue_()

    await page.route("**/cancel", hold)
    await page.get_by_role("button", name="Cancel these…").click()
    await dialog.get_by_role("button", name="Cancel 40 jobs").click()
    await expect(dialog.get_by_role("status")).to_have_text("4 of 40 canceled…")
    await expect(dialog.get_by_role("progressbar")).to_be_visible()
    await page.keyboard.press("Escape")  # it is held: only Stop ends it
    await dialog.get_by_role("button", name="Stop").click()
    stopped.set()
    await expect(dialog.get_by_role("status")).to_have_text("Stopped: 8 of 40 canceled.")  # four were on their way
    await dialog.get_by_role("button", name="Close").click()
    await page.unroute_all()

    await page.route("**/cancel", refusing(403, "permission_denied", "The role was taken away."))
    await page.get_by_role("button", name="Cancel these…").click()
    await dialog.get_by_role("button", name="Cancel 32 jobs").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("The role was taken away.")
    await expect(dialog.get_by_role("status")).to_have_text("0 of 32 canceled.")
    await axe(page)


async def test_states_without_a_job_to_cancel_are_said(open_page, place):
    """Nothing that the filters leave out is touched: with only ended states chosen there is nothing to cancel."""
    job = await place.submit("a.one", delay_seconds=3600)
    await place.client.post(f"{place.environment.path}/jobs/{job}/cancel")
    await place.submit("a.one", delay_seconds=3600)
    page = await open_page(f"{place.page}/jobs?state=canceled")
    await page.get_by_role("button", name="Cancel these…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("No job that these filters let through")
    await expect(dialog.get_by_role("button", name="Cancel 0 jobs")).to_be_disabled()
    await dialog.get_by_role("button", name="Back").click()
    await page.goto(page.url.replace("canceled", "queued"))
    await page.get_by_role("button", name="Replay these…").click()
    await expect(dialog).to_contain_text("No job that has ended matches")
    await page.reload()
    viewer = await open_page(f"{place.page}/jobs", key=await place.viewer_key())
    await expect(viewer.get_by_role("button", name="Cancel these…")).to_be_disabled()
    await expect(viewer.get_by_role("button", name="Export…")).to_be_enabled()


async def test_filtered_jobs_are_exported_page_after_page(open_page, place, axe):
    """CSV without formulas, JSON Lines as the API writes it; numbers digit by digit when bodies are asked for."""
    await place.submit_many("a.one", 450, delay_seconds=3600, labels={"note": "=1+1"})
    job = await place.submit("a.two", f'{{"n": {BIG}, "m":12.50}}', delay_seconds=3600, labels={"x": '@a,"b"'})
    page = await open_page(f"{place.page}/jobs?since=1h")
    csv_text = await _exported(page, "csv", axe=axe)
    rows = list(csv.DictReader(io.StringIO(csv_text)))
    assert len(rows) == 451
    assert rows[0]["id"] == job
    assert json.loads(rows[0]["labels"]) == {"x": '@a,"b"'}
    assert {row["function"] for row in rows} == {"a.one", "a.two"}
    await page.goto(page.url + "&function=a.two")
    (line,) = (await _exported(page, "jsonl", bodies=True)).splitlines()
    assert json.loads(line)["id"] == job
    assert BIG in line
    assert "12.50" in line
    (row,) = csv.DictReader(io.StringIO(await _exported(page, "csv", bodies=True)))
    assert (BIG in row["payload"], "12.50" in row["payload"], row["error_code"]) == (True, True, "")


async def test_an_export_can_be_stopped_and_says_what_it_could_not_read(open_page, place):
    """What was read until then can be saved, and it is said that it is not all."""
    await place.submit_many("a.one", 450, delay_seconds=3600)
    page = await open_page(f"{place.page}/jobs")
    await expect(page.locator(".table-body [role=row]").first).to_be_visible()
    dialog = page.get_by_role("dialog")
    stopped = asyncio.Event()

    async def hold(route):
        await stopped.wait()
        await route.continue_()

    await page.route("**/jobs?*cursor=*", hold)
    await page.get_by_role("button", name="Export…").click()
    await dialog.get_by_role("button", name="Read them").click()
    await expect(dialog.get_by_role("status")).to_contain_text("200 jobs read")
    await dialog.get_by_role("button", name="Stop").click()
    stopped.set()
    await expect(dialog.get_by_role("status")).to_contain_text("Stopped: these are the newest. 200 jobs")
    assert len((await _saved(page)).splitlines()) == 201
    await dialog.get_by_role("button", name="Close").click()
    await page.unroute_all()

    await page.route("**/jobs?*cursor=*", refusing(500, "internal_error", "Something failed here."))
    await page.get_by_role("button", name="Export…").click()
    await dialog.get_by_role("button", name="Read them").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Something failed here.")
    await expect(dialog.get_by_role("status")).to_contain_text("200 jobs")


async def _exported(page, kind, *, bodies=False, axe=None) -> str:
    await page.get_by_role("button", name="Export…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Format").select_option(kind)
    if bodies:
        await dialog.get_by_label("With payload, result and error of each").check()
    if axe:
        await expect(dialog).to_contain_text("The newest 100,000 at most")
        await axe(page)
    await dialog.get_by_role("button", name="Read them").click()
    text = await _saved(page)
    await dialog.get_by_role("button", name="Close").click()
    return text


async def _saved(page) -> str:
    await expect(page.get_by_role("link", name="Save the file")).to_be_focused()
    async with page.expect_download() as download:
        await page.keyboard.press("Enter")
    file = await download.value
    assert file.suggested_filename.startswith("jobs-")
    path = Path(await file.path())
    return (await asyncio.to_thread(path.read_bytes)).decode()


async def test_what_is_beyond_a_bound_is_said(open_page, place):
    """10,000 jobs are canceled together, 100,000 exported; that there are more is told, and they stay as they are."""
    await place.submit("a.one", delay_seconds=3600)
    page = await open_page(f"{place.page}/jobs")
    await expect(page.locator(".table-body [role=row]")).to_have_count(1)
    dialog = page.get_by_role("dialog")

    async def endless(route):
        items = [{"id": f"j{number}", "function": "a.one", "state": "queued"} for number in range(15_000)]
        await route.fulfill(json={"items": items, "next_cursor": "more"})

    await page.route("**/jobs?*limit=200*", endless)
    await page.get_by_role("button", name="Cancel these…").click()
    await expect(dialog).to_contain_text("10,000 jobs that have not ended match these filters; more are older")
    await dialog.get_by_role("button", name="Back").click()
    await page.get_by_role("button", name="Export…").click()
    await dialog.get_by_role("button", name="Read them").click()
    said = dialog.get_by_role("status")
    await expect(said).to_contain_text("There are more: these are the newest. 100,000 jobs", timeout=60_000)
    assert len((await _saved(page)).splitlines()) == 100_001
