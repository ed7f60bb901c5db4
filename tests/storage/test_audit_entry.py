"""An audit entry in the transaction of its change: sent with the COMMIT, exactly once, whatever it holds."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from storage.postgres.audit.entry import insert_audit
from storage.postgres.audit.listing import list_entries
from storage.postgres.database import Database, literal
from tests.own_postgres import OwnPostgres
from waypost.audit.model import AuditEntry, AuditFilter, Origin, WrittenEntry
from waypost.ids import new_id


@pytest.fixture
async def database(ledger_server: OwnPostgres) -> AsyncIterator[Database]:
    opened = await Database.open(ledger_server.url("waypost_gateway"), name="test", pool_size=1)
    yield opened
    await opened.close()


def entry(**changes: Any) -> AuditEntry:
    fields = {
        "id": new_id(), "organization_id": new_id(), "actor": "system", "action": "thing.change", "target": "thing:1"
    }  # fmt: skip
    return AuditEntry(**(fields | changes))


async def written(database: Database, organization_id: UUID | None) -> list[WrittenEntry]:
    async with database.unit() as connection:
        return await list_entries(connection, AuditFilter(organization_id=organization_id), before=None, limit=100)


HOSTILE = [
    "'; delete from control.audit; --", "\\'; select 1; --", "\\", "''", "'", "$1", "%s", "$$x$$", "E'\\n'", "a\nb",
    "Größe", "\u2028", "𝔘", "{", "-- ", "/*", "null",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
async def test_an_entry_holds_its_text_to_the_letter(database: Database, text: str) -> None:
    """Quotes, backslashes, comments, other alphabets: values are never SQL."""
    organization_id = new_id()
    one = entry(
        organization_id=organization_id, actor=text, target=f"thing:{text}", request_id=text, source_address=text,
        details={text: text},
    )  # fmt: skip
    async with database.unit() as connection:
        await insert_audit(connection, one)
    found = await written(database, organization_id)
    assert [(e.actor, e.target, e.request_id, e.source_address, e.details) for e in found] == [
        (text, f"thing:{text}", text, text, {text: text})
    ]


def test_a_text_that_postgres_cannot_hold_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="NUL"):
        literal("a\0b")


async def test_an_entry_falls_with_its_change(database: Database) -> None:
    """A unit that fails, or whose entry cannot be written, leaves neither; the connection serves on."""
    organization_id = new_id()
    with pytest.raises(ZeroDivisionError):
        await failing(database, entry(organization_id=organization_id))
    twice = entry(organization_id=organization_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await both(database, twice)
    async with database.unit() as connection:
        await connection.execute("select 1")
    assert await written(database, organization_id) == []


async def both(database: Database, one: AuditEntry) -> None:
    async with database.unit() as connection:
        await insert_audit(connection, one)
        await insert_audit(connection, one)


async def failing(database: Database, one: AuditEntry) -> None:
    async with database.unit() as connection:
        await insert_audit(connection, one)
        raise ZeroDivisionError


async def test_an_entry_within_a_savepoint_falls_with_it(database: Database) -> None:
    """What was rolled back to is not written with the COMMIT all the same; what stands outside is."""
    organization_id = new_id()
    outer, gone, kept = (entry(organization_id=organization_id, target=f"thing:{n}") for n in range(3))
    async with database.unit() as connection:
        await insert_audit(connection, outer)
        with pytest.raises(ZeroDivisionError):
            await within(connection, gone, fails=True)
        await within(connection, kept, fails=False)
    assert {found.target for found in await written(database, organization_id)} == {"thing:0", "thing:2"}


async def within(connection: Any, one: AuditEntry, *, fails: bool) -> None:
    async with connection.transaction():
        await insert_audit(connection, one)
        if fails:
            raise ZeroDivisionError


async def test_an_entry_outside_of_a_unit_is_written_at_once(ledger_server: OwnPostgres, database: Database) -> None:
    """On any other connection, as the operator's commands have them."""
    organization_id = new_id()
    plain = await asyncpg.connect(ledger_server.url("waypost_gateway"))
    await insert_audit(plain, entry(organization_id=organization_id))
    await plain.close()
    assert len(await written(database, organization_id)) == 1


async def test_what_an_entry_does_not_say_its_origin_does(database: Database) -> None:
    """Kind, request, address, and the project of the same environment; what it says itself stands."""
    organization_id, project_id, environment_id = new_id(), new_id(), new_id()
    origin = Origin("key:1", "organization_key", "request-1", "192.0.2.1", project_id, environment_id)
    async with database.unit() as connection:
        await insert_audit(connection, entry(organization_id=organization_id, environment_id=environment_id), origin)
        other = entry(organization_id=organization_id, environment_id=new_id(), request_id="own", actor_kind="person")
        await insert_audit(connection, other, origin)
    second, first = await written(database, organization_id)
    assert (first.actor_kind, first.request_id, first.source_address) == ("organization_key", "request-1", "192.0.2.1")
    assert first.project_id == project_id
    assert (second.actor_kind, second.request_id, second.project_id) == ("person", "own", None)


async def test_every_filter_has_an_index(ledger_server: OwnPostgres) -> None:
    """In an organization of 40,000 entries no filter scans or sorts them."""
    admin = await asyncpg.connect(ledger_server.admin_url("waypost"))
    organization_id = UUID(int=42)
    await admin.execute(
        """
        insert into control.audit (
            id, at, organization_id, project_id, environment_id, actor, action, target, outcome, request_id
        )
        select uuidv7(make_interval(mins => -n)), now() - make_interval(mins => n), $1,
            case when n % 7 = 0 then p end, case when n % 100 = 0 then e end, 'key:' || n % 500,
            case n % 400 when 0 then 'environment.create' when 1 then 'environment.delete' else 'api_key.create' end,
            'thing:' || n, case when n % 1000 = 0 then 'denied' else 'done' end, 'request-' || n
        from generate_series(1, 40000) n, (select uuidv7() as p, uuidv7() as e)
        """,
        organization_id,
    )
    await admin.execute("analyze control.audit")
    row = await admin.fetchrow(
        "select * from control.audit where organization_id = $1 and environment_id <> $1 and project_id <> $1",
        organization_id,
    )
    filters = (
        AuditFilter(organization_id=organization_id),
        AuditFilter(organization_id=organization_id, actor="key:77"),
        AuditFilter(organization_id=organization_id, action="environment.*"),
        AuditFilter(organization_id=organization_id, action="environment.delete"),
        AuditFilter(organization_id=organization_id, target="thing:123"),
        AuditFilter(organization_id=organization_id, outcome="denied"),
        AuditFilter(organization_id=organization_id, request_id="request-5"),
        AuditFilter(organization_id=organization_id, project_id=row["project_id"]),
        AuditFilter(organization_id=organization_id, environment_id=row["environment_id"]),
        AuditFilter(organization_id=organization_id, since=row["at"], until=row["at"] + timedelta(hours=1)),
    )
    for wanted in filters:
        plan = await explained(admin, wanted)
        assert "Seq Scan" not in plan, (wanted, plan)
        assert "Sort" not in plan or wanted.request_id, (wanted, plan)  # a request leaves few entries
    await admin.execute("delete from control.audit where organization_id = $1", organization_id)
    await admin.close()


async def explained(connection: Any, wanted: AuditFilter) -> str:
    """The plan of the very statement that the list runs."""

    class Explaining:
        async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
            rows = await connection.fetch(f"explain {statement}", *arguments)
            lines.extend(row[0] for row in rows)
            return []

    lines: list[str] = []
    await list_entries(Explaining(), wanted, before=None, limit=51)
    return "\n".join(lines)
