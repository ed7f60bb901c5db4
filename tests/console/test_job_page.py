"""One job: what happened, what is in it, and what can be done."""

import asyncio
import json
import re
from datetime import datetime
from zoneinfo import ZoneInfo

from playwright.async_api import expect
from waypost_sdk import NonRetryable

from tests.console.conftest import PHONE, ZONE
from tests.relay.fake_node import FakeNode
from tests.relay.ground import until

BIG = "1234567890123456789012345678901234567890"
SCRIPT = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


async def echo(job, payload):
    return payload


async def test_payload_and_result_are_shown_exactly_and_as_text(open_page, common, axe):
    """40 digits, 12.50, a script, right-to-left text, __proto__, and a string of a mebibyte."""
    long = "x" * ((1 << 20) - 400)
    rest = json.dumps({"script": SCRIPT, "rtl": "שלום مرحبا", "hidden": "a\u202eb", "long": long})[1:]
    async with common.node({"echo.back": echo}):
        job = await common.submit("echo.back", f'{{"big":{BIG},"amount":12.50,"__proto__":{{"a":1}},{rest}')
        await common.ended(job)
    page = await open_page(f"{common.page}/jobs/{job}")
    for name in ("Payload", "Result"):
        tree = page.get_by_role("group", name=name)
        for text in (BIG, "12.50", "__proto__", "שלום مرحبا", "a\\u202eb", SCRIPT.replace('"', '\\"')):
            await expect(tree).to_contain_text(text)
    payload = page.get_by_role("group", name="Payload")
    await payload.get_by_role("button", name=f"Show all {len(long):,} characters").click()
    assert long in await payload.inner_text()
    await page.get_by_role("button", name="As text").first.click()
    await expect(page.get_by_label("Payload as text")).to_contain_text(BIG)
    assert await page.title() == "Waypost"
    await page.reload()
    await expect(payload).to_be_visible()
    await axe(page)


async def test_a_dead_letter_tells_its_attempts_and_runs_again_with_another_payload(open_page, common, axe):
    """Error and stack, every attempt with its node; the new payload's digits arrive at the node as typed."""

    async def picky(job, payload):
        if "bad" in payload:
            raise ValueError("this will not do")
        return payload

    async with common.node({"picky.one": picky}, name="node-7"):
        retry = {"max_attempts": 2, "backoff": "none"}
        job = await common.submit("picky.one", {"bad": 1}, retry=retry)
        await common.ended(job)
        page = await open_page(f"{common.page}/jobs/{job}")
        happened = page.get_by_role("region", name="What happened")
        await expect(happened).to_contain_text("Attempt 1")
        await expect(happened).to_contain_text("Attempt 2")
        await expect(happened).to_contain_text("node-7")
        await expect(page.get_by_label("Stack")).to_contain_text("in picky")
        await page.get_by_role("button", name="Replay…").click()
        await axe(page)
        field = page.get_by_role("textbox", name="Payload")
        await field.fill('{"n": 1,}')
        await page.get_by_role("button", name="Replay with this payload").click()
        await expect(page.get_by_text("line 1, column 9")).to_be_visible()
        await field.fill(f'{{"n": {BIG}}}')
        await page.get_by_role("button", name="Replay with this payload").click()
        await expect(page.get_by_role("group", name="Result")).to_contain_text(BIG)
        await expect(page.get_by_role("link", name=job)).to_be_visible()  # replay of
        await page.get_by_role("button", name="Compare…").click()
        await expect(page.get_by_role("region", name="Payload: differences")).to_contain_text(BIG)
        await expect(page.get_by_text("only this one has one")).to_be_visible()
        await axe(page)


async def test_why_it_is_not_running_is_said_with_the_numbers(open_page, place):
    """And it runs as soon as the reason is gone, without a reload."""
    job = await place.submit("gpu.work", {}, tags=["gpu"])
    page = await open_page(f"{place.page}/jobs/{job}")
    await expect(page.get_by_role("heading", name="No node is connected")).to_be_visible()
    async with place.node({"gpu.work": echo}, tags=["cpu"]):
        await expect(page.get_by_role("heading", name="No node has the tags it asks for")).to_be_visible()
        await expect(page.locator(".funnel")).to_have_text(
            "1 connected1 with the function0 with the tags0 with a free slot"
        )
        async with place.node({"gpu.work": echo}, tags=["gpu"]):
            await expect(page.locator(".title .state")).to_have_text("completed")


async def test_progress_and_log_are_followed_and_a_running_job_is_canceled(open_page, common):
    """Live from the node; afterwards the log is read from the record, each line once."""
    canceled = asyncio.Event()

    async def slow(job, payload):
        await job.progress(0.25, "a quarter")
        job.log("it begins")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            canceled.set()
            raise

    async with common.node({"slow.one": slow}):
        page = await open_page(f"{common.page}/jobs")
        job = await common.submit("slow.one", {})
        await page.goto(page.url + f"/{job}")
        await expect(page.get_by_role("progressbar")).to_be_visible()
        await expect(page.locator(".progress")).to_contain_text("a quarter")
        await expect(page.get_by_role("log").get_by_text("it begins")).to_have_count(1)
        await page.get_by_role("button", name="Cancel…").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.locator(".title .state")).to_have_text("canceled")
        await asyncio.wait_for(canceled.wait(), 10)
        await expect(page.get_by_role("log").get_by_text("it begins")).to_have_count(1)


async def test_a_viewer_is_told_why_there_is_no_payload_and_no_button(open_page, common, axe):
    """The role that counts is named; on a phone, nothing is wider than the screen."""
    job = await common.submit("a.one", {"secret": 1})
    page = await open_page(f"{common.page}/jobs/{job}", key=await common.viewer_key(), viewport=PHONE)
    await expect(page.get_by_text("Shown to who may operate this environment")).to_be_visible()
    await expect(page.get_by_text("viewer")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel…")).to_be_disabled()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)


async def test_a_lost_attempt_stands_in_the_timeline(open_page, common, node_token, axe):
    """With the node that had it, its relay, the reason and that its late answer met the fence; then the one that ended
    the job.
    """
    leaving = await FakeNode(common.platform.relay_address, await node_token()).join(["lost.one"], name="node-8")
    job = await common.submit("lost.one", {}, retry={"max_attempts": 2, "backoff": "none"})
    assignment = await asyncio.wait_for(leaving.assigned.get(), 15)
    await leaving.call.done_writing()  # it takes its leave with the job in its hands
    async with common.node({"lost.one": echo}, name="node-9"):
        await common.ended(job)
        await leaving.close()
    back = await FakeNode(common.platform.relay_address, await node_token()).join(["other.one"], name="node-8")
    await back.finish(assignment, b"1")
    assert not (await asyncio.wait_for(back.settled.get(), 15)).accepted

    async def noted():
        told = (await common.client.get(f"{common.environment.path}/jobs/{job}/attempts")).json()["items"]
        return told[0]["answer_refused_at"]

    await until(noted)
    await back.close()
    page = await open_page(f"{common.page}/jobs/{job}")
    attempts = page.get_by_role("region", name="What happened").locator(".of-attempt")
    await expect(attempts).to_have_count(2)
    for word in ("Attempt 1", "lost", "on node-8", "via relay-"):
        await expect(attempts.first).to_contain_text(word)
    await expect(page.locator(".attempt-error")).to_contain_text("node_lost")
    await expect(attempts.last).to_contain_text("on node-9")
    await expect(page.locator(".attempt-late")).to_contain_text(re.compile(r"Fenced: its answer came \S+ \w+ later"))
    await axe(page)


async def test_times_are_those_of_the_reader_with_utc_on_hover(open_page, common):
    """In the browser's zone, to the second; on hover as the API says it."""
    job = await common.submit("a.one", delay_seconds=3600)
    said = (await common.client.get(f"{common.environment.path}/jobs/{job}")).json()["created_at"]
    page = await open_page(f"{common.page}/jobs/{job}")
    created = page.get_by_role("region", name="Details").locator("time").first
    here = datetime.fromisoformat(said).astimezone(ZoneInfo(ZONE))
    await expect(created).to_contain_text(f"{here:%H:%M:%S}")
    await expect(created).to_contain_text(f"{here.day} ")
    await expect(created).to_have_attribute("title", said.replace("T", " ").replace("Z", " UTC"))


async def test_an_unknown_job_is_not_found(open_page, common):
    """In the API's words."""
    page = await open_page(f"{common.page}/jobs/01a1ff07-0000-7000-8000-000000000000")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")


async def test_copied_as_curl_it_is_a_command_that_submits_the_same(open_page, common, platform):
    """Quotes and digits survive the shell."""

    async def fail(job, payload):
        raise NonRetryable("no_use", "it's no use")

    async with common.node({"quote.it": fail}):
        job = await common.submit("quote.it", f'{{"text":"it\'s $HOME","big":{BIG}}}', labels={"a": "b"})
        await common.ended(job)
        page = await open_page(f"{common.page}/jobs/{job}", permissions=["clipboard-read", "clipboard-write"])
        said = asyncio.ensure_future(expect(page.get_by_text("Copied")).to_be_visible())  # it does not stay for long
        await page.get_by_role("button", name="Copy as curl").click()
        await said
        command = await page.evaluate("navigator.clipboard.readText()")
        process = await asyncio.create_subprocess_shell(
            command, env={"WAYPOST_KEY": platform.admin_key, "PATH": "/usr/bin:/bin"}, stdout=asyncio.subprocess.PIPE
        )
        made, _ = await process.communicate()
        answer = (await common.client.get(f"{common.environment.path}/jobs/{json.loads(made)['id']}")).text
        assert f'"payload":{{"text":"it\'s $HOME","big":{BIG}}}' in answer.replace(": ", ":").replace(", ", ",")
        assert json.loads(answer)["labels"] == {"a": "b"}
