"""People. The password's hash leaves this module only with `find_login`; reading a person never shows it."""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.person.model import Person

_COLUMNS = "id, email, email_folded, name, created_at, created_by, disabled_at, row_version"
_INSERT = """
insert into control.person (id, email, email_folded, name, password_hash, created_by, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $7)
on conflict (email_folded) do nothing returning true
"""
_READ = f"select {_COLUMNS} from control.person where id = $1"  # noqa: S608 - constants only
_LOGIN = f"select {_COLUMNS}, password_hash from control.person where email_folded = $1"  # noqa: S608 - constants only
_LOGIN_BY_ID = f"select {_COLUMNS}, password_hash from control.person where id = $1"  # noqa: S608 - constants only
_RENAME = f"""
update control.person set name = $2, row_version = row_version + 1, updated_at = now() where id = $1
returning {_COLUMNS}
"""  # noqa: S608 - constants only
_CHANGE = """
update control.person set password_hash = $2, row_version = row_version + 1, updated_at = now()
where id = $1 and password_hash is not distinct from $3 and disabled_at is null returning true
"""
_REHASH = "update control.person set password_hash = $2 where id = $1 and password_hash = $3"
_SET_DISABLED = """
update control.person set disabled_at = case when $2 then now() end, row_version = row_version + 1, updated_at = now()
where id = $1 and (disabled_at is not null) is distinct from $2 returning true
"""


class Login(msgspec.Struct, frozen=True):
    """A person with what a log-in is checked against."""

    person: Person
    password_hash: str | None

    def __repr__(self) -> str:
        return f"Login({self.person.id})"


async def insert_person(connection: Connection, person: Person, password_hash: str | None) -> bool:
    """False when somebody has this address."""
    p = person
    values = (p.id, p.email, p.email_folded, p.name, password_hash, p.created_by, p.created_at)
    return await connection.fetchval(_INSERT, *values) is not None


async def read_person(connection: Connection, person_id: UUID) -> Person | None:
    row = await connection.fetchrow(_READ, person_id)
    return None if row is None else _person(row)


async def find_login(connection: Connection, email_folded: str) -> Login | None:
    """The person of that folded address, disabled or not, with the password's hash."""
    return _login(await connection.fetchrow(_LOGIN, email_folded))


async def read_login(connection: Connection, person_id: UUID) -> Login | None:
    """The same by id."""
    return _login(await connection.fetchrow(_LOGIN_BY_ID, person_id))


async def rename_person(connection: Connection, person_id: UUID, name: str) -> Person | None:
    row = await connection.fetchrow(_RENAME, person_id, name)
    return None if row is None else _person(row)


async def change_password(connection: Connection, person_id: UUID, password_hash: str, old_hash: str | None) -> bool:
    """False when the hash is no longer the old one (of two changes at once, one wins) or the person is disabled."""
    return await connection.fetchval(_CHANGE, person_id, password_hash, old_hash) is not None


async def refresh_hash(connection: Connection, person_id: UUID, password_hash: str, old_hash: str) -> None:
    """The same password under today's parameters; nothing when it was changed meanwhile."""
    await connection.execute(_REHASH, person_id, password_hash, old_hash)


async def set_disabled(connection: Connection, person_id: UUID, disabled: bool) -> bool:
    """False when it was so already. For the operator: no process may do it."""
    return await connection.fetchval(_SET_DISABLED, person_id, disabled) is not None


def _person(row: Any) -> Person:
    return Person(**{name: row[name] for name in Person.__struct_fields__})


def _login(row: Any) -> Login | None:
    return None if row is None else Login(_person(row), row["password_hash"])
