"""How much an environment's bucket holds, looked up every few minutes: what the limit of stored bytes is held against.

Listing a bucket costs a request per thousand objects, so the larger the bucket the rarer the look: at most a hundredth
of the time goes into one. Any number of workers may tick; each bucket is measured by one of them.
"""

from uuid import UUID

from jobs.platform import describe
from storage.objects.admin import ObjectAdmin
from storage.postgres.database import Database
from storage.postgres.tenancy.storage import keep_measured, take_due
from waypost.clock import monotonic
from waypost.telemetry.log import get_logger

_log = get_logger("functions.measure")

TICK_SECONDS = 15.0
EVERY_SECONDS = 300.0
RARER = 100  # times what a look took
BATCH = 20  # buckets a tick


async def tick(database: Database, objects: ObjectAdmin) -> int:
    """Measure the buckets whose turn it is, at most `BATCH`; answers how many were due."""
    async with database.unit() as connection:
        due = await take_due(connection, BATCH, EVERY_SECONDS)
    for environment_id in due:
        try:
            await measure(environment_id, database, objects)
        except Exception as error:  # noqa: BLE001 - one bucket that cannot be read must not keep the others waiting
            _log.warning("bucket.not_measured", environment=str(environment_id), error=describe(error))
    return len(due)


async def measure(environment_id: UUID, database: Database, objects: ObjectAdmin) -> None:
    """Look at one bucket now. One that is not there, because its environment is going, is left alone."""
    began = monotonic()
    found = await objects.measure_bucket(environment_id)
    if found is None:
        return
    pause = max(EVERY_SECONDS, RARER * (monotonic() - began))
    async with database.unit() as connection:
        await keep_measured(connection, environment_id, found.bytes, found.objects, pause)
