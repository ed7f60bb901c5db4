"""Lines of concurrency: at most `limit` jobs of a key run at once in an environment."""

import hashlib
from collections.abc import Iterable
from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.ledger.statement import chunks, run

MAX_RELEASED = 1_000  # heads of one line looked at in one go
MAX_LINES = 200  # lines locked in one transaction

Line = tuple[UUID, str]  # environment, concurrency key
Queue = tuple[UUID, int, int]  # environment, route, rank

_LOCK = "select pg_advisory_xact_lock(number) from unnest($1::bigint[]) as number"


async def release_holds(database: Database, lines: Iterable[Line]) -> list[Queue]:
    """Let as many heads of these lines into their queues as their limits allow; answers the queues that got work.

    One process at a time works on a line: the lock is taken before the permits are counted, and kept to the commit.
    """
    woken: set[Queue] = set()
    for some in chunks(sorted(set(lines)), MAX_LINES):
        async with database.hot() as connection, connection.transaction():
            await connection.fetch(_LOCK, sorted({_lock_number(line) for line in some}))  # sorted: no deadlock
            rows = await run(connection, "release_hold", [e for e, _ in some], [k for _, k in some], MAX_RELEASED)
        woken.update((row["environment_id"], row["route"], row["rank"]) for row in rows)
    return sorted(woken)


async def held_lines(database: Database) -> list[Line]:
    """Every line that somebody waits in, for the sweeper: a release that was missed shows here."""
    async with database.hot() as connection:
        rows = await run(connection, "held_keys")
    return [(row["environment_id"], row["concurrency_key"]) for row in rows]


def _lock_number(line: Line) -> int:
    digest = hashlib.sha256(b"hold/" + line[0].bytes + line[1].encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
