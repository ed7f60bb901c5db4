"""An environment's own login as it is closed, opened and removed, as waypost_provisioner. All may be run again.

The processes' pools are not concerned: they become the role, they do not log in as it. Refuses: names that are not an
environment's.
"""

from typing import Any
from uuid import UUID

from storage.postgres.database import Connection, role_name

_ROLE = "select rolcanlogin from pg_roles where rolname = $1"
# A signal is no end: this waits up to five seconds for each.
_SESSIONS = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = $1"
# The names that `role_name` makes, and no others.
_ROLES = "select rolname as name, rolcanlogin from pg_roles where rolname ~ '^env_[0-9a-f]{32}$' order by 1"
_SCHEMAS = "select nspname as name from pg_namespace where nspname ~ '^env_[0-9a-f]{32}$' order by 1"


async def set_login(connection: Connection, environment_id: UUID, *, open_: bool) -> bool:
    """Let the environment's role log in, or not; False when there is no such role."""
    role = role_name(environment_id)
    if await connection.fetchval(_ROLE, role) is None:
        return False
    await connection.execute(f"ALTER ROLE {role} {'LOGIN' if open_ else 'NOLOGIN'}")
    return True


async def end_sessions(connection: Connection, environment_id: UUID) -> int:
    """End the sessions of the environment's own login; answers how many there were.

    Takes the role's privileges for the rest of the transaction: only its members may end its sessions.
    """
    role = role_name(environment_id)
    if await connection.fetchval(_ROLE, role) is None:
        return 0
    await _join(connection, role)
    ended = await connection.fetch(_SESSIONS, role)
    await _part(connection, role)
    return len(ended)


async def drop_schema(connection: Connection, environment_id: UUID) -> None:
    """The schema with all that is in it. Raises when somebody is busy in it for longer than the lock's time-out."""
    await connection.execute("SET LOCAL lock_timeout = '5s'")
    await connection.execute(f"DROP SCHEMA IF EXISTS {role_name(environment_id)} CASCADE")


async def drop_role(connection: Connection, environment_id: UUID) -> None:
    """The login and whatever it owns or was granted, large objects among it. Its sessions are ended first."""
    role = role_name(environment_id)
    if await connection.fetchval(_ROLE, role) is None:
        return
    await connection.execute(f"ALTER ROLE {role} NOLOGIN")
    await _join(connection, role)
    await connection.fetch(_SESSIONS, role)
    await connection.execute(f"DROP OWNED BY {role} CASCADE")
    await connection.execute(f"DROP ROLE {role}")


async def environment_roles(connection: Connection) -> dict[UUID, bool]:
    """Environments that have a role in this cluster, and whether it may log in."""
    return {_environment(row): row["rolcanlogin"] for row in await connection.fetch(_ROLES)}


async def environment_schemas(connection: Connection) -> set[UUID]:
    """Environments that have a schema in this database."""
    return {_environment(row) for row in await connection.fetch(_SCHEMAS)}


async def _join(connection: Connection, role: str) -> None:
    await connection.execute(f"GRANT {role} TO CURRENT_USER WITH INHERIT TRUE, SET FALSE")


async def _part(connection: Connection, role: str) -> None:
    await connection.execute(f"GRANT {role} TO CURRENT_USER WITH INHERIT FALSE, SET FALSE")


def _environment(row: Any) -> UUID:
    return UUID(hex=row["name"].removeprefix("env_"))
