"""Which version each environment's schema has, read as waypost_provisioner, who owns them."""

from uuid import UUID

import msgspec

from storage.postgres.database import Connection, role_name

_AT_ONCE = 200  # schemas that one statement reads: each table it names costs a lock
_SCHEMAS = """
select n.nspname as name, c.oid is not null as versioned from pg_namespace n
left join pg_class c on c.relnamespace = n.oid and c.relname = 'alembic_version'
where n.nspname ~ '^env_[0-9a-f]{32}$'
"""
_ENVIRONMENTS = "select id, slug from control.environment where status not in ('deleting', 'deleted') order by id"


class SchemaVersion(msgspec.Struct, frozen=True):
    """An environment's schema; `version` None: provisioning has not filled it yet."""

    environment_id: UUID
    slug: str
    version: str | None


async def read_versions(connection: Connection) -> list[SchemaVersion]:
    """Of every environment that has a schema and is not being deleted, oldest first."""
    versioned = {row["name"]: row["versioned"] for row in await connection.fetch(_SCHEMAS)}
    live = [row for row in await connection.fetch(_ENVIRONMENTS) if role_name(row["id"]) in versioned]
    names = [name for row in live if versioned[name := role_name(row["id"])]]
    found: dict[str, str] = {}
    for start in range(0, len(names), _AT_ONCE):
        reads = (
            f"select '{name}' as name, version_num from {name}.alembic_version"  # noqa: S608 - our own names
            for name in names[start : start + _AT_ONCE]
        )
        found |= {row["name"]: row["version_num"] for row in await connection.fetch(" union all ".join(reads))}
    return [SchemaVersion(row["id"], row["slug"], found.get(role_name(row["id"]))) for row in live]
