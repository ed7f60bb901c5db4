"""`closed`: a PostgreSQL of two environments for looking at the database alone; `tenants`: two of the run's platform,
in two organizations, each with its keys, its own database login and S3 key opened from where they are sealed.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from infra.local.folder import DataFolder
from storage.objects.store import S3Credentials
from storage.postgres.database import Database, role_name
from storage.secrets import DATABASE_PASSWORD, S3_CREDENTIALS, EnvironmentKeys
from tests.gateway.conftest import make_gateway, own_gateway
from tests.isolation.closed_ground import ClosedGround

__all__ = ["make_gateway", "own_gateway"]  # fixtures

READY_SECONDS = 30.0


@pytest.fixture(scope="session")
async def closed() -> AsyncIterator[ClosedGround]:
    ground = ClosedGround()
    await ground.start()
    yield ground
    await ground.stop()


@dataclass(frozen=True)
class Tenant:
    """An environment that is ready, in an organization of its own. `client` has the organization's admin key,
    `database_url` is the environment's own login, `s3` its own key.
    """

    id: UUID
    organization: str
    path: str
    client: httpx.AsyncClient
    key: str
    database_url: str
    s3: S3Credentials

    @asynccontextmanager
    async def login(self) -> AsyncIterator[Any]:
        """A connection of the environment's own login."""
        connection = await asyncpg.connect(self.database_url)
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="session")
async def environment_keys(platform: Any) -> AsyncIterator[EnvironmentKeys]:
    """The sealed secrets, opened as a worker opens them."""
    database = await Database.open(platform.database_url("waypost_worker"), name="test")
    yield EnvironmentKeys(database, DataFolder(platform.data_dir).key_ring())
    await database.close()


MakeTenant = Callable[[], Awaitable[Tenant]]


@pytest.fixture(scope="session")
async def make_tenant(
    platform: Any, client: httpx.AsyncClient, environment_keys: EnvironmentKeys
) -> AsyncIterator[MakeTenant]:
    """Make an organization with a project and an environment, all through the API."""
    sessions: list[httpx.AsyncClient] = []

    async def make() -> Tenant:
        slug = f"i{secrets.token_hex(6)}"
        made = await client.post("/v1/orgs", json={"name": slug, "slug": slug})
        assert made.status_code == 201, made.text
        key = made.json()["admin_key"]
        own = httpx.AsyncClient(base_url=platform.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        sessions.append(own)
        project = f"/v1/orgs/{slug}/projects"
        answer = await own.post(project, json={"name": "main", "slug": "main"})
        assert answer.status_code == 201, answer.text
        answer = await own.post(f"{project}/main/environments", json={"name": "e", "slug": "e", "posture": "dev"})
        assert answer.status_code == 202, answer.text
        path = f"{project}/main/environments/e"
        identifier = UUID(answer.json()["id"])
        await _ready(own, path)
        password = await environment_keys.get_secret(identifier, DATABASE_PASSWORD)
        s3 = await environment_keys.get_secret(identifier, S3_CREDENTIALS)
        assert password
        assert s3
        parts = urlsplit(platform.database_url())
        url = urlunsplit(parts._replace(netloc=f"{role_name(identifier)}:{password.decode()}@"))
        return Tenant(identifier, slug, path, own, key, url, msgspec.json.decode(s3, type=S3Credentials))

    yield make
    for session in sessions:
        await session.aclose()


async def _ready(client: httpx.AsyncClient, path: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while (found := (await client.get(path)).json())["status"] != "ready":
        assert found["status"] == "provisioning", found
        assert time.monotonic() < until, found
        await asyncio.sleep(0.03)


@pytest.fixture(scope="session")
async def tenants(make_tenant: MakeTenant) -> tuple[Tenant, Tenant]:
    """Two environments of two organizations, each with a job, a label and a function pause."""
    first, second = await asyncio.gather(make_tenant(), make_tenant())
    for tenant in (first, second):
        answer = await tenant.client.post(
            f"{tenant.path}/jobs",
            json={"function": "report.make", "payload": {"of": str(tenant.id)}, "labels": {"of": tenant.organization}},
        )
        assert answer.status_code == 202, answer.text
        answer = await tenant.client.post(f"{tenant.path}/functions/report.make/pause", json={"note": "hold"})
        assert answer.status_code == 200, answer.text
    return first, second
