"""The audit's seals and their copies after a restore: the objects were copied a moment after the database.

A batch that was sealed in that moment has a copy but no row, one that retention dropped in it a row but no copy. The
first is left out, the second is copied again; else verifying would report tampering where there was none.
"""

import asyncpg
import msgspec

from storage.objects.seal import BUCKET

_BATCH, _ANCHOR = "batch/", "anchor/"
_LAST = """
select (select coalesce(max(number), 0) from control.audit_batch) as batch,
    (select coalesce(max(number), 0) from control.audit_anchor) as anchor
"""


class LastSeals(msgspec.Struct, frozen=True):
    """The last batch and anchor that the restored database knows."""

    batch: int
    anchor: int

    def knows(self, bucket: str, key: str) -> bool:
        """Whether an object belongs to what was restored; true of everything that is no copy of a seal."""
        if bucket != BUCKET:
            return True
        for prefix, last in ((_BATCH, max(self.batch, self.anchor)), (_ANCHOR, self.anchor)):
            number = key.removeprefix(prefix)
            if key.startswith(prefix) and number.isdigit():
                return int(number) <= last
        return True


async def last_seals(owner_url: str) -> LastSeals | None:
    """None where the schema is of a version without seals."""
    connection = await asyncpg.connect(owner_url)
    try:
        if await connection.fetchval("select to_regclass('control.audit_batch')") is None:
            return None
        return LastSeals(*await connection.fetchrow(_LAST))
    finally:
        await connection.close()


async def copy_again(owner_url: str, keys: set[str]) -> None:
    """Let the sealer copy what `keys`, those of the restored bucket, do not hold."""
    numbers = (key.removeprefix(prefix) for prefix in (_BATCH, _ANCHOR) for key in keys if key.startswith(prefix))
    present = [int(number) for number in numbers if number.isdigit()]
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("delete from control.audit_stored where number <> all ($1::bigint[])", present)
    finally:
        await connection.close()
