"""Ending everything that an environment has in the ledger, because it is being deleted (decision 21).

What waits is canceled in batches, what runs can be counted and, when its time is up, fenced: ended past its node, whose
answer is refused from then on. Refuses: to delete; ends are written first, like any other.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.settlement import settle_end
from storage.postgres.ledger.statement import run
from waypost.job.model import End, Ending, Outcome

BATCH = 2_000

_ROUTES = "select id from control.route where environment_id = $1"
_WAITING = """
select exists (select from control.ready where route = any ($2::int[]))
    or exists (select from control.due where environment_id = $1)
    or exists (select from control.hold where environment_id = $1)
"""
_RUNNING = "select job_id, attempt_id, session, number from control.lease where environment_id = $1"


class Running(msgspec.Struct, frozen=True):
    """A job that somebody holds."""

    job_id: UUID
    attempt_id: int
    session: int
    number: int


async def cancel_all_waiting(connection: Connection, environment_id: UUID) -> list[tuple[UUID, int]]:
    """Cancel one batch of what waits, in the caller's transaction: (job, number of its last attempt)."""
    routes = [row["id"] for row in await connection.fetch(_ROUTES, environment_id)]
    rows = await run(connection, "cancel_environment", environment_id, routes, BATCH)
    return [(row["job_id"], row["number"]) for row in rows]


async def anything_waits(connection: Connection, environment_id: UUID) -> bool:
    """Also what somebody is moving at this moment."""
    routes = [row["id"] for row in await connection.fetch(_ROUTES, environment_id)]
    return bool(await connection.fetchval(_WAITING, environment_id, routes))


async def running_jobs(connection: Connection, environment_id: UUID) -> list[Running]:
    """What runs."""
    return [Running(*row) for row in await connection.fetch(_RUNNING, environment_id)]


async def fence(database: Database, running: Sequence[Running]) -> int:
    """End these as canceled, whoever holds them; answers how many had not ended by themselves meanwhile."""
    ended = 0
    for session in sorted({job.session for job in running}):
        endings = [
            Ending(job.job_id, job.attempt_id, End.CANCELED, Outcome.CANCELED)
            for job in running
            if job.session == session
        ]
        ended += len(await settle_end(database, session, endings))
    return ended
