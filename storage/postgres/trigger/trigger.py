"""Triggers and their sealed secrets. Refuses: to know a secret, and to show one to an environment's role."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.job.model import JobSpec
from waypost.trigger.model import Kind, Trigger, TriggerSecret

COLUMNS = """
id, environment_id, kind, name, job, settings, created_by, created_at, updated_at, paused_at, paused_by, row_version
"""
_INSERT = f"""
insert into control.trigger ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""  # noqa: S608 - constants only
_READ = f"""
select {COLUMNS} from control.trigger where environment_id = $1 and id = $2 and deleted_at is null
"""  # noqa: S608 - constants only
_FIND = f"""
select {COLUMNS} from control.trigger where id = $1 and deleted_at is null
"""  # noqa: S608 - constants only
_LIST = f"""
select {COLUMNS} from control.trigger
where environment_id = $1 and deleted_at is null and ($2::uuid is null or id < $2) and ($4::text is null or kind = $4)
order by id desc limit $3
"""  # noqa: S608 - constants only
_REPLACE = f"""
update control.trigger
set name = $3, job = $4, settings = $5, paused_at = $6, paused_by = $7, row_version = row_version + 1,
    updated_at = now()
where environment_id = $1 and id = $2 and deleted_at is null
returning {COLUMNS}
"""  # noqa: S608 - constants only
_DELETE = """
update control.trigger set deleted_at = now(), row_version = row_version + 1 where environment_id = $1 and id = $2
"""
_FORGET = (
    "delete from control.trigger_secret where trigger_id = $1",
    "delete from control.schedule where trigger_id = $1",
)
_NEXT_ORDINAL = "select coalesce(max(ordinal), 0) + 1 from control.trigger_secret where trigger_id = $1"
_INSERT_SEALED = """
insert into control.trigger_secret (trigger_id, environment_id, ordinal, sealed) values ($1, $2, $3, $4)
"""
_EXPIRE = """
update control.trigger_secret set expires_at = least(expires_at, now() + $3::float8 * interval '1 second')
where trigger_id = $1 and ordinal < $2
"""
_DROP = """
delete from control.trigger_secret where trigger_id = $1 and (ordinal < $2 - 1 or expires_at <= now())
"""
_SECRETS = """
select ordinal, sealed, created_at, expires_at from control.trigger_secret
where trigger_id = $1 and (expires_at is null or expires_at > now()) order by ordinal desc
"""


async def insert_trigger(connection: Connection, trigger: Trigger) -> None:
    t = trigger
    await connection.execute(
        _INSERT, t.id, t.environment_id, t.kind.value, t.name, _text(t.job), _text(t.settings), t.created_by,
        t.created_at, t.updated_at, t.paused_at, t.paused_by, t.row_version,
    )  # fmt: skip


async def read_trigger(
    connection: Connection, environment_id: UUID, trigger_id: UUID, *, lock: bool = False
) -> Trigger | None:
    """A live trigger of the environment; with `lock` held until the commit."""
    row = await connection.fetchrow(_READ + ("for update" if lock else ""), environment_id, trigger_id)
    return None if row is None else trigger_of(row)


async def find_trigger(connection: Connection, trigger_id: UUID) -> Trigger | None:
    """A live trigger of whatever environment, for the public door."""
    row = await connection.fetchrow(_FIND, trigger_id)
    return None if row is None else trigger_of(row)


async def list_triggers(
    connection: Connection, environment_id: UUID, *, before: UUID | None, limit: int, kind: Kind | None = None
) -> list[Trigger]:
    """Newest first, older than `before`."""
    rows = await connection.fetch(_LIST, environment_id, before, limit, kind)
    return [trigger_of(row) for row in rows]


async def replace_trigger(connection: Connection, changed: Trigger) -> Trigger:
    t = changed
    row = await connection.fetchrow(
        _REPLACE, t.environment_id, t.id, t.name, _text(t.job), _text(t.settings), t.paused_at, t.paused_by
    )
    return trigger_of(row)


async def delete_trigger(connection: Connection, environment_id: UUID, trigger_id: UUID) -> None:
    """Hide it; its secrets and its place among the schedules are gone. Its firings and jobs stay."""
    await connection.execute(_DELETE, environment_id, trigger_id)
    for statement in _FORGET:
        await connection.execute(statement, trigger_id)


async def next_secret(connection: Connection, trigger_id: UUID) -> int:
    ordinal: int = await connection.fetchval(_NEXT_ORDINAL, trigger_id)
    return ordinal


async def insert_secret(
    connection: Connection, environment_id: UUID, trigger_id: UUID, ordinal: int, sealed: bytes
) -> None:
    await connection.execute(_INSERT_SEALED, trigger_id, environment_id, ordinal, sealed)


async def expire_secrets(connection: Connection, trigger_id: UUID, before: int, overlap_seconds: float) -> None:
    """The secret before `before` ends so many seconds from now, or when it would have; older ones go at once."""
    await connection.execute(_EXPIRE, trigger_id, before, overlap_seconds)
    await connection.execute(_DROP, trigger_id, before)


async def read_secrets(connection: Connection, trigger_id: UUID) -> Sequence[TriggerSecret]:
    """Those that are valid now, by Postgres' clock, the newest first."""
    return [TriggerSecret(**row) for row in await connection.fetch(_SECRETS, trigger_id)]


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def trigger_of(row: Mapping[str, Any]) -> Trigger:
    """The trigger of a row of `COLUMNS`."""
    fields = dict(row)
    fields["kind"] = Kind(fields["kind"])
    fields["job"] = msgspec.json.decode(fields["job"], type=JobSpec)
    fields["settings"] = msgspec.json.decode(fields["settings"])
    return Trigger(**fields)
