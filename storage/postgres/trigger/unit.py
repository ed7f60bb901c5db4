"""The unit of work of triggers over one open transaction (waypost.trigger.port.TriggerUnit)."""

from uuid import UUID

from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.trigger import trigger as rows
from storage.postgres.trigger.schedule import put_schedule
from waypost.audit.model import AuditEntry, Origin
from waypost.trigger.model import Trigger


class PostgresTriggers:
    """`connection` is inside `Database.unit()`; the caller's commit makes it all durable or none of it."""

    def __init__(self, connection: Connection, origin: Origin) -> None:
        """`origin`: who asks and from where, for the audit entries."""
        self._connection, self._origin = connection, origin

    async def add_trigger(self, trigger: Trigger) -> None:
        await rows.insert_trigger(self._connection, trigger)

    async def lock_trigger(self, environment_id: UUID, trigger_id: UUID) -> Trigger | None:
        return await rows.read_trigger(self._connection, environment_id, trigger_id, lock=True)

    async def replace_trigger(self, changed: Trigger) -> Trigger:
        return await rows.replace_trigger(self._connection, changed)

    async def delete_trigger(self, environment_id: UUID, trigger_id: UUID) -> None:
        await rows.delete_trigger(self._connection, environment_id, trigger_id)

    async def next_secret(self, trigger_id: UUID) -> int:
        return await rows.next_secret(self._connection, trigger_id)

    async def add_secret(self, environment_id: UUID, trigger_id: UUID, ordinal: int, sealed: bytes) -> None:
        await rows.insert_secret(self._connection, environment_id, trigger_id, ordinal, sealed)

    async def expire_secrets(self, trigger_id: UUID, before: int, overlap_seconds: float) -> None:
        await rows.expire_secrets(self._connection, trigger_id, before, overlap_seconds)

    async def place_schedule(self, trigger: Trigger) -> None:
        await put_schedule(self._connection, trigger)

    async def add_audit(self, entry: AuditEntry) -> None:
        await insert_audit(self._connection, entry, self._origin)
