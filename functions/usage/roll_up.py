"""`usage.roll_up`: once an hour, the sample of that hour, everything added that is over, and events forgotten.

The hour is that of the job's id. Run twice, it samples, adds and forgets once. Refuses: to wait; a transaction that is
not over is added at the next tick.
"""

from jobs.usage import UsageFollower
from storage.postgres.database import Database
from storage.postgres.platform.job import PlatformJob
from storage.postgres.usage import roll_up as rows
from waypost.ids import instant_of
from waypost.usage.decision import missed_hours


async def roll_up(job: PlatformJob, database: Database) -> None:
    """The hour's work, and samples of hours in which nobody did it; `job.subject` begins with the hour."""
    hour = instant_of(job.subject)
    async with database.unit() as connection:
        last = await rows.last_roll_up(connection, job.subject)
        for missed in missed_hours(None if last is None else instant_of(last), hour):
            await rows.sample_bytes_held(connection, missed, missed=True)
        await rows.sample_bytes_held(connection, hour)
    await UsageFollower(database).follow()
    while await _prune(database):
        pass  # a bite a transaction


async def _prune(database: Database) -> bool:
    async with database.unit() as connection:
        events = await rows.prune_events(connection)
        return await rows.prune_hours(connection) or events
