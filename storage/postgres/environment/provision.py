"""Making an environment's role and schema, as waypost_provisioner. Every statement may be run again.

The provisioner owns schema and tables, the environment's role has rows only: what a tenant runs on its own login cannot
change a table. Refuses: to let any other role in; the processes become the role (SET), they do not inherit from it.
"""

from uuid import UUID

from storage.postgres import sql
from storage.postgres.cluster import ENVIRONMENT_GROUP, PROCESS_ROLES, scram_verifier
from storage.postgres.database import STATEMENT_SECONDS, Connection, role_name

CONNECTION_LIMIT = 10  # of the environment's own login; the processes' pools do not count


async def lock(connection: Connection, environment_id: UUID) -> None:
    """Until the end of the transaction, nobody else does a step of this environment's life."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended('waypost.provision.' || $1, 0))", role_name(environment_id)
    )


async def make_role(connection: Connection, environment_id: UUID, password: str) -> None:
    """The login role with that password, which the processes may become."""
    role = role_name(environment_id)
    if not await connection.fetchval("select true from pg_roles where rolname = $1", role):
        await connection.execute(f"CREATE ROLE {role}")
    await connection.execute(
        f"""
        ALTER ROLE {role} LOGIN INHERIT PASSWORD '{scram_verifier(password)}' CONNECTION LIMIT {CONNECTION_LIMIT};
        ALTER ROLE {role} SET search_path = {role}, pg_catalog;
        ALTER ROLE {role} SET statement_timeout = '{STATEMENT_SECONDS}s';
        GRANT {role} TO {", ".join(PROCESS_ROLES)} WITH INHERIT FALSE, SET TRUE;
        """
    )


async def make_schema(connection: Connection, environment_id: UUID) -> None:
    """The schema from the snapshot, closed to all but its role; one that is there already keeps its tables."""
    role = role_name(environment_id)
    await connection.execute(
        f"""
        CREATE SCHEMA IF NOT EXISTS {role};
        REVOKE ALL ON SCHEMA {role} FROM PUBLIC;
        GRANT USAGE ON SCHEMA {role} TO {role};
        ALTER DEFAULT PRIVILEGES IN SCHEMA {role} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
        ALTER DEFAULT PRIVILEGES IN SCHEMA {role} GRANT USAGE ON SEQUENCES TO {role};
        """
    )
    if await connection.fetchval("select to_regclass($1)", f"{role}.alembic_version") is None:
        await connection.execute(f"SET LOCAL search_path = {role}, pg_catalog")
        await connection.execute(sql.load("storage.postgres.environment", "snapshot"))
    await connection.execute(f"REVOKE INSERT, UPDATE, DELETE ON {role}.alembic_version FROM {role}")


async def join_group(connection: Connection, environment_id: UUID) -> None:
    """Row security knows the role from here on: it sees the ledger's rows of its environment."""
    role = role_name(environment_id)
    await connection.execute(f"GRANT {ENVIRONMENT_GROUP} TO {role} WITH INHERIT TRUE, SET FALSE")
