"""`project.delete`: from `deleting` to a tombstone, once the project's last environment is gone.

It does nothing but look, and looks again later: each environment has a platform job of its own, and where that one has
given up another is queued. Refuses: a project that nobody asked to delete.
"""

from jobs.platform import Later
from jobs.wake import ACCESS_CHANNEL, EnvironmentChanged, encode
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection, Database
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy.environment import environments_of
from storage.postgres.tenancy.project import DoomedProject, bury_project, lock_doomed
from storage.postgres.tenancy.unit import PostgresTenancy
from storage.valkey.client import Valkey
from waypost.tenancy.entry import about
from waypost.tenancy.life import delete_environment
from waypost.tenancy.model import DELETE_PROJECT

LOOK_SECONDS = 0.5  # between two looks at what is left,
LOOK_EACH_SECONDS = 0.05  # and the longer the more there is


async def delete(job: PlatformJob, database: Database, valkey: Valkey) -> None:
    """Bury the project `job.subject` when it holds no environment any more; raises `Later` while it does."""
    async with database.unit() as connection:
        doomed = await lock_doomed(connection, job.subject)
        if doomed is None:
            return
        left = await _bury_or_press(connection, doomed)
    if left:
        raise Later(LOOK_SECONDS + LOOK_EACH_SECONDS * left)
    valkey.publish(ACCESS_CHANNEL, encode(EnvironmentChanged(job.subject)))


async def _bury_or_press(connection: Connection, doomed: DoomedProject) -> int:
    """0 when it is buried now. Otherwise how many environments are left, and each has a job that deletes it."""
    left = await environments_of(connection, doomed.project.id)
    if left:
        unit = PostgresTenancy(connection)
        for environment in left:
            await delete_environment(unit, environment, actor=doomed.deleted_by, request_id=doomed.request_id)
        return len(left)
    await bury_project(connection, doomed.project.id)
    details = {"slug": doomed.project.slug, "name": doomed.project.name}
    # The second entry of a deletion: the first was written when it was asked for.
    await insert_audit(
        connection, about(doomed.project, f"{DELETE_PROJECT}d", doomed.deleted_by, doomed.request_id, details)
    )
    return 0
