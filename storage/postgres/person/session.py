"""Sessions of people. A session lives while it is neither ended, nor older than its absolute end, nor idle too long,
and while its person is not disabled."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.person.model import IDLE_GRAIN, SESSION_IDLE, SESSION_LIFE, Person, Session

_COLUMNS = """
s.id, s.person_id, s.public_id, s.bearer, s.created_at, s.last_used_at, s.expires_at, s.source_address, s.user_agent
"""
_LIVE = "s.ended_at is null and s.expires_at > now() and s.last_used_at > now() - $2::interval"
_INSERT = """
insert into control.person_session (
    id, person_id, public_id, token_hash, bearer, source_address, user_agent, expires_at
)
select $1::uuid, p.id, $3::text, $4::bytea, $5::boolean, $6::text, $7::text, now() + $8::interval from control.person p
where p.id = $2 and p.disabled_at is null
returning created_at, last_used_at, expires_at
"""
_FIND = f"""
select {_COLUMNS}, s.token_hash, s.last_used_at < now() - $3::interval as stale,
    p.email, p.email_folded, p.name, p.created_at as person_created_at, p.created_by, p.row_version
from control.person_session s join control.person p on p.id = s.person_id
where s.public_id = $1 and {_LIVE} and p.disabled_at is null
"""  # noqa: S608 - constants only
_TOUCH = "update control.person_session set last_used_at = now() where id = $1 and ended_at is null"
_LIST = f"""
select {_COLUMNS} from control.person_session s
where s.person_id = $1 and {_LIVE} and ($3::uuid is null or s.id < $3)
order by s.id desc limit $4
"""  # noqa: S608 - constants only
_END = """
update control.person_session set ended_at = now() where public_id = $1 and ended_at is null returning id
"""
_END_ALL = f"""
update control.person_session s set ended_at = now()
where s.person_id = $1 and {_LIVE} and ($3::text is null or s.public_id <> $3) returning s.id
"""  # noqa: S608 - constants only


class KeptSession(msgspec.Struct, frozen=True):
    """A live session with its person and its token's hash, for `waypost.access.key.same_secret`. `stale`: its last use
    was written more than a minute ago."""

    session: Session
    person: Person
    token_hash: bytes
    stale: bool


async def insert_session(
    connection: Connection,
    session_id: UUID,
    person_id: UUID,
    public_id: str,
    token_hash: bytes,
    *,
    bearer: bool,
    source_address: str | None,
    user_agent: str | None,
    life: timedelta = SESSION_LIFE,
) -> Session | None:
    """The session, None when the person is disabled or gone."""
    row = await connection.fetchrow(
        _INSERT, session_id, person_id, public_id, token_hash, bearer, source_address, user_agent, life
    )
    if row is None:
        return None
    times = {name: row[name] for name in ("created_at", "last_used_at", "expires_at")}
    return Session(
        session_id, person_id, public_id, bearer, **times, source_address=source_address, user_agent=user_agent
    )


async def find_session(connection: Connection, public_id: str) -> KeptSession | None:
    """The live session of that public id."""
    row = await connection.fetchrow(_FIND, public_id, SESSION_IDLE, IDLE_GRAIN)
    if row is None:
        return None
    person = Person(
        row["person_id"], row["email"], row["email_folded"], row["name"], row["person_created_at"], row["created_by"],
        None, row["row_version"],
    )  # fmt: skip
    return KeptSession(_session(row), person, row["token_hash"], row["stale"])


async def touch_session(connection: Connection, session_id: UUID) -> None:
    """It was used just now."""
    await connection.execute(_TOUCH, session_id)


async def list_sessions(connection: Connection, person_id: UUID, *, before: UUID | None, limit: int) -> list[Session]:
    """The person's live sessions, newest first, older than `before`."""
    return [_session(row) for row in await connection.fetch(_LIST, person_id, SESSION_IDLE, before, limit)]


async def end_session(connection: Connection, public_id: str) -> UUID | None:
    """The id of the session that was just ended; None when it was over."""
    found: UUID | None = await connection.fetchval(_END, public_id)
    return found


async def end_sessions(connection: Connection, person_id: UUID, *, keep: str | None = None) -> int:
    """End all live sessions of a person but the one of public id `keep`; how many they were."""
    return len(await connection.fetch(_END_ALL, person_id, SESSION_IDLE, keep))


def _session(row: Any) -> Session:
    return Session(**{name: row[name] for name in Session.__struct_fields__})
