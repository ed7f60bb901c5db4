"""Functions: who serves them, pausing, running one now."""

import json
import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins
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


async def test_a_function_is_paused_with_a_note_resumed_and_run(open_page, common, axe):
    """Whoever looks is told who paused it and why; a run's payload arrives digit by digit."""
    async with common.node({"echo.paused": echo}, name="node-3", tags=["gpu"]):
        page = await open_page(f"{common.page}/functions")
        await page.get_by_role("link", name="echo.paused").click()
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
    await expect(page.get_by_role("img", name="1 submitted, 0 completed, 0 failed, 0 canceled")).to_be_visible()
    await expect(page.get_by_role("img", name="1 wait and 0 run")).to_be_visible()
    await expect(page.get_by_role("button", name="Pause…")).to_be_disabled()
    await page.goto(page.url.replace("nobody.has", "never.seen"))
    await expect(page.get_by_role("alert")).to_contain_text("Not found")


class Size(Struct):
    """How large it shall be."""

    width: Annotated[int, Meta(ge=1, description="pixels")]
    ratio: float | None = None


class Picture(Struct):
    url: Annotated[str, Meta(min_length=1, description="where the picture is")]
    kind: Literal["png", "jpeg"]
    size: Size
    count: int
    tags: list[str] = []
    sharp: bool = False
    other: dict[str, int] = {}


async def thumbnail(job, payload: Picture) -> Any:
    return to_builtins(payload)


async def test_a_function_is_run_with_a_form_of_its_schema(open_page, common, axe):
    """Field by field, with what is wrong told at the field; numbers digit by digit; turned to JSON and back."""
    async with common.node({"image.thumbnail": thumbnail}):
        page = await open_page(f"{common.page}/functions/image.thumbnail", color_scheme="dark")
        await expect(page.get_by_role("group", name="Input schema")).to_contain_text("#/$defs/Picture")
        await expect(page.get_by_role("img", name="Time to run in each minute")).to_be_visible()
        await page.get_by_role("button", name="Run it now…").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("where the picture is")
        await dialog.get_by_role("button", name="Run", exact=True).click()
        for name, fault in (("url", "This must be given."), ("kind", "This must be given."), ("width", "given")):
            await expect(dialog.get_by_label(name, exact=True)).to_have_accessible_description(re.compile(fault))
        await expect(dialog.get_by_label("url", exact=True)).to_be_focused()
        await axe(page)
        await dialog.get_by_label("url", exact=True).fill("https://example.com/ä\n")
        await dialog.get_by_label("kind", exact=True).select_option('"jpeg"')
        await dialog.get_by_label("width", exact=True).fill("0")
        await dialog.get_by_label("ratio", exact=True).fill("1.50")
        await dialog.get_by_label("count", exact=True).fill("many")
        await expect(dialog.get_by_label("width", exact=True)).to_have_accessible_description(re.compile("At least 1"))
        await expect(dialog.get_by_label("count", exact=True)).to_have_accessible_description(
            re.compile("This is no whole number")
        )
        await dialog.get_by_label("width", exact=True).fill("640")
        await dialog.get_by_label("count", exact=True).fill(BIG)
        await dialog.get_by_role("button", name="Give tags").click()
        for number, word in ((1, "one"), (2, "two"), (3, "three")):
            await dialog.get_by_role("button", name=f"Add tags {number}").click()
            await dialog.get_by_label(f"tags {number}", exact=True).fill(word)
        await dialog.get_by_role("button", name="Remove tags 2").click()
        await dialog.get_by_label("other", exact=True).fill('{"a": 1,}')
        await dialog.get_by_role("button", name="Run", exact=True).click()
        await expect(dialog.get_by_label("other", exact=True)).to_have_accessible_description(re.compile("column 9"))
        await dialog.get_by_label("other", exact=True).fill('{"a": 1}')
        await axe(page)

        await dialog.get_by_role("radio", name="JSON").click()
        text = dialog.get_by_role("textbox", name="Payload")
        payload = await text.input_value()
        assert f'"count": {BIG}' in payload
        assert '"ratio": 1.50' in payload
        assert json.loads(payload)["tags"] == ["one", "three"]
        await text.fill(payload.replace('"one"', "1"))
        await dialog.get_by_role("radio", name="Form").click()
        await expect(dialog).to_contain_text("The form has no place for /tags/0.")
        await text.fill(payload.replace('"one"', '"uno"'))
        await dialog.get_by_role("radio", name="Form").click()
        await expect(dialog.get_by_label("tags 1", exact=True)).to_have_value("uno")
        await dialog.get_by_role("button", name="Run", exact=True).click()
        sent = page.get_by_role("group", name="Payload")
        for word in (BIG, "1.50", "uno", "ä\\n"):
            await expect(sent).to_contain_text(word)
        await expect(page.locator(".title .state")).to_have_text("completed")


async def test_what_a_schema_does_not_say_is_typed_as_json(open_page, common):
    """A function without a schema has no form, and on a phone the form is not wider than the screen."""

    async def either(job, payload: int | str) -> Any:
        return payload

    async with common.node({"echo.back": echo, "either.one": either, "image.thumbnail": thumbnail}):
        page = await open_page(f"{common.page}/functions/echo.back", viewport=PHONE)
        for name, hint in (("echo.back", "declares no schema"), ("either.one", "Begun from the function's schema")):
            await page.goto(f"{page.url.rpartition('/')[0]}/{name}")
            await page.get_by_role("button", name="Run it now…").click()
            await expect(page.get_by_role("dialog")).to_contain_text(hint)
            await expect(page.get_by_role("radio", name="Form")).to_have_count(0)
        await page.goto(f"{page.url.rpartition('/')[0]}/image.thumbnail")
        await page.get_by_role("button", name="Run it now…").click()
        await expect(page.get_by_label("url", exact=True)).to_be_visible()
        assert await page.evaluate("document.querySelector('.modal').scrollWidth") <= PHONE["width"]
