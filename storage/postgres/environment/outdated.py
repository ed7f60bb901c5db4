"""Environments whose schema is behind this code, and the platform job for each (decision 8)."""

from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.environment.version import SchemaVersion, read_versions
from storage.postgres.platform.job import ensure_platform_job
from storage.postgres.version import ENVIRONMENT_VERSION
from waypost import ids

MIGRATE = "environment.migrate"


def is_behind(found: SchemaVersion) -> bool:
    """Whether there is something to migrate; one that is not filled yet gets the newest schema anyway."""
    return found.version is not None and found.version < ENVIRONMENT_VERSION


async def queue_migrations(database: Database, provisioner: Database) -> dict[UUID, UUID]:
    """Queue a job for every environment whose schema is behind, unless one is open; environment → job."""
    async with provisioner.unit() as connection:
        behind = [one.environment_id for one in await read_versions(connection) if is_behind(one)]
    async with database.unit() as connection:
        return {one: await ensure_platform_job(connection, ids.new_id(), MIGRATE, one, one) for one in behind}
