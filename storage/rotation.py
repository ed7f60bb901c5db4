"""Changing the key-encryption key while the platform runs: everything that an earlier key wrapped is wrapped anew.

In bounded batches, each a transaction of its own, so it can be killed anywhere and run again. Rows that another
transaction holds are passed by and found in the next round. Refuses: to end a key that still opens something.
"""

import asyncio
from collections.abc import Callable

import asyncpg
import msgspec

from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Database
from storage.postgres.tenancy import kek as rows
from waypost import ids
from waypost.audit.model import AuditEntry
from waypost.errors import Category, WaypostError
from waypost.secret import KeyEncryptionKeys

BATCH_ROWS = 200
ROUNDS = 50  # of looking again for what transactions in progress held or added
PAUSE_SECONDS = 0.1
SETTLE_SECONDS = 1.0  # between wrapping anew and retiring: a process that was about to use the earlier key has done so


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did: the key in use, the keys that ended, and how many rows of each table it wrapped anew."""

    kek_id: str
    retired: list[str]
    rewrapped: dict[str, int]


async def rotate(
    database: Database,
    keks: KeyEncryptionKeys,
    *,
    actor: str,
    tell: Callable[[str, int], None] = lambda table, count: None,
) -> Rotated:
    """Wrap everything under the current key, then end all others. `database` is the worker's login.

    The ring must hold the earlier keys too. `tell` is told of every batch. Raises SealError when something is wrapped
    by a key that the ring has not; 503 `kek_in_use` when transactions keep wrapping under an earlier one.
    """
    current = keks.current()
    async with database.unit() as connection:
        await rows.register_kek(connection, current.id)
    counts = dict.fromkeys((what.table for what in rows.WRAPPED), 0)
    for attempt in range(ROUNDS):
        for what in rows.WRAPPED:
            while count := await _batch(database, what, keks):
                counts[what.table] += count
                tell(what.table, count)
        await asyncio.sleep(SETTLE_SECONDS if attempt == 0 else PAUSE_SECONDS)
        retired = await _retire(database, current.id, actor, counts)
        if retired is not None:
            return Rotated(current.id, retired, counts)
    raise WaypostError(
        "kek_in_use", "Something still uses an earlier key-encryption key: run it again.", Category.UNAVAILABLE
    )


async def _batch(database: Database, what: rows.Wrapped, keks: KeyEncryptionKeys) -> int:
    async with database.unit() as connection:
        return await rows.rewrap_batch(connection, what, keks.by_id, keks.current(), BATCH_ROWS)


async def _retire(database: Database, kek_id: str, actor: str, counts: dict[str, int]) -> list[str] | None:
    """The ids of the keys that ended; None when one of them still opens something."""
    try:
        async with database.unit() as connection:
            retired = await rows.retire_keks(connection, kek_id)
            if retired:
                await insert_audit(connection, _entry(kek_id, retired, actor, counts))
    except asyncpg.ForeignKeyViolationError:
        return None
    return retired


def _entry(kek_id: str, retired: list[str], actor: str, counts: dict[str, int]) -> AuditEntry:
    return AuditEntry(
        id=ids.new_id(),
        organization_id=None,  # of the whole platform: the operator reads it
        actor=actor,
        action="kek.rotate",
        target=f"kek:{kek_id}",
        details={"retired": ", ".join(retired)} | {f"rewrapped.{table}": str(count) for table, count in counts.items()},
    )
