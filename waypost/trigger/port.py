"""What the operations on triggers need: one unit of work, begun and ended by the caller."""

from typing import Protocol
from uuid import UUID

from waypost.audit.model import AuditEntry
from waypost.trigger.model import Trigger


class TriggerUnit(Protocol):
    """Changes to the triggers of one environment inside one transaction."""

    async def add_trigger(self, trigger: Trigger) -> None: ...

    async def lock_trigger(self, environment_id: UUID, trigger_id: UUID) -> Trigger | None:
        """The trigger as it is, held until the commit; None when there is none, or it was deleted."""

    async def replace_trigger(self, changed: Trigger) -> Trigger:
        """Keep name, job, settings and pause of a held trigger; as it is then, with the next `row_version`."""

    async def delete_trigger(self, environment_id: UUID, trigger_id: UUID) -> None:
        """Hide a held trigger, and destroy its secrets and its place among the schedules."""

    async def next_secret(self, trigger_id: UUID) -> int:
        """The ordinal of the next secret of a held trigger."""

    async def add_secret(self, environment_id: UUID, trigger_id: UUID, ordinal: int, sealed: bytes) -> None: ...

    async def expire_secrets(self, trigger_id: UUID, before: int, overlap_seconds: float) -> None:
        """The secret before ordinal `before` ends so many seconds from now, those before it at once."""

    async def place_schedule(self, trigger: Trigger) -> None:
        """A schedule is due by its settings from now on, by Postgres' clock; everything before counts as decided. While
        it is paused: not until it is placed again."""

    async def add_audit(self, entry: AuditEntry) -> None: ...
