"""Canceling: a job that waits ends at once, one that runs gets a request that its relay acts on."""

from collections.abc import Sequence
from enum import Enum
from uuid import UUID

import msgspec

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.statement import run
from waypost.errors import unavailable
from waypost.job.model import End, JobState

TRIES = 20  # a job that moves between tables at the instant of the look is looked for again

_ENDED = "select state from control.job_end where environment_id = $1 and job_id = $2"
_WANTED = "select job_id from control.cancel_request where job_id = any ($1::uuid[])"
_KNOWN = "select true from control.job where environment_id = $1 and id = $2"


class CancelResult(Enum):
    ENDED = "ended"  # it waited; it is canceled now
    ASKED = "asked"  # it runs; its relay is to be told
    ALREADY_ENDED = "already_ended"
    UNKNOWN = "unknown"  # the environment has no such job


class Canceling(msgspec.Struct, frozen=True):
    """What became of a cancel. `state` is the job's now; `concurrency_key` one whose line may move."""

    result: CancelResult
    state: JobState | None = None
    number: int = 0
    session: int | None = None
    attempt_id: int | None = None
    concurrency_key: str | None = None


async def cancel(database: Database, environment_id: UUID, job_id: UUID, requested_by: str) -> Canceling:
    """Cancel a job wherever it is; repeating it changes nothing. The caller publishes what the answer calls for."""
    for _ in range(TRIES):
        found = await cancel_waiting(database, environment_id, job_id)
        found = found or await request_cancel(database, environment_id, job_id, requested_by)
        if found is None:
            async with database.hot() as connection:
                found = await _settled(connection, environment_id, job_id)
        if found is not None:
            return found
    raise unavailable("PostgreSQL")


async def cancel_within(
    connection: Connection, environment_id: UUID, job_id: UUID, requested_by: str
) -> Canceling | None:
    """As `cancel`, in the transaction of `connection` (a `hot` one); None when the job has ended, or is unknown."""
    for _ in range(TRIES):
        found = await _cancel_waiting(connection, environment_id, job_id)
        found = found or await _request_cancel(connection, environment_id, job_id, requested_by)
        if found is not None:
            return found
        if await _settled(connection, environment_id, job_id) is not None:
            return None
    raise unavailable("PostgreSQL")


async def cancel_waiting(database: Database, environment_id: UUID, job_id: UUID) -> Canceling | None:
    """End a job that waits as `canceled`; None when it does not wait."""
    async with database.hot() as connection:
        return await _cancel_waiting(connection, environment_id, job_id)


async def request_cancel(database: Database, environment_id: UUID, job_id: UUID, requested_by: str) -> Canceling | None:
    """Record the wish for a running job, once; None when it does not run. Answers session and attempt that hold it."""
    async with database.hot() as connection:
        return await _request_cancel(connection, environment_id, job_id, requested_by)


async def cancel_requested(database: Database, jobs: Sequence[UUID]) -> set[UUID]:
    """Which of `jobs` somebody wants canceled."""
    async with database.hot(synchronous_commit=False) as connection:
        return {row["job_id"] for row in await connection.fetch(_WANTED, list(jobs))}


async def _cancel_waiting(connection: Connection, environment_id: UUID, job_id: UUID) -> Canceling | None:
    rows = await run(connection, "cancel_waiting", environment_id, job_id)
    if not rows:
        return None
    row = rows[0]
    return Canceling(
        CancelResult.ENDED, JobState.CANCELED, number=row["number"], concurrency_key=row["concurrency_key"]
    )


async def _request_cancel(
    connection: Connection, environment_id: UUID, job_id: UUID, requested_by: str
) -> Canceling | None:
    rows = await run(connection, "request_cancel", environment_id, job_id, requested_by)
    if not rows:
        return None
    row = rows[0]
    return Canceling(
        CancelResult.ASKED,
        JobState.RUNNING,
        number=row["number"],
        session=row["session"],
        attempt_id=row["attempt_id"],
    )


async def _settled(connection: Connection, environment_id: UUID, job_id: UUID) -> Canceling | None:
    end = await connection.fetchval(_ENDED, environment_id, job_id)
    if end is not None:
        return Canceling(CancelResult.ALREADY_ENDED, End(end).state)
    known = await connection.fetchval(_KNOWN, environment_id, job_id)
    return None if known else Canceling(CancelResult.UNKNOWN)
