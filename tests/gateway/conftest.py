"""Gateways of one's own beside the platform's, on its servers; keys of every role; an organization that is not ours."""

import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from gateway.http import Listener
from gateway.process import reserved_port, shut
from gateway.services import Services
from gateway.surface import edge
from infra.local.folder import DataFolder
from waypost.settings import GatewaySettings, gateway_settings


@dataclass(frozen=True)
class OwnGateway:
    """A gateway that runs in the test's own loop: `url`, and its `services` to look inside."""

    url: str
    host: str
    port: int
    services: Services
    client: httpx.AsyncClient


MakeGateway = Callable[..., AbstractAsyncContextManager[OwnGateway]]


def environ_of(platform: Any) -> dict[str, str]:
    """The variables of a gateway on the platform's servers."""
    objects = platform.process("objects")["address"]
    return {
        "WAYPOST_DATABASE_URL": platform.database_url("waypost_gateway"),
        "WAYPOST_VALKEY_URL": platform.valkey_url("gateway"),
        "WAYPOST_S3_ENDPOINT": f"http://{objects}",
        "WAYPOST_KEK_FILE": str(DataFolder(platform.data_dir).kek_file),
        "WAYPOST_PUBLIC_URL": platform.api_url,
        "WAYPOST_RELAY_ADDRESS": platform.relay_address,
        "WAYPOST_PROCESS_NAME": f"gateway-test-{os.getpid()}",
    }


def settings_of(platform: Any, **changes: Any) -> GatewaySettings:
    """Settings of a gateway on the platform's servers."""
    return msgspec.structs.replace(gateway_settings(environ_of(platform)), **changes)


@pytest.fixture(scope="session")
def make_gateway(platform: Any) -> MakeGateway:
    """`async with make_gateway(hot=False, rate_limit_burst=3) as own:` (settings by name)."""

    @asynccontextmanager
    async def make(*, hot: bool = True, **changes: Any) -> AsyncIterator[OwnGateway]:
        services = await Services.open(settings_of(platform, **changes))
        with reserved_port("127.0.0.1", 0) as port:
            listener = Listener(edge(services, hot=hot))
            await listener.start("127.0.0.1", port)
            url = f"http://127.0.0.1:{port}"
            headers = {"Authorization": f"Bearer {platform.admin_key}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as session:
                yield OwnGateway(url, "127.0.0.1", port, services, session)
            await shut(services, listener)
        await services.close()

    return make


@pytest.fixture(scope="session")
async def own_gateway(make_gateway: MakeGateway) -> AsyncIterator[OwnGateway]:
    """One gateway in this process, for tests that look inside or need no other settings."""
    async with make_gateway() as own:
        yield own


MakeKey = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def make_key(client: httpx.AsyncClient) -> MakeKey:
    """`await make_key(environment_path, role="viewer")` → the key as it was answered, with its text in `key`."""

    async def make(path: str, role: str = "operator", **more: Any) -> dict[str, Any]:
        answer = await client.post(f"{path}/keys", json={"name": "test", "role": role, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return make


@pytest.fixture(scope="session")
async def foreign_key(client: httpx.AsyncClient) -> str:
    """The administrator's key of another organization."""
    slug = f"f{secrets.token_hex(6)}"
    answer = await client.post("/v1/orgs", json={"name": "Elsewhere", "slug": slug})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["admin_key"])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


T = TypeVar("T")
Fresh = TypeVar("Fresh")


async def within_a_second(prepare: Callable[[], Awaitable[Fresh]], attempt: Callable[[Fresh], Awaitable[T]]) -> T:
    """What `attempt` answers of something fresh, of five at most the first that took less than a second: in a second a
    bucket may gain a token, and only before that is it known to a token who is refused."""
    for _ in range(5):
        fresh = await prepare()
        began = time.monotonic()
        found = await attempt(fresh)
        if time.monotonic() - began < 1:
            break
    return found


@pytest.fixture
def path(shared_environment: Any) -> str:
    """Of the environment that tests share."""
    return str(shared_environment.path)
