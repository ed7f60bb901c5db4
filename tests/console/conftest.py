"""The console in Debian's Chromium, against the platform of this run.

`open_page(path)` opens a page as somebody: the administrator by default, with `key=…` another, with `key=None` nobody.
At the end of a test every page that it opened, in whichever tab, must have logged no error, broken no rule of its
policy, asked no other host for anything and put no key into an address.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect
from waypost_sdk import Node

from console import build
from tests.console.proxy import Proxy

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}
ZONE = "Europe/Helsinki"
WAIT_MS = 15_000
_QUIET = ("net::ERR_", "Failed to load resource")  # the browser's own lines about answers that a test provokes

# Once in the life of a tab, as a person does: a key that the console has dropped stays dropped.
_SIGN_IN = """
if (!sessionStorage.getItem("signed-in")) {
  sessionStorage.setItem("signed-in", "yes");
  sessionStorage.setItem("waypost.key", %s);
}
"""

expect.set_options(timeout=WAIT_MS)

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium here: make browser")
    await asyncio.to_thread(build.build)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(chromium: Browser, platform: Any) -> AsyncIterator[OpenPage]:
    contexts, problems = [], []

    def watch(page: Page, origin: str, key: str | None) -> None:
        def asked(request: Request) -> None:
            if not request.url.startswith((origin, "data:")):
                problems.append(f"asked another host: {request.url}")
            if key and key in request.url:
                problems.append("put a key into an address")

        def said(message: Any) -> None:
            if message.type in ("error", "warning") and not any(word in message.text for word in _QUIET):
                problems.append(f"{message.type}: {message.text}")

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))

    async def make(path: str = "/", *, key: str | None = "", origin: str = platform.api_url, **more: Any) -> Page:
        options = {"viewport": DESK, "locale": "en-GB", "timezone_id": ZONE, "reduced_motion": "reduce", **more}
        context = await chromium.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        given = platform.admin_key if key == "" else key
        context.on("page", lambda page: watch(page, origin, given))
        page = await context.new_page()
        if given is not None:
            await page.add_init_script(_SIGN_IN % json.dumps(given))
        await page.goto(origin + path)
        return page

    yield make
    for context in contexts:
        await context.close()
    assert problems == []


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], Awaitable[None]]:
    """Asserts that axe finds nothing serious on a page, by the rules of WCAG 2.2 AA and its good practices."""
    source = (build.CONSOLE / "node_modules" / "axe-core" / "axe.min.js").read_text

    async def check(page: Page) -> None:
        await page.evaluate(source())
        found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [
            f"{violation['id']}: {[node['html'][:200] for node in violation['nodes'][:3]]}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert bad == []

    return check


@pytest.fixture
async def proxy(platform: Any) -> AsyncIterator[Proxy]:
    """The gateway behind an address that can go away and come back, as when it is restarted."""
    one = Proxy(platform.api_url)
    await one.up()
    yield one
    await one.close()


@pytest.fixture
async def place(platform: Any, client: Any, environment: Any, make_node_credential: Any) -> "Place":
    return Place(platform, client, environment, make_node_credential)


@pytest.fixture
async def common(platform: Any, client: Any, shared_environment: Any, make_node_credential: Any) -> "Place":
    """The environment that all share who neither count nor need it empty: making one takes a second or two."""
    return Place(platform, client, shared_environment, make_node_credential)


@pytest.fixture
def node_token(client: Any, shared_environment: Any, make_node_credential: Any) -> Callable[[], Awaitable[str]]:
    """Tokens of new credentials in the shared environment."""

    async def make() -> str:
        credential = await make_node_credential(shared_environment.path)
        login = {"auth": (credential.client_id, credential.client_secret), "data": {"grant_type": "client_credentials"}}
        return str((await client.post(credential.token_url, **login)).json()["access_token"])

    return make


class Place:
    """An environment with what tests do in it; `page` is the path of its pages."""

    def __init__(self, platform: Any, client: Any, environment: Any, make_node_credential: Any) -> None:
        self.platform, self.client, self.environment = platform, client, environment
        self.page = f"/e/{environment.place}"
        self._make_node_credential = make_node_credential

    async def submit(self, function: str, payload: Any = None, **more: Any) -> str:
        """The id of a new job. A payload that is text is sent as it is written."""
        text = payload if isinstance(payload, str) else json.dumps(payload)
        rest = json.dumps({"function": function, **more})[1:]
        answer = await self.client.post(f"{self.environment.path}/jobs", content=f'{{"payload":{text},{rest}')
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def submit_many(self, function: str, count: int, **more: Any) -> None:
        await asyncio.gather(*(self._submit_batches(function, count, begin, more) for begin in range(0, 4_000, 1_000)))

    async def _submit_batches(self, function: str, count: int, begin: int, more: dict[str, Any]) -> None:
        """Every fourth batch of a thousand, from the one at `begin` on."""
        for at in range(begin, count, 4_000):
            body = json.dumps({"jobs": [{"function": function, **more}] * min(1_000, count - at)})
            answer = await self.client.post(f"{self.environment.path}/jobs/bulk", content=body)
            assert answer.status_code == 202, answer.text

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""
        async with self.client.stream("GET", f"{self.environment.path}/jobs/{job_id}/events") as stream:
            async for _ in stream.aiter_lines():
                pass
        return dict((await self.client.get(f"{self.environment.path}/jobs/{job_id}")).json())

    async def viewer_key(self) -> str:
        answer = await self.client.post(f"{self.environment.path}/keys", json={"name": "looks", "role": "viewer"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    @asynccontextmanager
    async def node(
        self, functions: dict[str, Callable[[Any, Any], Awaitable[Any]]], **more: Any
    ) -> AsyncIterator[Node]:
        """A node with these functions, connected."""
        credential = await self._make_node_credential(self.environment.path)
        node = Node(
            relay=self.platform.relay_address,
            url=self.platform.api_url,
            client_id=credential.client_id,
            client_secret=credential.client_secret,
            **more,
        )
        for name, function in functions.items():
            node.function(name)(function)
        task = asyncio.create_task(node.serve())
        try:
            await asyncio.sleep(0)  # serve() begins
            async with asyncio.timeout(20):
                await node.wait_connected()
            yield node
        finally:
            node.stop("the test is over")
            await asyncio.wait([task], timeout=20)
            task.cancel()


def path_of(page: Page) -> str:
    """The page's address without its host."""
    parts = urlsplit(page.url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def refusing(status: int, code: str, detail: str) -> Callable[[Any], Awaitable[None]]:
    """A handler for `page.route`: every request is answered as the API answers an error."""
    problem = {"status": status, "code": code, "detail": detail, "request_id": "r-1"}

    async def refuse(route: Any) -> None:
        await route.fulfill(status=status, content_type="application/problem+json", body=json.dumps(problem))

    return refuse
