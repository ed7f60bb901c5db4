"""Answers that the fence refused, noted at their attempts (decision 12a)."""

from collections.abc import Sequence

from storage.postgres.database import Database
from storage.postgres.ledger.statement import chunks, run
from waypost.job.model import RefusedAnswer

_COLUMNS = ("environment_id", "job_id", "attempt_id", "result", "at")


async def note_refused(database: Database, answers: Sequence[RefusedAnswer]) -> set[int]:
    """Note them where an attempt was lost or out of time; the ids of the attempts that have ended, noted or not."""
    found: set[int] = set()
    async with database.unit() as connection:
        for chunk in chunks(answers):
            values = ([getattr(answer, column) for answer in chunk] for column in _COLUMNS)
            found |= {row["attempt_id"] for row in await run(connection, "note_refused", *values)}
    return found
