"""Triggers and subscriptions: made, tried, looked at, taken away."""

import asyncio

from playwright.async_api import expect

from tests.console.conftest import PHONE
from tests.receiver import Receiver

BIG = "1234567890123456789012345678901234567890"


async def choose(page, name):
    await page.get_by_role("button", name="New trigger…").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Function").fill("repo.sync")


async def test_a_schedule_is_made_tested_paused_and_deleted(open_page, place, axe):
    """A fault is named where it lies; the next times are shown; a test is a firing with its job."""
    page = await open_page(f"{place.page}/triggers")
    await expect(page.get_by_text("No triggers yet")).to_be_visible()
    await expect(page.get_by_text("No subscriptions yet")).to_be_visible()
    await axe(page)
    await choose(page, "nightly")
    await page.get_by_label("Times", exact=True).fill("61 3 * * *")
    await expect(page.locator(".field", has=page.get_by_label("Times", exact=True))).to_contain_text("minute field")
    await axe(page)
    await page.get_by_label("Times", exact=True).fill("0 12 * * *")
    next_times = page.get_by_role("status", name="Next times").get_by_role("listitem")
    await expect(next_times).to_have_count(5)
    await page.get_by_label("Time zone").fill("Europe/Nowhere")
    await expect(page.locator(".field", has=page.get_by_label("Time zone"))).to_contain_text("There is no time zone")
    await expect(next_times).to_have_count(0)
    await page.get_by_label("Time zone").fill("Europe/Helsinki")
    await expect(next_times.first).to_contain_text("12:00:00")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("heading", name="nightly")).to_be_visible()
    await expect(page.get_by_text("0 12 * * * (Europe/Helsinki)")).to_be_visible()
    await expect(page.locator(".facts ol li")).to_have_count(5)
    await page.get_by_role("button", name="Test…").click()
    await page.get_by_role("button", name="Fire", exact=True).click()
    await expect(page.get_by_role("heading", name="repo.sync")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("region", name="Firings").get_by_role("link")).to_have_count(1)
    await axe(page)
    await page.get_by_role("button", name="Pause…").click()
    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(page.locator(".title .state")).to_have_text("paused")
    await page.get_by_role("button", name="Delete…").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("No triggers yet")).to_be_visible()


async def test_a_schedule_is_changed_unless_somebody_was_quicker(open_page, common, axe):
    """Every field is there as it is; a change of somebody else in the meantime is said and begun from."""
    job = {"function": "repo.sync", "tags": ["region in (eu, us)"], "priority": 7}
    given = {"kind": "schedule", "name": "poll", "job": job, "schedule": {"every_seconds": 3600}, "overlap": "skip"}
    path = f"{common.environment.path}/triggers"
    made = (await common.client.post(path, json=given)).json()
    page = await open_page(f"{common.page}/triggers/{made['id']}", viewport=PHONE)
    await page.get_by_role("button", name="Edit…").click()
    await expect(page.get_by_label("Seconds", exact=True)).to_have_value("3600")
    await expect(page.get_by_label("When the one before still runs")).to_have_value("skip")
    await expect(page.get_by_role("status", name="Next times").get_by_role("listitem")).to_have_count(5)
    await page.get_by_text("More about its jobs").click()
    await expect(page.get_by_label("Tags")).to_have_value("region in (eu, us)")
    await axe(page)
    await common.client.patch(f"{path}/{made['id']}", json={"name": "theirs"})
    await page.get_by_label("Repeats").select_option("cron")
    await page.get_by_label("Times", exact=True).fill("30 4 * * MON")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Begin from what it is now").click()
    await expect(page.get_by_label("Name")).to_have_value("theirs")
    await page.get_by_label("Repeats").select_option("cron")
    await page.get_by_label("Times", exact=True).fill("30 4 * * MON")
    await page.get_by_label("Spread, in seconds").fill("20")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("30 4 * * MON (UTC)")).to_be_visible()
    await expect(page.get_by_text("up to 20 s later")).to_be_visible()
    changed = (await common.client.get(f"{path}/{made['id']}")).json()
    assert (changed["name"], changed["overlap"], changed["jitter_seconds"]) == ("theirs", "skip", 20)
    assert (changed["job"]["tags"], changed["job"]["priority"]) == (["region in (eu, us)"], 7)


async def test_a_webhook_and_a_subscription_are_changed(open_page, common, axe):
    """Expressions are judged as they are written; the scheme stays; a subscription's events and address change."""
    path = common.environment.path
    job = {"function": "repo.sync"}
    hook = {"kind": "webhook", "name": "pushes", "job": job, "verify": {"scheme": "hmac", "header": "X-Signature"}}
    made = (await common.client.post(f"{path}/triggers", json=hook)).json()
    page = await open_page(f"{common.page}/triggers/{made['id']}")
    await page.get_by_role("button", name="Edit…").click()
    await page.get_by_label("Filter").fill("body.ref ==")
    await expect(page.locator(".field", has=page.get_by_label("Filter"))).to_contain_text("body.ref ==")
    await expect(page.locator("[aria-invalid=true]")).to_have_count(1)
    await page.get_by_label("Filter").fill("body.ref == 'main'")
    await page.get_by_label("Header", exact=True).fill("X-Hub")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("body.ref == 'main'")).to_be_visible()
    changed = (await common.client.get(f"{path}/triggers/{made['id']}")).json()
    assert changed["verify"]["header"] == "X-Hub"

    given = {"url": "https://example.com/one", "events": ["job.*"]}
    one = (await common.client.post(f"{path}/subscriptions", json=given)).json()
    await page.goto(page.url.replace(f"triggers/{made['id']}", f"subscriptions/{one['id']}"))
    await page.get_by_role("button", name="Edit…").click()
    await page.get_by_label("Events").fill("job.nonsense")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".field", has=page.get_by_label("Events")).locator(".fault")).to_be_visible()
    await axe(page)
    await page.get_by_label("Events").fill("job.completed job.failed")
    await page.get_by_label("Address").fill("https://example.com/two")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="https://example.com/two")).to_be_visible()
    await expect(page.get_by_text("job.completed, job.failed")).to_be_visible()


async def test_the_sender_that_is_shown_signs_as_the_webhook_asks(open_page, common):
    """Pasted into a shell it is taken, by Standard Webhooks; its secret is shown once."""
    page = await open_page(f"{common.page}/triggers")
    await choose(page, "pushes")
    await page.get_by_label("Fires").select_option("webhook")
    await page.get_by_role("button", name="Create", exact=True).click()
    sender = await page.get_by_label("Sender").inner_text()
    secret = await page.get_by_label("Secret").inner_text()
    await page.get_by_role("button", name="I have it").click()
    await expect(page.get_by_text("It has not fired yet")).to_be_visible()
    shell = await asyncio.create_subprocess_exec("bash", "-c", sender, stdout=asyncio.subprocess.PIPE)
    said, _ = await shell.communicate()
    assert b"job_id" in said, said
    firings = page.get_by_role("region", name="Firings")
    await expect(firings.get_by_role("row").last).to_contain_text("accepted")
    assert secret not in await page.content()
    await page.get_by_role("button", name="Test…").click()
    await page.get_by_role("textbox", name="Body").fill(f'{{"n": {BIG}}}')
    await page.get_by_role("button", name="Fire", exact=True).click()
    await expect(page.get_by_role("group", name="Payload")).to_contain_text(BIG)


SCHEMES = (
    {"scheme": "github"},
    {"scheme": "stripe"},
    {"scheme": "slack"},
    {"scheme": "hmac", "header": "X-Sig", "algorithm": "sha512", "encoding": "base64", "prefix": "v1="},
    {"scheme": "hmac", "header": "X-Sig", "delivery_header": "X-Delivery"},
    {"scheme": "bearer"},
)


async def test_the_sender_of_every_scheme_is_taken(open_page, common):
    """With the secret in its place, at any time after the trigger was made."""
    secret = "it is long enough to be one"
    page = await open_page(f"{common.page}/triggers")
    for verify in SCHEMES:
        given = {"kind": "webhook", "name": "x", "job": {"function": "a.b"}, "verify": verify, "secret": secret}
        made = await common.client.post(f"{common.environment.path}/triggers", json=given)
        assert made.status_code == 201, made.text
        await page.goto(page.url.partition("/triggers")[0] + f"/triggers/{made.json()['id']}")
        await page.get_by_role("button", name="Sender…").click()
        sender = (await page.get_by_label("Sender", exact=True).inner_text()).replace("PUT THE SECRET HERE", secret)
        shell = await asyncio.create_subprocess_exec("bash", "-c", sender, stdout=asyncio.subprocess.PIPE)
        said, _ = await shell.communicate()
        assert b"job_id" in said, (verify, said)


async def test_secrets_are_made_anew(open_page, common, axe):
    """Shown once, of a webhook and of a subscription; what a sender made is given and shown to nobody."""
    path = common.environment.path
    webhook = {"kind": "webhook", "name": "x", "job": {"function": "a.b"}}
    stripe = webhook | {"verify": {"scheme": "stripe"}, "secret": "whsec_of_stripe_itself"}
    theirs = (await common.client.post(f"{path}/triggers", json=stripe)).json()["id"]
    ours = (await common.client.post(f"{path}/triggers", json=webhook | {"verify": {"scheme": "github"}})).json()["id"]
    given = {"url": "https://example.com/one", "events": ["job.*"]}
    one = (await common.client.post(f"{path}/subscriptions", json=given)).json()["id"]
    page = await open_page(f"{common.page}/triggers/{theirs}")
    await page.get_by_role("button", name="New secret…").click()
    await page.get_by_role("button", name="Make one").click()
    await expect(page.get_by_role("alert")).to_contain_text("secret")
    await page.get_by_label("Signing secret").fill("whsec_of_stripe_again")
    await page.get_by_role("button", name="Make one").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    for where in (f"triggers/{ours}", f"subscriptions/{one}"):
        await page.goto(page.url.partition(common.page)[0] + f"{common.page}/{where}")
        await page.get_by_role("button", name="New secret…").click()
        await page.get_by_label("The one before is valid").select_option("3600")
        await page.get_by_role("button", name="Make one").click()
        secret = await page.get_by_label("Secret", exact=True).inner_text()
        await axe(page)
        await page.get_by_role("button", name="I have it").click()
        assert secret not in await page.content()


async def test_a_subscription_shows_what_was_sent_and_answered(open_page, place, axe):
    """A test event is delivered, looked at, and delivered again."""
    async with Receiver() as receiver:
        page = await open_page(f"{place.page}/triggers")
        await page.get_by_role("button", name="New subscription…").click()
        await page.get_by_label("Address").fill("nowhere")
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("/url")
        await page.get_by_label("Address").fill(receiver.url)
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_label("Secret")).to_contain_text("whsec_")
        await page.get_by_role("button", name="I have it").click()
        await expect(page.get_by_text("Nothing was delivered yet")).to_be_visible()
        await page.get_by_role("button", name="Test…").click()
        await page.get_by_role("button", name="Deliver", exact=True).click()
        await expect(page.locator("td .state")).to_have_text("delivered")
        await page.get_by_role("button", name="Look at the delivery").click()
        await expect(page.get_by_role("group", name="Request")).to_contain_text("webhook-id")
        await expect(page.get_by_role("group", name="Attempts")).to_contain_text("status")
        await axe(page)
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Redeliver…").click()
        await page.get_by_role("button", name="Redeliver", exact=True).click()
        await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_viewer_sees_triggers_and_makes_none(open_page, common, axe):
    """On a phone; an unknown one is not found."""
    page = await open_page(f"{common.page}/triggers", key=await common.viewer_key(), viewport=PHONE)
    await expect(page.get_by_role("button", name="New trigger…")).to_be_disabled()
    await expect(page.get_by_role("button", name="New subscription…")).to_be_disabled()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await axe(page)
    await page.goto(page.url + "/01a1ff07-0000-7000-8000-000000000000")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
