"""The upkeep of artifacts, in every worker: garbage, uploads that nobody finished, what was never ingested, orphans.

Rows arbitrate. Garbage is deleted within half a minute; each bucket is compared with its rows once a day.
"""

import structlog

from storage.postgres.artifact import garbage
from storage.postgres.artifact.garbage import Objects
from storage.postgres.database import Database
from waypost.errors import Category, WaypostError

EVERY_SECONDS = 30.0
COMPARE_SECONDS = 86_400.0
COMPARED_AT_ONCE = 4  # buckets a tick

_log = structlog.get_logger("jobs.artifact")


class ArtifactUpkeep:
    """`tick` is a step of the timers."""

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database, self._objects = database, objects

    async def tick(self) -> float:
        """A bounded part of what is due; answers in how many seconds it is wanted again. Raises `unavailable`."""
        given_up = await garbage.give_up_uploads(self._database)
        collected = await garbage.collect(self._database, self._objects)
        queued = await garbage.queue_forgotten(self._database)
        if given_up or queued:
            _log.info("artifact.upkeep", given_up=given_up, queued_again=queued)
        async with self._database.unit() as connection:
            due = await garbage.take_due(connection, COMPARED_AT_ONCE, COMPARE_SECONDS)
        for environment_id in due:
            try:
                mended = await garbage.mend(self._database, self._objects, environment_id)
            except WaypostError as error:
                if error.category is not Category.NOT_FOUND:  # else it was deleted meanwhile
                    raise
                continue
            if mended.orphans or mended.lost:
                _log.warning(
                    "artifact.mended", environment=str(environment_id), orphans=mended.orphans, lost=mended.lost
                )
        more = max(given_up, collected) >= garbage.LIMIT or len(due) >= COMPARED_AT_ONCE
        return 0.05 if more else EVERY_SECONDS
