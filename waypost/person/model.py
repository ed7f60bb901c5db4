"""People, their invitations and their sessions. None of these holds a password or the text of a credential."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from waypost.access.model import Role

INVITATION_LIFE = timedelta(days=7)
LONGEST_INVITATION = timedelta(days=30)
SHORTEST_INVITATION = timedelta(minutes=1)

SESSION_LIFE = timedelta(hours=12)  # whatever happens
SESSION_IDLE = timedelta(hours=1)  # without a request
IDLE_GRAIN = timedelta(minutes=1)  # last use is written at most this often


class Person(msgspec.Struct, frozen=True):
    """Somebody who can sign in. `email_folded` is what makes two addresses the same; `email` is as it was given."""

    id: UUID
    email: str
    email_folded: str
    name: str
    created_at: datetime
    created_by: str | None = None
    disabled_at: datetime | None = None
    row_version: int = 1

    @property
    def actor(self) -> str:
        """How audit and `created_by` name a person."""
        return f"person:{self.id}"


class Invitation(msgspec.Struct, frozen=True):
    """An offer of one membership to whoever holds its token: once, until it expires or is revoked."""

    id: UUID
    organization_id: UUID
    project_id: UUID | None
    email: str
    email_folded: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None = None


class Session(msgspec.Struct, frozen=True):
    """One log-in of one person. `bearer` says that its token goes in the Authorization header, not in a cookie."""

    id: UUID
    person_id: UUID
    public_id: str
    bearer: bool
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    source_address: str | None = None
    user_agent: str | None = None


class Patience(msgspec.Struct, frozen=True):
    """How many attempts go free, how long the longest wait between two later ones is, and when all is forgotten."""

    free: int
    longest_seconds: float
    window_seconds: float = 3600.0


# An account's wait is short: it is also what somebody can do to the person whose account it is.
ACCOUNT_PATIENCE = Patience(free=5, longest_seconds=60.0)
ADDRESS_PATIENCE = Patience(free=30, longest_seconds=300.0)  # many people can share one
