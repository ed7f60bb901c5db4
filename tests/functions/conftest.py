"""What provisioning works with, on the run's platform, and environments that only the test itself provisions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import provision
from infra.local.folder import DataFolder
from storage.objects.admin import ObjectAdmin
from storage.postgres.database import Database
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy.unit import PostgresTenancy
from storage.secrets import EnvironmentKeys
from storage.valkey.client import Valkey
from waypost import ids
from waypost.secret import KeyEncryptionKey
from waypost.tenancy import operation
from waypost.tenancy.model import PROVISION


@dataclass(frozen=True)
class Made:
    """An environment's record and the platform job that would make it ready."""

    id: UUID
    job: PlatformJob


@pytest.fixture(scope="session")
def s3(platform: Any) -> tuple[str, str, str]:
    """(endpoint, access key, secret key) of the administrator."""
    passwords = DataFolder(platform.data_dir).passwords()
    return f"http://{platform.process('objects')['address']}", passwords["s3_access_key"], passwords["s3_secret_key"]


@pytest.fixture(scope="session")
def kek(platform: Any) -> KeyEncryptionKey:
    return KeyEncryptionKey.load(DataFolder(platform.data_dir).kek_file)


@pytest.fixture(scope="session")
async def ports(platform: Any, s3: tuple[str, str, str], kek: KeyEncryptionKey) -> AsyncIterator[EnvironmentPorts]:
    """A worker's ports of provisioning."""
    database = await Database.open(platform.database_url("waypost_worker"), name="test")
    provisioner = await Database.open(platform.database_url("waypost_provisioner"), name="test")
    valkey = await Valkey.open(platform.valkey_url("worker"))
    yield EnvironmentPorts(database, provisioner, EnvironmentKeys(database, kek), ObjectAdmin(*s3), valkey)
    await asyncio.gather(database.close(), provisioner.close(), valkey.close())


Make = Callable[[], Awaitable[Made]]


@pytest.fixture(scope="session")
def make_unprovisioned(ports: EnvironmentPorts, kek: KeyEncryptionKey) -> Make:
    """An organization with one environment that is still a record; the platform's own worker leaves it alone."""

    async def make() -> Made:
        async with ports.database.unit() as connection:
            unit = PostgresTenancy(connection)
            slug = f"o{ids.new_id().hex[-12:]}"
            organization = await operation.create_organization(unit, actor="system", name="Test", slug=slug)
            project = await operation.create_project(unit, organization.id, actor="system", name="Main")
            environment, job_id = await operation.create_environment(unit, kek, project, actor="system", name="Dev")
            await connection.execute(
                "update control.platform_job set run_at = now() + interval '1 day' where id = $1", job_id
            )
        return Made(
            environment.id, PlatformJob(job_id, PROVISION, environment.id, environment.id, "running", 1, 5, None)
        )

    return make


@pytest.fixture
async def unprovisioned(make_unprovisioned: Make) -> Made:
    return await make_unprovisioned()


@pytest.fixture(scope="session")
async def pair(make_unprovisioned: Make, ports: EnvironmentPorts) -> tuple[UUID, UUID]:
    """Two environments of two organizations, ready."""
    first, second = await make_unprovisioned(), await make_unprovisioned()
    for made in (first, second):
        await provision(made.job, ports)
    return first.id, second.id
