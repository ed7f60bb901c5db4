"""People, sessions and invitations as PostgreSQL keeps them: who may do what to the rows, and what is forgotten."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from storage.postgres.database import Database
from storage.postgres.person import invitation as invitations
from storage.postgres.person import person as people
from storage.postgres.person import session as sessions
from storage.postgres.person.retention import forget_people
from tests.gateway.sign_in_ground import make_someone, owner_of
from waypost.access.key import INVITATION_PREFIX, SESSION_PREFIX, make_key
from waypost.access.model import Role
from waypost.ids import new_id
from waypost.person.model import Invitation


@pytest.fixture(scope="session")
async def gateway_database(platform: Any) -> AsyncIterator[Database]:
    opened = await Database.open(platform.database_url("waypost_gateway"), name="test")
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("waypost_gateway", "update control.person set disabled_at = null"),
        ("waypost_gateway", "update control.person set email_folded = 'x@y'"),
        ("waypost_gateway", "delete from control.person"),
        ("waypost_gateway", "update control.person_session set expires_at = now() + interval '1 year'"),
        ("waypost_gateway", "update control.person_session set token_hash = ''"),
        ("waypost_gateway", "update control.invitation set role = 'org_admin'"),
        ("waypost_gateway", "delete from control.invitation"),
        ("waypost_worker", "select password_hash from control.person"),
        ("waypost_worker", "select token_hash from control.person_session"),
        ("waypost_worker", "select token_hash from control.invitation"),
        ("waypost_worker", "insert into control.membership select * from control.membership"),
        ("waypost_relay", "select id from control.person"),
        ("waypost_relay", "select id from control.person_session"),
        ("waypost_auditor", "select id from control.person"),
    ],
)
async def test_a_process_has_no_more_rights_than_it_needs(platform: Any, role: str, statement: str) -> None:
    """The database refuses, whatever the application does (decision 7)."""
    connection = await asyncpg.connect(platform.database_url(role))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"explain {statement}")
    finally:
        await connection.close()


async def test_no_session_begins_for_who_is_disabled(gateway_database: Database, platform: Any) -> None:
    """Between the proof and the session somebody was quicker."""
    someone = await make_someone(platform)
    await owner_of(platform).execute("update control.person set disabled_at = now() where id = $1", someone.id)
    public_id, _, token_hash = make_key(SESSION_PREFIX)
    async with gateway_database.unit() as connection:
        made = await sessions.insert_session(
            connection, new_id(), someone.id, public_id, token_hash, bearer=True, source_address=None, user_agent=None
        )
        login = await people.read_login(connection, someone.id)
    assert made is None
    assert login is not None
    assert login.password_hash is not None
    assert login.password_hash not in repr(login)


async def test_of_two_changes_of_a_password_one_wins(gateway_database: Database, platform: Any) -> None:
    """The second does not overwrite what it has not seen."""
    someone = await make_someone(platform)
    async with gateway_database.unit() as connection:
        login = await people.read_login(connection, someone.id)
        assert login is not None
        assert await people.change_password(connection, someone.id, "first", login.password_hash)
        assert not await people.change_password(connection, someone.id, "second", login.password_hash)
        await people.refresh_hash(connection, someone.id, "third", login.password_hash or "")
        kept = await people.read_login(connection, someone.id)
    assert kept is not None
    assert kept.password_hash == "first"


async def test_only_what_is_long_over_is_forgotten(gateway_database: Database, platform: Any) -> None:
    """Sessions a week after their end, invitations after 90 days; as the worker, twice without harm."""
    someone, owner = await make_someone(platform), owner_of(platform)
    aged: dict[str, str] = {}
    async with gateway_database.unit() as connection:
        for name in ("alive", "just ended", "long ended", "just expired", "long expired"):
            public_id, _, token_hash = make_key(SESSION_PREFIX)
            await sessions.insert_session(
                connection,
                new_id(),
                someone.id,
                public_id,
                token_hash,
                bearer=True,
                source_address=None,
                user_agent=name,
            )
            aged[name] = public_id
        kept = await _invitation(connection, platform, someone)
        gone = await _invitation(connection, platform, someone)
    for name, column, age in [
        ("just ended", "ended_at", "6 days"), ("long ended", "ended_at", "8 days"),
        ("just expired", "expires_at", "6 days"), ("long expired", "expires_at", "8 days"),
    ]:  # fmt: skip
        await owner.execute(
            f"update control.person_session set {column} = now() - $2::text::interval where public_id = $1",  # noqa: S608
            aged[name],
            age,
        )
    for made, days in ((kept, 89), (gone, 91)):
        await owner.execute(
            "update control.invitation set expires_at = now() - $2::interval where id = $1", made, timedelta(days=days)
        )
    database = await Database.open(platform.database_url("waypost_worker"), name="test")
    await forget_people(database)
    await forget_people(database)
    await database.close()
    rows = await owner.fetch("select user_agent from control.person_session where person_id = $1", someone.id)
    assert {row["user_agent"] for row in rows} == {"alive", "just ended", "just expired"}
    left = await owner.fetch("select id from control.invitation where id = any ($1)", [kept, gone])
    assert [row["id"] for row in left] == [kept]


async def _invitation(connection: Any, platform: Any, someone: Any) -> Any:
    organization = await connection.fetchval("select id from control.organization where slug = 'default'")
    public_id, _, token_hash = make_key(INVITATION_PREFIX)
    now = (await owner_of(platform).fetch("select now() as now"))[0]["now"]
    offer = Invitation(new_id(), organization, None, someone.email, someone.email, Role.VIEWER, "test", now, now)
    made = await invitations.insert_invitation(connection, offer, public_id, token_hash, timedelta(days=7))
    return made.id
