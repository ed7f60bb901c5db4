"""Bringing schemas to the version that this code needs (decision 8; storage.postgres.version says which).

Two Alembic trees: control, and one for environments whose version table lies in the environment's own schema. Alembic
and SQLAlchemy (0.8 s of imports) are loaded only when there is something to do.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from storage.postgres.database import role_name
from storage.postgres.version import CONTROL_VERSION, ENVIRONMENT_VERSION
from waypost.errors import Category, WaypostError, unavailable

_alembic = threading.Lock()  # its context lives in module globals: one upgrade at a time in a process
_HERE = Path(__file__).parent
_LOCK_SECONDS = 10  # longer than a reader should hold a table, shorter than tenants should wait behind us
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('waypost.migration.{}'))"


def upgrade_control(url: str) -> bool:
    """Bring the control schema to CONTROL_VERSION as waypost_owner (`url`); True when something was done.

    Raises `schema_newer` when the database is of a newer program: it is never taken back; and as `upgrade_environment`.
    """
    with _told_apart("control", CONTROL_VERSION), psycopg.connect(url) as connection:
        found = _found(connection, "control")
        if found == CONTROL_VERSION:
            return False
        if found is not None and found > CONTROL_VERSION:
            raise _newer("control schema", found, CONTROL_VERSION)
        return _upgrade(connection, "control", "control", "CREATE SCHEMA IF NOT EXISTS control")


def upgrade_environment(url: str, environment_id: UUID) -> bool:
    """Bring one environment's schema, which exists, to ENVIRONMENT_VERSION.

    `url` is the login of its owner, the provisioner. True when something was done. Raises `schema_newer`;
    `migration_failed`, which no retry helps; `unavailable`, when the server is away or somebody holds a lock.
    """
    schema = role_name(environment_id)
    with _told_apart(f"environment {environment_id}", ENVIRONMENT_VERSION), psycopg.connect(url) as connection:
        found = _found(connection, schema)
        if found == ENVIRONMENT_VERSION:
            return False
        if found is not None and found > ENVIRONMENT_VERSION:
            raise _newer(f"environment {environment_id}", found, ENVIRONMENT_VERSION)
        return _upgrade(connection, "environment", schema, f"SET LOCAL search_path = {schema}")


@contextmanager
def _told_apart(what: str, version: str) -> Iterator[None]:
    """What another try may help, and what it does not."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)  # SQLAlchemy's errors carry the driver's
        if isinstance(cause, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
            raise _held(what) from error
        if isinstance(cause, psycopg.OperationalError):
            raise unavailable("PostgreSQL") from error
        if not isinstance(cause, psycopg.Error):
            raise
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        sentence = f"The schema of {what} could not be brought to {version}: {reason}."
        raise WaypostError("migration_failed", sentence, Category.INTERNAL) from error


def _held(what: str) -> WaypostError:
    return WaypostError(
        "unavailable",
        f"Somebody holds a table of {what} that the migration needs: a backup, or a long transaction. Nothing was"
        " changed; migrate again when it has ended.",
        Category.UNAVAILABLE,
        retryable=True,
        retry_after_seconds=_LOCK_SECONDS,
    )


def _found(connection: Any, schema: str) -> str | None:
    if connection.execute("SELECT to_regclass(%s)", (f"{schema}.alembic_version",)).fetchone()[0] is None:
        return None
    query = sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(schema))
    row = connection.execute(query).fetchone()
    return None if row is None else str(row[0])


def _newer(what: str, found: str, known: str) -> WaypostError:
    return WaypostError(
        "schema_newer",
        f"The {what} is at version {found}, newer than this program knows ({known}): use the newer program.",
        Category.INTERNAL,
    )


def _upgrade(connection: Any, tree: str, schema: str, *prepare: str) -> bool:
    """Run a tree's revisions on an open connection, in one transaction: all of them or none.

    Two at once take turns; False for the one that found nothing left to do.
    """
    from alembic import command
    from alembic.config import Config

    connection.rollback()  # what was read to get here; Alembic reads the version again under the lock
    config = Config()
    config.set_main_option("script_location", str(_HERE / tree / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    config.attributes["applied"] = applied = list[str]()
    patience = f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"  # for tables; another upgrade is waited for
    config.attributes["prelude"] = (_LOCK.format(schema), patience, *prepare)
    with _alembic:
        command.upgrade(config, "head")
    return bool(applied)
