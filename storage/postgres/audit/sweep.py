"""Audit entries of one environment that are older than its own days: taken out, and told of, in one transaction.

Runs as the worker, through a function of the database that refuses what is young, not sealed or not copied. Refuses to
take more than LIMIT at once: each bite is an entry of the audit.
"""

from datetime import timedelta
from uuid import UUID

import msgspec

from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection, Database
from waypost import ids
from waypost.audit.decision import swept_digest
from waypost.audit.model import SWEEP_ACTION, AuditEntry
from waypost.ids import first_id_at
from waypost.retention.model import Going
from waypost.tenancy.entry import about
from waypost.tenancy.model import Environment

LIMIT = 10_000

_SWEEP = "select control.sweep_audit($1, $2, $3, $4) as id"
_COUNT = """
select count(*) as count, min(at) as oldest from (
    select at from control.audit
    where environment_id = $1 and at < now() - $2::interval and id < $3 and action <> $4 limit $5
) a
"""
_SLACK = timedelta(days=1)  # between the clocks that made ids and Postgres'


async def sweep_entries(database: Database, environment: Environment, keep_days: int, limit: int = LIMIT) -> int:
    """Take up to `limit` entries that are over `keep_days` (at least 90) old; how many. `limit`: there may be more."""
    sweeping = ids.new_id()
    async with database.unit() as connection:
        rows = await connection.fetch(_SWEEP, environment.id, keep_days, sweeping, limit)
        if rows:
            await insert_audit(connection, _entry(sweeping, environment, keep_days, [row["id"] for row in rows]))
    return len(rows)


async def preview_entries(connection: Connection, environment_id: UUID, keep_days: int, most: int) -> Going:
    """What sweeps would take now, counted up to `most`. Sealed or not: what is so old has been for long."""
    days = timedelta(days=keep_days)
    until = first_id_at(await connection.fetchval("select now()") - days + _SLACK)
    row = await connection.fetchrow(_COUNT, environment_id, days, until, SWEEP_ACTION, most + 1)
    return Going(min(row["count"], most), row["count"] > most, row["oldest"])


def _entry(identifier: UUID, environment: Environment, keep_days: int, swept: list[UUID]) -> AuditEntry:
    details = {"entries": str(len(swept)), "audit_days": str(keep_days), "digest": swept_digest(swept)}
    return msgspec.structs.replace(about(environment, SWEEP_ACTION, "system", details=details), id=identifier)
