"""A page that is open while the gateway is killed, in a platform of its own: nobody else is to lose theirs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.conftest import Platform, start_platform, stop_platform

AWAY = "Waypost does not answer"


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Platform]:
    yield await asyncio.to_thread(start_platform, tmp_path / "data", relays=0)
    await asyncio.to_thread(stop_platform, tmp_path / "data")


async def test_a_killed_gateway_is_said_and_the_page_goes_on_with_the_next_one(open_page, own):
    """What is shown stays; when the supervisor has started another one the page is live again, without a reload."""
    async with httpx.AsyncClient(
        base_url=own.api_url, headers={"authorization": f"Bearer {own.admin_key}"}, timeout=30
    ) as client:
        await client.post(f"{own.environment_path}/jobs", json={"function": "before.it"})
        page = await open_page(f"/e/{own.environment}/jobs", origin=own.api_url, key=own.admin_key)
        rows = page.locator(".table-body [role=row]")
        away = page.get_by_role("status").filter(has_text=AWAY)
        await expect(rows).to_contain_text(["before.it"])
        await page.evaluate("window.loadedOnce = true")

        gateway = next(one["name"] for one in own.processes if one["name"].startswith("gateway"))
        os.kill(own.process(gateway)["pid"], signal.SIGKILL)
        await expect(away).to_be_visible()
        await expect(rows).to_contain_text(["before.it"])

        await own.settled(gateway, 1)
        await expect(away).to_have_count(0)
        await client.post(f"{own.environment_path}/jobs", json={"function": "after.it"})
        await page.get_by_role("button", name="Show 1 new job").click()
        await expect(rows).to_contain_text(["after.it", "before.it"])
        assert await page.evaluate("window.loadedOnce")
