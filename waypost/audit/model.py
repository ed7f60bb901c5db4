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


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """Equal refusals of one minute. `public_id` is that of a credential which proved nothing: it tells at most in whose
    audit the denial belongs."""

    actor: str
    actor_kind: str
    action: str
    target: str
    count: int = 1
    organization_id: UUID | None = None
    project_id: UUID | None = None
    environment_id: UUID | None = None
    request_id: str | None = None
    source_address: str | None = None
    details: dict[str, str] | None = None
    public_id: str | None = None


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


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of entries, in order, and its link in the chain.

    It covers every entry after the batch before it, up to and including `until`. `entries` holds 48 bytes for each: id
    and SHA-256; `content` is the SHA-256 of that; `root` the SHA-256 of everything else here, `previous` with it: the
    root of the batch before (zeros for the first).
    """

    number: int
    first: Position
    last: Position
    until: Position
    count: int
    first_at: datetime
    last_at: datetime
    entries: bytes
    content: bytes
    previous: bytes
    root: bytes


class Anchor(msgspec.Struct, frozen=True):
    """Where the chain begins: the last batch that retention dropped. Number 0 is the very beginning."""

    number: int
    root: bytes
    until: Position


SWEEP_ACTION = "audit.sweep"  # of the entry that tells which entries an environment's own days took


class Sweep(msgspec.Struct, frozen=True):
    """Entries that are gone from sealed batches, and the entry that tells of them; None when that is gone itself."""

    entry: WrittenEntry | None
    swept: tuple[UUID, ...]


class Fault(StrEnum):
    """What is wrong with a sealed row or batch."""

    ALTERED = "altered"
    MISSING = "missing"
    ADDED = "added"


class Finding(msgspec.Struct, frozen=True):
    """The first thing that is not as it was sealed: an entry (by its id) or a whole batch, and in which batch."""

    fault: Fault
    batch: int
    entry: UUID | None
    sentence: str
