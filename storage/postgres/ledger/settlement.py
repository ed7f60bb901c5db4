"""Ending running jobs, or putting them back. Only the session and attempt that hold a lease may (decision 12a)."""

from collections.abc import Sequence
from typing import TypeVar

from storage.postgres.database import Database
from storage.postgres.ledger.statement import chunks, run
from waypost.job.model import Ending, Retrying, Settled

_S = TypeVar("_S", Ending, Retrying)

_ENDING = ("job_id", "attempt_id", "end", "outcome", "result", "result_object", "error")
_RETRYING = ("job_id", "attempt_id", "outcome", "error", "delay_seconds", "key")


async def settle_end(database: Database, session: int, endings: Sequence[Ending]) -> list[Settled]:
    """End jobs, durably. Those not in the answer were refused: their attempt was not current. Order is not kept."""
    return await _settle(database, "settle_end", session, _once(endings), _ENDING)


async def settle_retry(database: Database, session: int, retries: Sequence[Retrying]) -> list[Settled]:
    """Have jobs tried again, durably; same fence. A job that somebody wants canceled ends instead (`canceled`)."""
    return await _settle(database, "settle_retry", session, _once(retries), _RETRYING)


async def _settle(
    database: Database, name: str, session: int, items: Sequence[Ending] | Sequence[Retrying], columns: tuple[str, ...]
) -> list[Settled]:
    settled = []
    async with database.hot() as connection:
        for chunk in chunks(items):
            values = ([getattr(item, column) for item in chunk] for column in columns)
            rows = await run(connection, name, session, *values)
            settled += [Settled(*row) for row in rows]
    return settled


def _once(items: Sequence[_S]) -> list[_S]:
    """Sorted by job (one lock order everywhere), the first of repeated answers of one attempt."""
    first: dict[tuple[int, int], _S] = {}
    for item in items:
        first.setdefault((item.job_id.int, item.attempt_id), item)
    return [first[key] for key in sorted(first)]
