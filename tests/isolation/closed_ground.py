"""A PostgreSQL with two environments whose every row-secured table holds rows of both, and with the real grants.

No worker sweeps here, so the rows may be nonsense: they are made from the catalogue, and a new table has them too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from storage.postgres.database import role_name
from storage.postgres.environment import provision
from tests.own_postgres import PASSWORD, OwnPostgres

SECURED = """
select c.oid, c.relname, has_table_privilege('waypost_environment', c.oid, 'select') as readable from pg_class c
where c.relnamespace = 'control'::regnamespace and c.relrowsecurity and c.relkind in ('r', 'p') order by 2
"""
CHECKS = """
select c.relname, k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
where c.relnamespace = 'control'::regnamespace and c.relrowsecurity and k.contype = 'c' and k.coninhcount = 0
"""
_COLUMNS = """
select a.attname, format_type(a.atttypid, null) as type from pg_attribute a
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped and a.attidentity = '' and a.attgenerated = ''
    and (a.attnotnull and not a.atthasdef or a.attname = 'environment_id')
"""
_VALUES = {
    "uuid": "gen_random_uuid()",
    "text": "'f' || floor(random() * 1e9)",
    "jsonb": "'{}'",
    "bytea": "'\\x00'",
    "timestamp with time zone": "now()",
    "date": "current_date",
    "numeric": "floor(random() * 1e9)",
    "boolean": "false",
    "integer": "floor(random() * 1e9)::int",
    "bigint": "floor(random() * 1e9)::bigint",
    "smallint": "floor(random() * 9)::smallint",
}


def _value(kind: str) -> str:
    """An expression for some value of a type; raises KeyError for one that no secured table had so far."""
    return "'{}'" if kind.endswith("[]") else _VALUES[kind]


class ClosedGround:
    """`first` and `second` are environments; `admin` is a superuser's connection."""

    def __init__(self) -> None:
        self.server = OwnPostgres()
        self.first, self.second = uuid4(), uuid4()
        self.admin: Any = None
        self.tables: list[str] = []  # row-secured, and open to environments
        self.hidden: list[str] = []  # row-secured, and closed to them altogether

    async def start(self) -> None:
        await self.server.create()
        self.admin = await asyncpg.connect(self.server.admin_url("waypost"))
        async with self.login("waypost_provisioner") as provisioner:
            for environment in (self.first, self.second):
                async with provisioner.transaction():
                    await provision.make_role(provisioner, environment, PASSWORD)
                    await provision.make_schema(provisioner, environment)
                    await provision.join_group(provisioner, environment)
        secured = await self.admin.fetch(SECURED)
        for row in await self.admin.fetch(CHECKS):  # the rows are nonsense
            await self.admin.execute(f"alter table control.{row['relname']} drop constraint {row['conname']}")
        self.tables = [row["relname"] for row in secured if row["readable"]]
        self.hidden = [row["relname"] for row in secured if not row["readable"]]
        for row in secured:
            await self._fill(row["oid"], row["relname"])

    async def stop(self) -> None:
        await self.admin.close()
        await self.server.stop()

    @asynccontextmanager
    async def login(self, role: str) -> AsyncIterator[Any]:
        """A connection of that role."""
        connection = await asyncpg.connect(self.server.url(role))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def environment(self, environment: UUID) -> AsyncIterator[Any]:
        """The environment's own login."""
        async with self.login(role_name(environment)) as connection:
            yield connection

    async def count(self, table: str, environment: UUID) -> int:
        """How many rows there are, asked past row security."""
        return int(
            await self.admin.fetchval(f"select count(*) from control.{table} where environment_id = $1", environment)
        )

    async def _fill(self, oid: int, table: str) -> None:
        """Two rows of the first environment and three of the second, or one where there can be one only; references
        are not looked at.
        """
        columns = await self.admin.fetch(_COLUMNS, oid)
        names = ", ".join(f'"{column["attname"]}"' for column in columns)
        for environment, count in ((self.first, 2), (self.second, 3)):
            values = ", ".join(
                f"'{environment}'" if column["attname"] == "environment_id" else _value(column["type"])
                for column in columns
            )
            async with self.admin.transaction():
                await self.admin.execute("set local session_replication_role = replica")
                await self.admin.execute(
                    f"insert into control.{table} ({names}) "
                    f"select {values} from generate_series(1, {count}) on conflict do nothing"
                )
