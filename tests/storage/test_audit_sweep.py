"""Entries that an environment's own days take out of sealed batches: told of, and found when they are not."""

from uuid import UUID

import asyncpg
import msgspec
import pytest

from storage.postgres.audit.entry import insert_audit
from storage.postgres.audit.sweep import preview_entries, sweep_entries
from tests.own_postgres import OwnPostgres
from tests.storage.audit_ground import Audit, entry
from waypost.audit.decision import swept_digest
from waypost.audit.model import SWEEP_ACTION, AuditEntry, Fault
from waypost.clock import now
from waypost.ids import new_id
from waypost.tenancy.model import Environment, Posture, Status

ONE, OTHER = UUID(int=1), UUID(int=2)
DAYS = 100
FORGE = "insert into control.audit_swept (entry_id, swept_by) values ($1, $2)"


def environment(identifier: UUID = ONE) -> Environment:
    at = now()
    return Environment(
        identifier, UUID(int=1), UUID(int=3), "e", "e", Posture.DEV, "postgres", "closed", "main", Status.READY, None,
        {}, "system", at, at,
    )  # fmt: skip


async def kept(audit: Audit, action: str = "thing.change") -> set[UUID]:
    return {row["id"] for row in await audit.admin.fetch("select id from control.audit where action = $1", action)}


async def sweep(audit: Audit, *, limit: int = 1_000, days: int = DAYS) -> int:
    """All of it; how much went."""
    total = 0
    while count := await sweep_entries(audit.worker, environment(), days, limit):
        total += count
    return total


async def test_old_entries_of_one_environment_go_and_the_chain_verifies(audit: Audit) -> None:
    """Not another's, not young ones, not those of no environment; what went is told by an entry that itself stays; run
    again it finds nothing; and when the batches go, everything about them does."""
    old = await audit.add(6, days_ago=150, environment_id=ONE)
    stays = [
        *await audit.add(3, days_ago=150, environment_id=OTHER),
        *await audit.add(2, days_ago=150),
        *await audit.add(5, days_ago=99, environment_id=ONE),
    ]
    await audit.seal()
    async with audit.worker.unit() as connection:
        going = await preview_entries(connection, ONE, DAYS, 5)
    assert (going.count, going.more) == (5, True)
    assert await sweep(audit, limit=4) == 6
    assert await kept(audit) == set(stays)
    assert await sweep(audit) == 0
    await audit.seal()
    seen = await audit.verify()
    assert (seen.finding, seen.swept, seen.entries) == (None, 6, 6 + len(stays) + 2)
    told = await audit.admin.fetch("select details from control.audit where action = $1", SWEEP_ACTION)
    assert len(told) == 2
    await audit.admin.execute("update control.audit_batch set last_at = now() - interval '400 days'")
    await audit.seal()
    assert await audit.admin.fetchval("select count(*) from control.audit_swept") == 0
    assert not await kept(audit) & set(old)


async def test_nothing_goes_that_is_not_sealed_and_copied(audit: Audit) -> None:
    """Its hash must be where nobody who changes the database changes it."""
    await audit.add(3, days_ago=150, environment_id=ONE)
    assert await sweep(audit) == 0
    await audit.seal()
    await audit.admin.execute("delete from control.audit_stored")
    assert await sweep(audit) == 0
    await audit.seal()
    assert await sweep(audit) == 3


async def test_an_entry_that_no_sweep_told_of_is_still_missed(audit: Audit) -> None:
    """Said in the table alone, or in a sweep's entry that was altered for it."""
    old = await audit.add(6, days_ago=150, environment_id=ONE)
    await audit.seal()
    assert await sweep_entries(audit.worker, environment(), DAYS, 4) == 4
    await audit.seal()
    assert (await audit.verify()).finding is None
    sweeping = await audit.admin.fetchval("select id from control.audit where action = $1", SWEEP_ACTION)
    (left,) = await audit.admin.fetch("select id from control.audit where id = any ($1) limit 1", old)
    await audit.admin.execute("delete from control.audit where id = $1", left["id"])
    await audit.admin.execute(FORGE, left["id"], sweeping)
    assert (await audit.finding()).fault is Fault.MISSING
    taken = [row["entry_id"] for row in await audit.admin.fetch("select entry_id from control.audit_swept")]
    await audit.admin.execute(
        "update control.audit set details = details || jsonb_build_object('digest', $2::text) where id = $1",
        *(sweeping, swept_digest(taken)),
    )
    found = await audit.finding()
    assert (found.fault, found.entry) == (Fault.ALTERED, sweeping)


async def test_a_sweep_that_claims_a_young_entry_is_not_believed(audit: Audit) -> None:
    """Though its digest is right: nothing under 90 days old ever goes."""
    (young,) = await audit.add(1, days_ago=80, environment_id=ONE)
    await audit.seal()
    await audit.admin.execute("delete from control.audit where id = $1", young)
    async with audit.worker.unit() as connection:
        await insert_audit(connection, _claim(forged := new_id(), [young]))
    await audit.admin.execute(FORGE, young, forged)
    await audit.seal()
    found = await audit.finding()
    assert (found.fault, found.entry) == (Fault.MISSING, young)


def _claim(identifier: UUID, swept: list[UUID]) -> AuditEntry:
    return msgspec.structs.replace(entry(identifier, ONE), action=SWEEP_ACTION, details={"digest": swept_digest(swept)})


@pytest.mark.parametrize("days", [0, 1, 89])
async def test_no_entry_is_younger_than_90_days_when_it_goes(audit: Audit, days: int) -> None:
    """Whatever is asked for: the database refuses."""
    await audit.add(1, days_ago=89, environment_id=ONE)
    await audit.seal()
    with pytest.raises(asyncpg.RaiseError, match="at least 90 days"):
        await sweep(audit, days=days)
    assert await sweep(audit, days=90) == 0


async def test_only_the_worker_may_sweep(audit: Audit, ledger_server: OwnPostgres) -> None:
    """And nobody writes by hand what a sweep took."""
    call = f"select control.sweep_audit('{ONE}', 100, '{ONE}', 10)"
    writes = [f"insert into control.audit_swept values ('{ONE}', '{ONE}')", "delete from control.audit_swept"]  # noqa: S608 - ours
    for role in ("waypost_gateway", "waypost_relay", "waypost_worker", "waypost_provisioner", "waypost_auditor"):
        connection = await asyncpg.connect(ledger_server.url(role))
        for statement in writes if role == "waypost_worker" else [call, *writes]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()
