"""The rows that an environment has in the control schema, deleted in bounded bites when it goes.

What is not here stays: the record itself as a tombstone, the audit, platform jobs (retention's), the
sums of usage. A test proves that every table of the control schema that names environments is one or the other.
Refuses: to touch another environment's rows.
"""

from collections.abc import Mapping
from uuid import UUID

from storage.postgres.database import Connection

BITE = 5_000  # rows a statement
KEPT = frozenset(
    {"environment", "audit", "platform_job", "environment_step", "environment_removal", "usage_hour", "usage_day"}
)

# Partitioned or long: deleted along the primary key, which begins with the environment (a ctid names no partition).
_ALONG_KEY: Mapping[str, str] = {
    "job_label": "label, job_id",
    "job_end": "job_id",
    "job": "id",
    "job_log": "job_id, number, sequence",
    "log_object": "job_id, number, first_line",
    "attempt_log": "job_id, number",
    "attempt": "job_id, number",
    "idempotency": "scope, key",
    "firing": "trigger_id, id",
    "usage_event": "source, id",
    "delivery": "subscription_id, id",
    "delivery_attempt": "subscription_id, delivery_id, number",
}
_OF_ITS_ROUTES = "route = any (array(select id from control.route where environment_id = $1))"
_OWN = "environment_id = $1"
_BY_PLACE: Mapping[str, str] = {
    "due": _OWN,
    "hold": _OWN,
    "ready": _OF_ITS_ROUTES,
    "permit": _OWN,
    "lease": _OWN,
    "cancel_request": _OWN,
    # Deltas first: whoever folds them holds their rows until the counts are there.
    "route_delta": _OWN,
    "route_count": _OWN,
    "route_minute": _OF_ITS_ROUTES,
    "function_pause": _OWN,
    "schedule": _OWN,
    "trigger_secret": _OWN,
    "trigger": _OWN,
    "artifact_reference": _OWN,
    "artifact_audit": _OWN,
    "artifact_garbage": _OWN,
    "artifact": _OWN,
    "artifact_blob": _OWN,
    "delivery_queue": _OWN,
    "environment_event": _OWN,
    "subscription_secret": _OWN,
    "subscription": _OWN,
    "bulk_replay": _OWN,
    "retention_sweep": _OWN,
    "node": _OWN,
    "node_credential": _OWN,
    "api_key": _OWN,
    "signing_key": _OWN,
    "environment_secret": _OWN,
    "environment_storage": _OWN,
    "route": _OWN,  # last: others are found by it
}
SECRETS = ("environment_secret", "signing_key", "api_key", "trigger_secret", "subscription_secret")
ALL = (*_ALONG_KEY, *_BY_PLACE)


async def delete_rows(connection: Connection, environment_id: UUID, table: str, *, thorough: bool = False) -> int:
    """Delete up to `BITE` of the environment's rows in `table`; answers how many. Fewer: there are no more.

    `thorough` looks at every row where the table has no index for it: for what came in after the routes were gone.
    """
    if table in _ALONG_KEY:
        return await _delete_along_key(connection, environment_id, table, _ALONG_KEY[table])
    where = _OWN if thorough else _BY_PLACE[table]
    return _count(
        await connection.execute(
            f"delete from control.{table} where ctid = any (array("  # noqa: S608 - names from above
            f"select ctid from control.{table} where {where} limit {BITE} for update))",
            environment_id,
        )
    )


async def leftovers(connection: Connection, days: float) -> set[UUID]:
    """Environments that went in the last so many days and still have rows, as an index or a short table tells."""
    probes = " or ".join(
        f"exists (select from control.{table} t where t.environment_id = e.id)"
        for table in ALL
        if _BY_PLACE.get(table) != _OF_ITS_ROUTES
    )
    rows = await connection.fetch(
        "select e.id from control.environment e"  # noqa: S608 - names from above
        f" where e.deleted_at > now() - $1::float8 * interval '1 day' and ({probes})",
        days,
    )
    return {row["id"] for row in rows}


async def count_rows(connection: Connection, environment_id: UUID) -> dict[str, int]:
    """How many rows each table still holds, those with none left out. Reads whole tables: for people and tests."""
    counted = " union all ".join(
        f"select '{table}' as name, count(*) as rows from control.{table} where {_OWN}"  # noqa: S608 - names from above
        for table in ALL
    )
    return {row["name"]: row["rows"] for row in await connection.fetch(counted, environment_id) if row["rows"]}


async def _delete_along_key(connection: Connection, environment_id: UUID, table: str, key: str) -> int:
    """What lies before the row that is `BITE` rows on; all there is when there is no such row."""
    edge = await connection.fetchrow(
        f"select {key} from control.{table} where environment_id = $1 order by {key} offset {BITE} limit 1",  # noqa: S608 - names from above
        environment_id,
    )
    before = "" if edge is None else f"and ({key}) < ({', '.join(f'${n}' for n in range(2, 2 + len(edge)))})"
    return _count(
        await connection.execute(
            f"delete from control.{table} where environment_id = $1 {before}",  # noqa: S608 - names from above
            environment_id,
            *(edge or ()),
        )
    )


def _count(status: str) -> int:
    """Of the command tag `DELETE n`."""
    return int(status.rpartition(" ")[2])
