"""Sealing and verifying the audit, on a PostgreSQL without other writers and the real object store."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from jobs.audit import Sealer
from storage.objects.seal import SealStore, batch_key
from storage.postgres.audit.entry import insert_audit
from tests.own_postgres import OwnPostgres
from tests.storage.audit_ground import BATCH, Audit, entry
from waypost.audit.model import Anchor, Fault, Seal
from waypost.errors import unavailable
from waypost.ids import new_id


async def test_what_was_sealed_verifies(audit: Audit) -> None:
    """Whole batches and a rest; each is in the object store; what came later waits for its batch."""
    await audit.add(10)
    await audit.seal()
    await audit.add(2)
    seen = await audit.verify()
    assert seen.finding is None
    assert (seen.batches, seen.entries, seen.first, seen.last) == (3, 10, 1, 3)
    assert (seen.not_copied, seen.unsealed) == (0, 2)
    copies = [batch async for batch in audit.copies.batches(0)]
    assert [batch.number for batch in copies] == [1, 2, 3]
    assert copies[-1].root.hex() == seen.root
    assert [batch.previous for batch in copies[1:]] == [batch.root for batch in copies[:-1]]
    later = await audit.verify(start=3)
    assert (later.finding, later.first, later.batches) == (None, 3, 1)


async def test_nothing_sealed_is_nothing_wrong(audit: Audit) -> None:
    """An empty audit, and one whose entries all wait."""
    assert (await audit.verify()).finding is None
    await audit.add(2)
    seen = await audit.verify()
    assert (seen.finding, seen.batches, seen.unsealed) == (None, 0, 2)


TAMPERINGS = {
    "update control.audit set actor = 'somebody' where id = $1": Fault.ALTERED,
    "update control.audit set outcome = 'failed' where id = $1": Fault.ALTERED,
    "update control.audit set at = at + interval '1 microsecond' where id = $1": Fault.ALTERED,
    'update control.audit set details = details || \'{"a": "b"}\' where id = $1': Fault.ALTERED,
    "update control.audit set source_address = '10.0.0.1' where id = $1": Fault.ALTERED,
    "update control.audit set organization_id = null where id = $1": Fault.ALTERED,
    "update control.audit set count = 2 where id = $1": Fault.ALTERED,
    "delete from control.audit where id = $1": Fault.MISSING,
}


@pytest.mark.parametrize("statement", TAMPERINGS)
async def test_an_entry_that_was_tampered_with_is_named(audit: Audit, statement: str) -> None:
    """Any column, or the row itself: its id and its batch."""
    made = await audit.add(10)
    await audit.seal()
    await audit.admin.execute(statement, made[5])
    found = await audit.finding()
    assert (found.fault, found.batch, found.entry) == (TAMPERINGS[statement], 2, made[5])
    assert str(made[5]) in found.sentence
    assert "batch 2" in found.sentence


async def test_the_first_of_several_is_named(audit: Audit) -> None:
    """In the order of the chain, whichever was done last."""
    made = await audit.add(10)
    await audit.seal()
    await audit.admin.execute("delete from control.audit where id = $1", made[9])
    await audit.admin.execute("update control.audit set actor = 'x' where id = any ($1)", [made[7], made[2]])
    found = await audit.finding()
    assert (found.fault, found.batch, found.entry) == (Fault.ALTERED, 1, made[2])


@pytest.mark.parametrize("place", [0, 5, 9])
async def test_an_entry_that_was_put_into_a_sealed_batch_is_named(audit: Audit, place: int) -> None:
    """It claims to be of a transaction that is sealed already; also where the sealed range holds no entry."""
    made = await audit.add(10)
    await audit.seal()
    added = new_id()
    await audit.admin.execute(
        """
        insert into control.audit (id, organization_id, actor, action, target, outcome, transaction)
        select $1, organization_id, actor, action, target, outcome, transaction from control.audit where id = $2
        """,
        added,
        made[place],
    )
    found = await audit.finding()
    assert (found.fault, found.entry) == (Fault.ADDED, added)
    assert found.batch == place // BATCH + 1


async def test_rows_that_changed_places_are_found(audit: Audit) -> None:
    """Their contents swapped, and their places in the order swapped."""
    made = await audit.add(6)
    await audit.seal()
    swap = """
        update control.audit a set {0} = b.{0} from control.audit b
        where a.id = any ($1) and b.id = any ($1) and a.id <> b.id
    """
    await audit.admin.execute(swap.format("target"), [made[1], made[2]])
    found = await audit.finding()
    assert (found.fault, found.batch, found.entry) == (Fault.ALTERED, 1, made[1])
    await audit.admin.execute(swap.format("target"), [made[1], made[2]])
    assert (await audit.verify()).finding is None
    await audit.admin.execute(swap.format("transaction"), [made[0], made[5]])
    found = await audit.finding()
    assert (found.batch, found.entry) in {(1, made[0]), (1, made[5])}


async def test_a_truncated_chain_is_found(audit: Audit) -> None:
    """The last batch, one in the middle, all of them, or everything: the object store still has them."""
    await audit.add(12)
    await audit.seal()
    for statement, number in (
        ("delete from control.audit_batch where number = 3", 3),
        ("delete from control.audit_batch where number = 2", 2),
        ("delete from control.audit_batch", 1),
        ("truncate control.audit, control.audit_swept, control.audit_batch, control.audit_stored", 1),
    ):
        await audit.admin.execute("begin; " + statement + "; commit")
        found = await audit.finding()
        assert (found.fault, found.batch, found.entry) == (Fault.MISSING, number, None)


async def test_a_batch_that_was_altered_is_found(audit: Audit) -> None:
    """Its hashes, its links, its bounds; also when it was made to agree with entries that were altered."""
    made = await audit.add(10)
    await audit.seal()
    for change in (
        "root = sha256('x')",
        "previous = sha256('x')",
        "content = sha256('x')",
        "entries = substr(entries, 49)",
        "count = count - 1",
        "until_id = first_id",
        "last_at = last_at - interval '1 day'",
    ):
        await audit.admin.execute(f"update control.audit_batch set {change} where number = 2")  # noqa: S608 - above
        found = await audit.finding()
        assert (found.fault, found.batch) == (Fault.ALTERED, 2), change
        await restored(audit, 2)
    await audit.admin.execute("update control.audit set actor = 'x' where id = $1", made[5])
    await audit.admin.execute("delete from control.audit_batch where number >= 2")
    await audit.admin.execute("delete from control.audit_stored where number >= 2")
    await audit.seal()  # by the platform itself: a chain that agrees with itself
    assert (await audit.finding()).batch == 2


async def restored(audit: Audit, number: int) -> None:
    """The table's row as the object store has it."""
    batch = await audit.copies.batch(number)
    assert batch is not None
    await audit.admin.execute(
        """
        update control.audit_batch set root = $2, previous = $3, content = $4, entries = $5, count = $6, until_id = $7,
            last_at = $8
        where number = $1
        """,
        number, batch.root, batch.previous, batch.content, batch.entries, batch.count, batch.until.id, batch.last_at,
    )  # fmt: skip
    assert (await audit.verify()).finding is None


async def test_copies_that_were_tampered_with_are_found(audit: Audit) -> None:
    """One that was overwritten with another batch or with rubbish, one that was deleted, one that nobody sealed."""
    await audit.add(12)
    await audit.seal()
    key = batch_key(2)
    kept = audit.s3.get_object(Bucket=audit.bucket, Key=key)["Body"].read()
    first = audit.s3.get_object(Bucket=audit.bucket, Key=batch_key(1))["Body"].read()
    audit.s3.put_object(Bucket=audit.bucket, Key=key, Body=kept.replace(b'"count":4', b'"count":3'))
    found = await audit.finding()
    assert (found.fault, found.batch) == (Fault.ALTERED, 2)
    assert "object store" in found.sentence
    audit.s3.put_object(Bucket=audit.bucket, Key=key, Body=b"{}")
    assert (await audit.finding()).batch == 2
    audit.s3.delete_object(Bucket=audit.bucket, Key=key)
    found = await audit.finding()
    assert (found.fault, found.batch) == (Fault.MISSING, 2)
    assert "object store" in found.sentence
    audit.s3.put_object(Bucket=audit.bucket, Key=key, Body=kept)
    assert (await audit.verify()).finding is None
    audit.s3.put_object(Bucket=audit.bucket, Key=batch_key(4), Body=first.replace(b'"number":1,', b'"number":4,'))
    found = await audit.finding()
    assert (found.fault, found.batch) == (Fault.MISSING, 4)


async def test_a_copy_is_written_once_and_keeps_its_versions(audit: Audit) -> None:
    """The sealer never replaces one: another content is refused and stays to be found. The bucket keeps versions."""
    await audit.add(4)
    await audit.seal()
    batch = await audit.copies.batch(1)
    assert batch is not None
    assert await audit.copies.put_batch(batch)
    other = Seal(**{name: getattr(batch, name) for name in Seal.__struct_fields__} | {"count": 3})
    assert not await audit.copies.put_batch(other)
    assert await audit.copies.batch(1) == batch
    assert audit.s3.get_bucket_versioning(Bucket=audit.bucket)["Status"] == "Enabled"


async def test_entries_in_flight_are_not_skipped(audit: Audit) -> None:
    """A transaction that began first and commits last, with the lesser id: nothing at or after it is sealed before it
    ends, and it is sealed then."""
    slow, gone = new_id(), new_id()
    async with audit.worker.unit() as connection:
        await connection.execute("select pg_current_xact_id()")  # as any change does; entries go with the COMMIT
        await insert_audit(connection, entry(slow))
        made = await audit.add(3)
        await audit.seal()
        assert (await audit.verify()).batches == 0
    with pytest.raises(ZeroDivisionError):
        await rolled_back(audit, gone)
    await audit.seal()
    seen = await audit.verify()
    assert (seen.finding, seen.entries, seen.unsealed) == (None, 4, 0)
    assert slow < made[0]


async def rolled_back(audit: Audit, identifier: UUID) -> None:
    async with audit.worker.unit() as connection:
        await insert_audit(connection, entry(identifier))
        raise ZeroDivisionError


async def test_sealing_under_way_of_writers_seals_each_entry_once(audit: Audit) -> None:
    """Eight writers with transactions of different lengths and three sealers at once: every entry is in one batch."""
    writing = True

    async def write(pause: float) -> int:
        for _ in range(15):
            async with audit.worker.unit() as connection:
                await insert_audit(connection, entry(new_id()))
                await connection.execute("select pg_current_xact_id(), pg_sleep($1)", pause)  # stays open
        return 15

    async def sealing() -> None:
        while writing:
            await audit.sealer.tick()

    sealers = [asyncio.create_task(sealing()) for _ in range(3)]
    counts = await asyncio.gather(*(write(0.001 * place) for place in range(3)))
    writing = False
    await asyncio.gather(*sealers)
    await audit.seal()
    seen = await audit.verify()
    assert (seen.finding, seen.entries, seen.unsealed) == (None, sum(counts), 0)


class Away:
    """An object store that cannot be reached, or that takes a batch and whose answer is lost."""

    def __init__(self, copies: SealStore, *, takes: bool) -> None:
        self._copies, self._takes = copies, takes

    async def put_batch(self, batch: Seal) -> bool:
        if self._takes:
            await self._copies.put_batch(batch)
        raise unavailable("The object store")

    async def put_anchor(self, anchor: Anchor) -> bool:
        if self._takes:
            await self._copies.put_anchor(anchor)
        raise unavailable("The object store")

    async def forget_batches(self, until: int) -> None:
        raise unavailable("The object store")


@pytest.mark.parametrize("takes", [False, True])
async def test_a_crash_between_seal_and_copy_is_mended(audit: Audit, takes: bool) -> None:
    """Sealed but not copied, or copied but not noted: verifying finds nothing wrong, the next tick mends it."""
    await audit.add(6)
    crashed = Sealer(audit.worker, Away(audit.copies, takes=takes), seconds=60, keep_days=365, batch=BATCH)
    while await crashed.tick() < 1:
        pass
    seen = await audit.verify()
    assert (seen.finding, seen.batches, seen.not_copied) == (None, 2, 2 - int(takes))
    await audit.seal()
    seen = await audit.verify()
    assert (seen.finding, seen.not_copied) == (None, 0)
    assert len([batch async for batch in audit.copies.batches(0)]) == 2


async def test_old_batches_are_dropped_whole_and_the_rest_verifies(audit: Audit) -> None:
    """Entries over 365 days old go with their batch and its copy; the chain begins at the anchor, in both places."""
    old = await audit.add(8, days_ago=400)
    young = await audit.add(6)
    await audit.seal()
    kept = await audit.admin.fetch("select id from control.audit order by transaction, id")
    assert [row["id"] for row in kept] == young
    seen = await audit.verify()
    assert (seen.finding, seen.first, seen.batches, seen.entries) == (None, 3, 2, 6)
    assert [batch.number async for batch in audit.copies.batches(0)] == [3, 4]
    anchor = await audit.copies.anchor()
    assert anchor is not None
    assert anchor.number == 2
    await audit.add(1)
    await audit.seal()
    assert (await audit.verify()).finding is None
    await audit.admin.execute("update control.audit set actor = 'x' where id = $1", young[0])
    assert (await audit.finding()).entry == young[0]
    assert old[0] != young[0]


async def test_a_batch_with_one_young_entry_stays(audit: Audit) -> None:
    """Batches go whole: not before the youngest entry is old."""
    await audit.add(3, days_ago=400)
    await audit.add(1, days_ago=300)
    await audit.seal()
    seen = await audit.verify()
    assert (seen.finding, seen.entries) == (None, 4)


async def test_where_the_chain_begins_cannot_be_moved(audit: Audit) -> None:
    """Batches removed together with an anchor of one's own: the object store begins elsewhere. And nothing can be put
    into the past that was dropped."""
    await audit.add(8, days_ago=400)
    await audit.add(8)
    await audit.seal()
    added = new_id()
    insert = """
        insert into control.audit (id, actor, action, target, outcome, transaction)
        values ($1, 'x', 'a.b', 'c:d', 'done', '3')
    """
    await audit.admin.execute(insert, added)
    found = await audit.finding()
    assert (found.fault, found.entry) == (Fault.ADDED, added)
    await audit.admin.execute("delete from control.audit where id = $1", added)
    await audit.admin.execute(
        """
        insert into control.audit_anchor (number, root, until_transaction, until_id)
        select number, root, until_transaction, until_id from control.audit_batch where number = 3
        """
    )
    await audit.admin.execute(
        """
        delete from control.audit e using control.audit_anchor a
        where a.number = 3 and (e.transaction, e.id) <= (a.until_transaction, a.until_id)
        """
    )
    await audit.admin.execute("delete from control.audit_batch where number = 3")
    audit.s3.delete_object(Bucket=audit.bucket, Key=batch_key(3))
    found = await audit.finding()
    assert (found.fault, found.batch) == (Fault.MISSING, 3)


@pytest.mark.parametrize("takes", [False, True])
async def test_a_crash_between_drop_and_anchor_is_mended(audit: Audit, takes: bool) -> None:
    """Dropped in the database only, or with the anchor's answer lost: nothing is wrong, and the next tick mends it."""
    await audit.add(8)
    await audit.add(4)
    await audit.seal()
    old = "update control.audit_batch set last_at = last_at - interval '400 days' where number <= 2"
    await audit.admin.execute(old)  # as if that time had passed
    crashed = Sealer(audit.worker, Away(audit.copies, takes=takes), seconds=60, keep_days=365, batch=BATCH)
    await crashed.tick()
    assert await audit.admin.fetchval("select min(number) from control.audit_batch") == 3
    assert (await audit.verify()).finding is None
    await audit.seal()
    seen = await audit.verify()
    assert (seen.finding, seen.first) == (None, 3)
    assert [batch.number async for batch in audit.copies.batches(0)] == [3]


COLUMNS = {"audit": "actor", "audit_batch": "root", "audit_stored": "number", "audit_anchor": "root"}


@pytest.mark.parametrize(
    "role", ["waypost_gateway", "waypost_relay", "waypost_worker", "waypost_provisioner", "waypost_auditor"]
)
async def test_no_login_changes_what_was_written(audit: Audit, ledger_server: OwnPostgres, role: str) -> None:
    """Neither entries nor seals, by no process's own login, nor as the auditor whom the worker may become; retention
    refuses to drop what is younger than 90 days."""
    await audit.add(4)
    await audit.seal()
    connection = await asyncpg.connect(ledger_server.url(role))
    statements = [
        f"{verb} control.{table}{rest}"
        for table, column in (
            ("audit", "actor"),
            ("audit_batch", "root"),
            ("audit_stored", "number"),
            ("audit_anchor", "root"),
        )
        for verb, rest in (("update", f" set {column} = {column}"), ("delete from", ""), ("truncate", ""))
    ]
    statements += [
        "alter table control.audit disable trigger all",
        "drop table control.audit",
        "drop index control.audit_position",
        "select control.drop_audit_batch(89)",
        "insert into control.audit_anchor (number, root, until_transaction, until_id) values (1, '', '1', uuidv7())",
        "update control.audit set actor = actor where false",
        "select from control.audit for update",
    ]
    becoming = ["reset role", *(["set role waypost_auditor"] if role == "waypost_worker" else [])]
    try:
        for become in becoming:
            await connection.execute(become)
            for statement in statements:
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
                    await connection.execute(statement)
    finally:
        await connection.close()
    assert (await audit.verify()).finding is None
