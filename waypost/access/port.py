"""What the operations on access need: one unit of work, begun and ended by the caller."""

from typing import Protocol
from uuid import UUID

from waypost.access.model import Member, Role
from waypost.audit.model import AuditEntry


class AccessUnit(Protocol):
    """Changes to who may do what, inside one transaction."""

    async def add_member(
        self, member_id: UUID, organization_id: UUID, project_id: UUID | None, person_id: UUID, role: Role, actor: str
    ) -> bool:
        """False when the person has a role there already; that one stays."""

    async def find_member(self, organization_id: UUID, project_id: UUID | None, person_id: UUID) -> UUID | None:
        """The id of a person's membership in exactly that place."""

    async def read_member(self, organization_id: UUID, member_id: UUID) -> Member | None: ...

    async def change_member(self, organization_id: UUID, member_id: UUID, role: Role) -> None: ...

    async def remove_member(self, organization_id: UUID, member_id: UUID) -> None: ...

    async def hold_organization(self, organization_id: UUID) -> None:
        """Until the commit nobody else holds it: administrators are taken away one after another."""

    async def another_admin(self, organization_id: UUID, person_id: UUID | None, key_id: UUID | None) -> bool:
        """Whether anybody but this person and this key administers it: a person not disabled, or a live key."""

    async def add_audit(self, entry: AuditEntry) -> None: ...
