"""Running the ledger's statements: which faults are the caller's row, which may be tried again at once.

Refuses to hide a fault: what is neither passes through.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import asyncpg

from storage.postgres.database import Connection
from storage.postgres.sql import load
from waypost.errors import Category, WaypostError

MAX_ROWS = 2_000  # rows a statement (decision 12)
DEADLOCK_TRIES = 4
UNSTORABLE = "unstorable"

_T = TypeVar("_T")


async def run(connection: Connection, name: str, *arguments: Any) -> list[Any]:
    """The rows of the statement `<name>.sql`. One that lost a deadlock is run again: outside a transaction only that is
    safe, and inside one the second try fails with the first's error.

    WaypostError `unstorable` when a value cannot be stored (a NUL character, a time out of range): one of the rows is
    at fault, the whole statement kept nothing.
    """
    text = load("storage.postgres.ledger", name)
    for attempt in range(DEADLOCK_TRIES):
        try:
            rows: list[Any] = await connection.fetch(text, *arguments)
        except asyncpg.DeadlockDetectedError:
            if attempt == DEADLOCK_TRIES - 1 or connection.is_in_transaction():
                raise
        except (
            asyncpg.DataError,
            asyncpg.IntegrityConstraintViolationError,
            asyncpg.ProgramLimitExceededError,
        ) as error:
            raise WaypostError(UNSTORABLE, "A value cannot be stored.", Category.INVALID) from error
        else:
            return rows
    raise AssertionError("unreachable")


def chunks(rows: Iterable[_T], size: int = MAX_ROWS) -> Iterator[list[_T]]:
    """Lists of at most `size`, in order."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk
