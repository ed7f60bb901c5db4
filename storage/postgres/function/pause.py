"""Pausing and resuming a function. Relays hear of it by message and, at the latest, at their next slow poll."""

from typing import Any
from uuid import UUID

from storage.postgres.database import Connection
from waypost.function.model import FunctionPause

_PAUSE = """
insert into control.function_pause (environment_id, function, note, paused_by) values ($1, $2, $3, $4)
on conflict (environment_id, function) do update set note = excluded.note, paused_by = excluded.paused_by
returning environment_id, function, note, paused_by, paused_at
"""
_RESUME = "delete from control.function_pause where environment_id = $1 and function = $2 returning true"
_LIST = """
select environment_id, function, note, paused_by, paused_at from control.function_pause
where environment_id = $1 order by function
"""


async def pause(connection: Connection, environment_id: UUID, function: str, note: str, actor: str) -> FunctionPause:
    """Pause it; pausing again changes note and author, not since when."""
    return _pause(await connection.fetchrow(_PAUSE, environment_id, function, note, actor))


async def resume(connection: Connection, environment_id: UUID, function: str) -> bool:
    """True when it was paused."""
    return await connection.fetchval(_RESUME, environment_id, function) is not None


async def list_pauses(connection: Connection, environment_id: UUID) -> list[FunctionPause]:
    """All pauses of the environment, by function."""
    return [_pause(row) for row in await connection.fetch(_LIST, environment_id)]


def _pause(row: Any) -> FunctionPause:
    return FunctionPause(*row)
