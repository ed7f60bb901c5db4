"""One instant of the database: what it holds, and what nobody may take for running after it was restored.

Read as an administrator of the cluster, whom row security lets see every row.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from storage.postgres.backup.role import ENVIRONMENT_ROLE, Roles, read_roles
from waypost.errors import Category, WaypostError

_NAME = "waypost-backup"
_COUNTED = (
    "organization", "project", "environment", "api_key", "node_credential", "job", "job_end", "ready", "due", "hold",
    "lease", "platform_job", "audit",
)  # fmt: skip


class Contents(msgspec.Struct, frozen=True):
    """What a snapshot holds. `kek_ids`: the key-encryption keys that something in it is wrapped with; `transaction`:
    the first number (xid8) that nothing in it can name."""

    transaction: int
    control_version: str
    environment_versions: dict[str, int]
    kek_ids: list[str]
    database_bytes: int
    server_version: str
    counts: dict[str, int]
    roles: Roles


class Snapshot(msgspec.Struct, frozen=True):
    """One instant of the database, kept while the context that made it is open."""

    id: str
    contents: Contents


@asynccontextmanager
async def hold_snapshot(admin_url: str) -> AsyncIterator[Snapshot]:
    """Everything read in it, and every dump made from it, shows the same instant. `admin_url` sees all rows."""
    connection = await asyncpg.connect(admin_url, server_settings={"row_security": "off", "application_name": _NAME})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            name = await connection.fetchval("select pg_export_snapshot()")
            yield Snapshot(name, await _contents(connection))
    finally:
        await connection.close()


async def _contents(connection: Any) -> Contents:
    version = None
    if await connection.fetchval("select to_regclass('control.alembic_version')") is not None:
        version = await connection.fetchval("select version_num from control.alembic_version")
    if version is None:
        raise WaypostError("nothing_to_back_up", "The database holds no control schema.", Category.NOT_FOUND)
    return Contents(
        transaction=int(await connection.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text")),
        control_version=version,
        environment_versions=await _environment_versions(connection),
        kek_ids=await _kek_ids(connection),
        database_bytes=await connection.fetchval("select pg_database_size(current_database())"),
        server_version=await connection.fetchval("show server_version"),
        counts=await count_rows(connection),
        roles=await read_roles(connection),
    )


async def count_rows(connection: Any) -> dict[str, int]:
    """How many rows the tables that matter have; the same before a backup and after a restore."""
    return {table: await connection.fetchval(f"select count(*) from control.{table}") for table in _COUNTED}  # noqa: S608


async def _environment_versions(connection: Any) -> dict[str, int]:
    """Version → how many environments' schemas have it."""
    versions: dict[str, int] = {}
    schemas = await connection.fetch(
        "select n.nspname from pg_namespace n join pg_class c on c.relnamespace = n.oid "
        "where n.nspname ~ $1 and c.relname = 'alembic_version'",
        ENVIRONMENT_ROLE,
    )
    for row in schemas:
        found = await connection.fetchval(f"select version_num from {row['nspname']}.alembic_version")  # noqa: S608
        versions[found] = versions.get(found, 0) + 1
    return versions


async def _kek_ids(connection: Any) -> list[str]:
    """Of every table that says with which key its rows are wrapped."""
    tables = await connection.fetch(
        "select table_name from information_schema.columns where table_schema = 'control' and column_name = 'kek_id'"
    )
    found: set[str] = set()
    for row in tables:
        query = f'select distinct kek_id from control."{row["table_name"]}" where kek_id is not null'  # noqa: S608
        found |= {kept["kek_id"] for kept in await connection.fetch(query)}
    return sorted(found)


# Whoever held a lease or a stream when the snapshot was taken is not there any more. The sweepers find the sessions
# over, take what they held and end or retry it; no answer of theirs is accepted, since they are of another platform.
_FORGET_PROCESSES = """
update control.session set lease_until = now() - interval '1 second' where ended_at is null;
update control.node set disconnected_at = now(), disconnect_reason = 'restored from a backup'
where disconnected_at is null;
update control.platform_job set hinted_at = null where state in ('queued', 'running');
"""


async def require_later(admin_url: str, transaction: int) -> None:
    """Rows name transactions, and readers compare them (audit, usage): new ones must count on from the old.

    Raises `transactions_behind` when this cluster's numbers are not past `transaction`.
    """
    connection = await asyncpg.connect(admin_url)
    try:
        now = int(await connection.fetchval("select pg_snapshot_xmin(pg_current_snapshot())::text"))
    finally:
        await connection.close()
    if now < transaction:
        raise WaypostError(
            "transactions_behind",
            f"This cluster's transactions are at {now}, the backup's were at {transaction}: stop it and set a later "
            f"epoch with `pg_resetwal --epoch={epoch_after(transaction)}` before anything is restored.",
            Category.CONFLICT,
        )


def epoch_after(transaction: int) -> int:
    """The first epoch (upper 32 bits of an xid8) whose numbers are all later."""
    return (transaction >> 32) + 1


async def forget_processes(owner_url: str) -> None:
    """Nothing of what ran when the backup was made counts as running."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute(f"begin; {_FORGET_PROCESSES} commit")
    finally:
        await connection.close()
