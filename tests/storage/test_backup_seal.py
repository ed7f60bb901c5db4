"""Seals and their copies after a restore: what was sealed or dropped between database and objects."""

import asyncpg
import pytest

from storage.objects.seal import BUCKET, batch_key
from storage.postgres.backup.seal import LastSeals, copy_again, last_seals
from tests.own_postgres import OwnPostgres


@pytest.mark.parametrize(
    ("bucket", "key", "known"),
    [
        (BUCKET, batch_key(7), True),
        (BUCKET, batch_key(8), False),
        (BUCKET, f"anchor/{3:020d}", True),
        (BUCKET, f"anchor/{4:020d}", False),
        (BUCKET, "batch/notes", True),
        ("wp-0190a8c0b7e47c5c8f1d2b3a4c5d6e7f", batch_key(8), True),
    ],
)
def test_copies_that_the_restored_rows_do_not_know_are_left_out(bucket: str, key: str, *, known: bool) -> None:
    """Sealed after the snapshot: the restored platform seals a batch of that number of its own."""
    assert LastSeals(batch=7, anchor=3).knows(bucket, key) is known


def test_a_chain_whose_batches_were_all_dropped_keeps_its_last_copy() -> None:
    """No row is left but the anchor; what follows it is unknown."""
    seals = LastSeals(batch=0, anchor=3)
    assert seals.knows(BUCKET, batch_key(3))
    assert not seals.knows(BUCKET, batch_key(4))


async def test_batches_without_a_copy_are_copied_again(ledger_server: OwnPostgres) -> None:
    """They count as not stored; those whose copy is there are left alone."""
    owner = ledger_server.url("waypost_owner")
    connection = await asyncpg.connect(owner)
    try:
        await connection.execute("truncate control.audit_batch, control.audit_anchor, control.audit_stored")
        assert await last_seals(owner) == LastSeals(0, 0)
        await connection.execute("insert into control.audit_stored (number) select generate_series(1, 4)")
        await copy_again(owner, {batch_key(1), batch_key(3), "anchor/notes"})
        rows = await connection.fetch("delete from control.audit_stored returning number")
        assert sorted(row["number"] for row in rows) == [1, 3]
    finally:
        await connection.close()
