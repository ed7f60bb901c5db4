"""What an audit entry says, where a change comes from, and what a seal is (decision 30)."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class Outcome(StrEnum):
    """How it ended: `denied` was refused by who may do what, `failed` was tried and came to nothing."""

    DONE = "done"
    DENIED = "denied"
    FAILED = "failed"


class Origin(msgspec.Struct, frozen=True):
    """Who asks and from where, for entries that do not say it themselves. `actor_kind` is a `PrincipalKind`, or a word
    of the edge's own for who is nobody yet: `unknown_key`, `address`."""

    actor: str = "system"
    actor_kind: str = "system"
    request_id: str | None = None
    source_address: str | None = None
    project_id: UUID | None = None
    environment_id: UUID | None = None


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what to which thing, and how it ended. `details` never holds a secret or a body.

    `organization_id` None: nobody knows whose it is, as for a log-in of somebody unknown. `actor_kind` and
    `source_address` None: as the unit of work's origin says. The instant is Postgres' own (decision 16).
    """

    id: UUID
    organization_id: UUID | None
    actor: str
    action: str  # "environment.create"
    target: str  # "environment:<id>"
    outcome: str = Outcome.DONE.value
    project_id: UUID | None = None
    environment_id: UUID | None = None
    request_id: str | None = None
    source_address: str | None = None
    details: dict[str, str] | None = None
    actor_kind: str | None = None
    count: int = 1  # of the same denial within one minute


class Position(msgspec.Struct, frozen=True, order=True):
    """Where an entry stands: the transaction that wrote it, then its id. Nothing is ever added before the oldest
    transaction in progress, so what lies below that can be sealed (decision 31)."""

    transaction: int
    id: UUID


class WrittenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is kept."""

    id: UUID
    at: datetime
    transaction: int
    organization_id: UUID | None
    project_id: UUID | None
    environment_id: UUID | None
    actor: str
    actor_kind: str
    action: str
    target: str
    outcome: str
    count: int
    request_id: str | None
    source_address: str | None
    details: dict[str, str] | None

    @property
    def position(self) -> Position:
        return Position(self.transaction, self.id)


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of entries is narrowed to; None is no narrowing. `action` is `noun.verb` or `noun.*`."""

    organization_id: UUID | None = None
    project_id: UUID | None = None
    environment_id: UUID | None = None
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
