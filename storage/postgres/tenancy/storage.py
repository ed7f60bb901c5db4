"""What the environments' buckets hold, as a worker last found it."""

from uuid import UUID

from storage.postgres.database import Connection

# An environment that was never measured is due at once; whoever takes one pushes its turn away, so that nobody else
# takes it, and it comes again when its taker dies.
_TAKE = """
with fresh as (
    insert into control.environment_storage (environment_id, bytes, objects)
    select e.id, 0, 0 from control.environment e
    where e.status in ('ready', 'suspended') and e.deleted_at is null
        and not exists (select from control.environment_storage s where s.environment_id = e.id)
    limit $1 on conflict do nothing
), due as (
    select s.environment_id from control.environment_storage s
    join control.environment e on e.id = s.environment_id and e.status in ('ready', 'suspended')
    where s.next_at <= now() order by s.next_at limit $1 for update of s skip locked
)
update control.environment_storage s set next_at = now() + $2::float8 * interval '1 second'
from due where s.environment_id = due.environment_id returning s.environment_id
"""
_KEEP = """
update control.environment_storage set bytes = $2, objects = $3, measured_at = now(),
    next_at = now() + $4::float8 * interval '1 second'
where environment_id = $1
"""
_BYTES = "select bytes from control.environment_storage where environment_id = $1"


async def stored_bytes(connection: Connection, environment_id: UUID) -> int:
    """What the bucket held when it was last measured; 0 before."""
    return int(await connection.fetchval(_BYTES, environment_id) or 0)


async def take_due(connection: Connection, most: int, seconds: float) -> list[UUID]:
    """Environments whose buckets are to be measured now; each is due again after so many seconds. One that was never
    measured is entered, and due from the next call on."""
    return [row["environment_id"] for row in await connection.fetch(_TAKE, most, seconds)]


async def keep_measured(connection: Connection, environment_id: UUID, size: int, objects: int, seconds: float) -> None:
    """Keep what was found (bytes, objects); due again after so many seconds. An environment that went meanwhile has no
    row any more, and gets none."""
    await connection.execute(_KEEP, environment_id, size, objects, seconds)
