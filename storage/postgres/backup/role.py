"""The environments' roles: read from one cluster, made in another.

Refuses: a password in a backup. Roles come back with the passwords that the environments' sealed secrets hold.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import asyncpg
import msgspec

from storage.postgres.cluster import PROVISIONER, scram_verifier
from waypost.errors import Category, WaypostError

ENVIRONMENT_ROLE = "^env_[0-9a-f]{32}$"
_IDENTIFIER = re.compile("^[a-z_][a-z0-9_]*$")


class RoleSetting(msgspec.Struct, frozen=True):
    name: str
    value: str


class Role(msgspec.Struct, frozen=True):
    """An environment's role, without its password."""

    name: str
    login: bool
    inherit: bool
    connection_limit: int
    settings: list[RoleSetting]


class Membership(msgspec.Struct, frozen=True):
    """`member` may act as, inherit from or hand out `role`."""

    role: str
    member: str
    admin: bool
    inherit: bool
    set: bool


class Roles(msgspec.Struct, frozen=True):
    roles: list[Role]
    memberships: list[Membership]


async def read_roles(connection: Any) -> Roles:
    """The environments' roles and memberships as this connection's transaction sees them."""
    roles = await connection.fetch(
        "select rolname, rolcanlogin, rolinherit, rolconnlimit, rolconfig from pg_roles where rolname ~ $1 order by 1",
        ENVIRONMENT_ROLE,
    )
    memberships = await connection.fetch(
        """
        select distinct g.rolname as role, m.rolname as member, a.admin_option, a.inherit_option, a.set_option
        from pg_auth_members a join pg_roles g on g.oid = a.roleid join pg_roles m on m.oid = a.member
        where (g.rolname ~ $1 or m.rolname ~ $1) and m.rolname <> $2 order by 1, 2
        """,
        ENVIRONMENT_ROLE,
        PROVISIONER,  # as the maker of the roles it gets its own membership without asking
    )
    return Roles([_role(row) for row in roles], [Membership(*row) for row in memberships])


def _role(row: Any) -> Role:
    settings = [RoleSetting(*entry.split("=", 1)) for entry in row["rolconfig"] or ()]
    return Role(row["rolname"], row["rolcanlogin"], row["rolinherit"], row["rolconnlimit"], settings)


async def make_roles(provisioner_url: str, roles: Roles) -> None:
    """Make the environments' roles as they were, but without passwords. Raises when one is there already."""
    connection = await asyncpg.connect(provisioner_url)
    try:
        async with connection.transaction():
            for role in roles.roles:
                await connection.execute(_role_text(role))
                for setting in role.settings:
                    await connection.execute("select set_config($1, $2, true)", setting.name, setting.value)
                    name = _identifier(setting.name)
                    await connection.execute(f"alter role {_identifier(role.name)} set {name} from current")
            for one in roles.memberships:
                await connection.execute(
                    f"grant {_identifier(one.role)} to {_identifier(one.member)} "
                    f"with admin {_word(one.admin)}, inherit {_word(one.inherit)}, set {_word(one.set)}"
                )
    finally:
        await connection.close()


async def set_passwords(provisioner_url: str, passwords: Iterable[tuple[str, str]]) -> None:
    """(role, password) pairs; only the verifiers reach the server."""
    connection = await asyncpg.connect(provisioner_url)
    try:
        for role, password in passwords:
            verifier = await asyncio.to_thread(scram_verifier, password)
            await connection.execute(f"alter role {_identifier(role)} password '{verifier}'")
    finally:
        await connection.close()


def _role_text(role: Role) -> str:
    login = "login" if role.login else "nologin"
    inherit = "inherit" if role.inherit else "noinherit"
    return f"create role {_identifier(role.name)} {login} {inherit} connection limit {role.connection_limit:d}"


def _identifier(name: str) -> str:
    """The names come from a file: nothing but a plain name passes."""
    if not _IDENTIFIER.match(name):
        raise WaypostError(
            "bad_backup", f"The backup names a role {name!r}, which is none of ours.", Category.MALFORMED
        )
    return name


def _word(value: bool) -> str:
    return "true" if value else "false"
