"""`environment.migrate`: bring one environment's schema to the version that this code needs (decision 8).

All its revisions are one transaction, so a kill in between leaves it as it was; running again does the rest or nothing.
One at a time in a process: Alembic's context lives in module globals. Refuses: an environment that is being deleted.
"""

import asyncio
from uuid import UUID

from functions.environment.phase import EnvironmentPorts
from storage.postgres.audit.entry import insert_audit
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy import environment as environments
from storage.postgres.version import ENVIRONMENT_VERSION
from waypost.audit.model import AuditEntry
from waypost.tenancy.entry import about
from waypost.tenancy.model import Environment, Status

ACTOR = "system"
_LEFT_ALONE = (Status.DELETING, Status.DELETED)


async def migrate(job: PlatformJob, ports: EnvironmentPorts, provisioner_url: str) -> None:
    """Migrate `job.subject`; one that is current, gone or going is left alone.

    Raises `migration_failed`, which no retry helps, and `unavailable` (a lock that is held, a server that is away).
    """
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, job.subject)
    if environment is None or environment.status in _LEFT_ALONE:
        return
    if await asyncio.to_thread(upgrade, provisioner_url, environment.id):
        async with ports.database.unit() as connection:
            await insert_audit(connection, entry(environment, ACTOR))


def upgrade(provisioner_url: str, environment_id: UUID) -> bool:
    """Blocking; True when something was done. Raises as `storage.postgres.migration.upgrade_environment`."""
    from storage.postgres.migration import upgrade_environment  # with its driver: loaded when there is something to do

    return upgrade_environment(provisioner_url, environment_id)


def entry(environment: Environment, actor: str) -> AuditEntry:
    """What the audit says of it."""
    return about(environment, "environment.migrate", actor, details={"version": ENVIRONMENT_VERSION})
