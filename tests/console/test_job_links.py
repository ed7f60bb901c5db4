"""Where a job leads: the trigger and the firing that it came of, its artifacts, what it replays and its replay."""

import asyncio
from pathlib import Path

from playwright.async_api import expect

from tests.console.conftest import PHONE, refusing

NOWHERE = "01a1ff07-0000-7000-8000-000000000000"


async def test_a_job_leads_to_its_trigger_and_the_table_to_the_jobs_of_one(open_page, place, axe):
    """By name, on the page and among the filters; a trigger that is deleted is said to be."""
    schedule = {"kind": "schedule", "name": "nightly", "schedule": {"cron": "0 3 * * *"}, "job": {"function": "a.one"}}
    trigger = (await place.client.post(f"{place.environment.path}/triggers", json=schedule)).json()["id"]
    path = f"{place.environment.path}/triggers/{trigger}"
    job = (await place.client.post(f"{path}/test", json={})).json()["job_id"]
    await place.submit("a.one")
    page = await open_page(f"{place.page}/jobs")
    rows = page.locator(".table-body [role=row]")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Trigger").select_option("nightly")
    await expect(rows).to_have_count(1)
    await expect(page.get_by_role("button", name="Remove the filter trigger nightly")).to_be_visible()
    await axe(page)
    await rows.get_by_role("link").click()
    details = page.get_by_role("region", name="Details")
    await expect(details).to_contain_text("due ")
    await axe(page)
    await details.get_by_role("link", name="nightly").click()
    await expect(page.get_by_role("heading", name="nightly")).to_be_visible()
    await place.client.delete(path)
    await page.goto(f"{page.url.partition('/triggers')[0]}/jobs/{job}")
    await expect(details).to_contain_text("is deleted")
    await details.get_by_role("link", name="All jobs of it").click()
    await expect(rows).to_have_count(1)


async def test_a_webhooks_job_shows_the_request_that_made_it(open_page, common, axe):
    """When it was received and with which headers, credentials masked; for a viewer, too."""
    hook = {"kind": "webhook", "name": "pushes", "verify": {"scheme": "bearer"}, "job": {"function": "a.one"}}
    made = (await common.client.post(f"{common.environment.path}/triggers", json=hook)).json()
    headers = {"authorization": f"Bearer {made['secret']}", "x-github-event": "push"}
    job = (await common.client.post(f"/hooks/{made['id']}", json={"n": 1}, headers=headers)).json()["job_id"]
    await common.submit("a.one")
    page = await open_page(f"{common.page}/jobs/{job}", key=await common.viewer_key(), color_scheme="dark")
    details = page.get_by_role("region", name="Details")
    await expect(details).to_contain_text("received ")
    await details.get_by_text("Request headers").click()
    await expect(details.get_by_role("group", name="Request headers")).to_contain_text('x-github-event: "push"')
    assert made["secret"] not in await page.content()
    await axe(page)


async def test_what_a_job_uploaded_and_names_can_be_downloaded(open_page, common, axe):
    """Its own artifacts, those that payload and result refer to, and one that is gone; each with size and type."""
    files = {"file": ("notes.txt", b"what was asked")}
    source = (await common.client.post(f"{common.environment.path}/artifacts", files=files)).json()["id"]

    async def render(job, payload):
        made = await job.artifacts.put(b"%PDF-1.4 made", name="report.pdf")
        return {"report": {"$artifact": made.id}}

    async with common.node({"report.render": render}):
        payload = {"of": [{"$artifact": source}, {"$artifact": NOWHERE}]}
        job = await common.submit("report.render", payload)
        await common.ended(job)
    page = await open_page(f"{common.page}/jobs/{job}", viewport=PHONE, color_scheme="dark")
    artifacts = page.get_by_role("region", name="Artifacts")
    await expect(artifacts.get_by_role("listitem").filter(has_text="report.pdf")).to_contain_text(
        "13 bytes; uploaded by this job, named in the result"
    )
    await expect(artifacts.get_by_role("listitem").filter(has_text="notes.txt")).to_contain_text("named in the payload")
    await expect(artifacts.get_by_role("listitem").filter(has_text=NOWHERE)).to_contain_text("is deleted")
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)
    async with page.expect_download() as download:
        await artifacts.get_by_role("button", name="Download notes.txt").click()
    file = await download.value
    assert file.suggested_filename == "notes.txt"
    assert await asyncio.to_thread(Path(await file.path()).read_bytes) == b"what was asked"

    await page.route("**/content", refusing(409, "content_missing", "Its content is lost."))
    await artifacts.get_by_role("button", name="Download report.pdf").click()
    await expect(artifacts.get_by_role("alert")).to_have_text("Its content is lost.")


async def test_a_viewer_sees_what_artifacts_there_are_and_downloads_none(open_page, common):
    """What the job put is shown to who may look; content is for who may operate."""

    async def put(job, payload):
        await job.artifacts.put(b"x", name="kept.bin")

    async with common.node({"put.one": put}):
        job = await common.submit("put.one", {})
        await common.ended(job)
    page = await open_page(f"{common.page}/jobs/{job}", key=await common.viewer_key())
    await expect(page.get_by_role("button", name="Download kept.bin")).to_be_disabled()


async def test_a_replay_and_what_it_replays_lead_to_each_other(open_page, common):
    """Both ways."""
    job = await common.submit("a.one", delay_seconds=3600)
    await common.client.post(f"{common.environment.path}/jobs/{job}/cancel")
    replay = (await common.client.post(f"{common.environment.path}/jobs/{job}/replay", json={})).json()["id"]
    page = await open_page(f"{common.page}/jobs/{job}")
    await page.get_by_role("link", name=replay).click()
    await page.get_by_role("link", name=job).click()
    await expect(page.locator(".id")).to_contain_text(job)


async def test_who_did_it_is_told_by_name_to_those_who_may_know(open_page, place):
    """A key by its name, on the job and in the audit, with the id on hover; to a viewer by the end of the id."""
    made = (await place.client.post(f"{place.environment.path}/keys", json={"name": "nightly build"})).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    await place.client.post(f"{place.environment.path}/functions/a.one/pause", json={}, headers=headers)
    answer = await place.client.post(f"{place.environment.path}/jobs", json={"function": "a.one"}, headers=headers)
    path = f"{place.page}/jobs/{answer.json()['id']}"
    page = await open_page(path)
    details = page.get_by_role("region", name="Details")
    await expect(details).to_contain_text("key nightly build")
    await expect(details.get_by_title(f"key:{made['id']}")).to_be_visible()
    await page.goto(page.url.partition("/e/")[0] + f"{place.page}/settings/audit")
    await expect(page.get_by_role("cell", name="key nightly build")).to_be_visible()
    viewer = await open_page(path, key=await place.viewer_key())
    details = viewer.get_by_role("region", name="Details")
    await expect(details).to_contain_text(f"key:…{made['id'][-12:]}")
    await expect(details).not_to_contain_text("nightly build")
