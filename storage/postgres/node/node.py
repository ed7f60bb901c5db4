"""Reading and draining nodes. Their relay writes the rows (storage.postgres.fleet)."""

from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.node.model import NodeRecord

_COLUMNS = """
n.id, n.environment_id, n.credential_id, n.name, s.process as relay, n.tags, n.functions, n.sdk, n.version, n.in_flight,
n.max_in_flight, n.completed, n.failed, n.round_trip_ms, n.draining, n.connected_at, n.last_seen_at, n.disconnected_at,
n.disconnect_reason
"""
_LIST = f"""
select {_COLUMNS} from control.node n left join control.session s on s.id = n.session
where n.environment_id = $1 and ($2::uuid is null or n.id < $2)
    and (not $3::boolean or n.disconnected_at is null)
order by n.id desc limit $4
"""  # noqa: S608 - constants only
_READ = f"""
select {_COLUMNS} from control.node n left join control.session s on s.id = n.session
where n.environment_id = $1 and n.id = $2
"""  # noqa: S608 - constants only
_DRAIN = """
update control.node set draining = true
where environment_id = $1 and id = $2 and disconnected_at is null returning true
"""


async def list_nodes(
    connection: Connection, environment_id: UUID, *, before: UUID | None, limit: int, connected_only: bool = True
) -> list[NodeRecord]:
    """Newest first, older than `before`. Runs as the environment's role as well as as a process's."""
    rows = await connection.fetch(_LIST, environment_id, before, connected_only, limit)
    return [_node(row) for row in rows]


async def read_node(connection: Connection, environment_id: UUID, node_id: UUID) -> NodeRecord | None:
    """One node of the environment, connected or not."""
    row = await connection.fetchrow(_READ, environment_id, node_id)
    return None if row is None else _node(row)


async def drain_node(connection: Connection, environment_id: UUID, node_id: UUID) -> bool:
    """Ask for its drain (the relay is told by message, and looks itself); False when it is not connected."""
    return await connection.fetchval(_DRAIN, environment_id, node_id) is not None


def _node(row: Any) -> NodeRecord:
    fields = dict(row)
    fields["tags"] = msgspec.json.decode(fields["tags"], type=dict[str, str])
    fields["functions"] = msgspec.json.decode(fields["functions"], type=list[dict[str, Any]])
    return NodeRecord(**fields)
