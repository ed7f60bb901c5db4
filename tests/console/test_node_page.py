"""Nodes: the fleet, one of them, and connecting another."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from playwright.async_api import expect

from tests.console.conftest import PHONE


async def echo(job, payload):
    return payload


async def test_what_is_pasted_connects_a_node(open_page, place, axe):
    """From an empty fleet: a credential made on the spot, shown once, and the program beside it joins as it is."""
    page = await open_page(f"{place.page}/nodes")
    await expect(page.get_by_text("No node is connected")).to_be_visible()
    await axe(page)
    await page.get_by_role("button", name="Connect a node…").click()
    await page.get_by_label("Name").fill("n" * 300)
    await page.get_by_role("button", name="Make a credential").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Name").fill("rack 1")
    await page.get_by_label("Tags it may have").fill("gpu region=*")
    await page.get_by_role("button", name="Make a credential").click()
    program = await page.get_by_label("Program").inner_text()
    await axe(page)
    await page.get_by_role("button", name="I have it").click()
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shell = await asyncio.create_subprocess_exec("bash", "-c", program, env=environ, start_new_session=True)
    try:
        card = page.locator(".card")
        await expect(card).to_contain_text("active", timeout=60_000)  # an interpreter, gRPC, a token, and a poll
        await expect(card).to_contain_text("gpu")
        await expect(card).to_contain_text("round trip")
        await expect(card.get_by_role("meter", name="Slots of")).to_be_visible()
        await expect(page.locator(".panel", has=card)).to_contain_text(re.compile(r"relay-\d+: 1 node"))
        await card.get_by_role("link").click()
        await expect(page.get_by_role("link", name="text.count")).to_be_visible()
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        await shell.wait()
    await page.get_by_role("link", name="Nodes").first.click()
    await page.get_by_role("button", name="Delete the credential rack 1").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("None yet")).to_be_visible()


async def test_a_node_is_drained(open_page, common, axe):
    """It is told to leave; its page says so and keeps its record."""
    async with common.node({"echo.back": echo}, name="node-5"):
        page = await open_page(f"{common.page}/nodes")
        await page.get_by_role("link", name="node-5").click()
        await expect(page.locator(".title .state")).to_have_text("active")
        await axe(page)
        await page.get_by_role("button", name="Drain…").click()
        await page.get_by_role("button", name="Drain", exact=True).click()
        await expect(page.locator(".title .state")).not_to_have_text("active")


async def test_a_viewer_sees_the_fleet_and_connects_nothing(open_page, common, axe):
    """On a phone; an unknown node is not found."""
    async with common.node({"echo.back": echo}, name="node-6"):
        page = await open_page(f"{common.page}/nodes", key=await common.viewer_key(), viewport=PHONE)
        await expect(page.get_by_role("link", name="node-6")).to_be_visible()
        await expect(page.get_by_role("button", name="Connect a node…")).to_be_disabled()
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await axe(page)
    await page.goto(page.url + "/01a1ff07-0000-7000-8000-000000000000")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
