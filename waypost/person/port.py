"""What the operations on people need: one unit of work, begun and ended by the caller."""

from datetime import timedelta
from typing import Protocol
from uuid import UUID

from waypost.access.model import Role
from waypost.audit.model import AuditEntry
from waypost.person.model import Invitation, Person


class PersonUnit(Protocol):
    """Changes to people inside one transaction."""

    async def add_person(self, person: Person, password_hash: str | None) -> bool:
        """False when somebody has this address."""

    async def add_member(
        self, organization_id: UUID, project_id: UUID | None, person_id: UUID, role: Role, created_by: str
    ) -> bool:
        """False when the person has a role there already; that one stays."""

    async def add_invitation(
        self, invitation: Invitation, public_id: str, token_hash: bytes, life: timedelta
    ) -> Invitation:
        """The invitation with the database's times."""

    async def take_invitation(self, invitation_id: UUID) -> bool:
        """Use it up; False when somebody has, or it was revoked or expired."""

    async def set_taker(self, invitation_id: UUID, person_id: UUID) -> None: ...

    async def add_audit(self, entry: AuditEntry) -> None: ...
