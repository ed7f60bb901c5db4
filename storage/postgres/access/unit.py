"""The unit of work of access over one open transaction (waypost.access.port.AccessUnit)."""

from uuid import UUID

from storage.postgres.access import membership
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.tenancy.organization import lock_organization
from waypost.access.model import Member, Role
from waypost.audit.model import AuditEntry, Origin


class PostgresAccess:
    """`connection` is inside `Database.unit()`; the caller's commit makes it all durable or none of it."""

    def __init__(self, connection: Connection, origin: Origin) -> None:
        """`origin`: who asks and from where, for the audit entries."""
        self._connection, self._origin = connection, origin

    async def add_member(
        self, member_id: UUID, organization_id: UUID, project_id: UUID | None, person_id: UUID, role: Role, actor: str
    ) -> bool:
        return await membership.insert_member(
            self._connection,
            member_id,
            organization_id=organization_id,
            project_id=project_id,
            person_id=person_id,
            role=role,
            created_by=actor,
        )

    async def find_member(self, organization_id: UUID, project_id: UUID | None, person_id: UUID) -> UUID | None:
        return await membership.find_member(self._connection, organization_id, project_id, person_id)

    async def read_member(self, organization_id: UUID, member_id: UUID) -> Member | None:
        return await membership.read_member(self._connection, organization_id, member_id)

    async def change_member(self, organization_id: UUID, member_id: UUID, role: Role) -> None:
        await membership.change_member(self._connection, organization_id, member_id, role)

    async def remove_member(self, organization_id: UUID, member_id: UUID) -> None:
        await membership.delete_member(self._connection, organization_id, member_id)

    async def hold_organization(self, organization_id: UUID) -> None:
        await lock_organization(self._connection, organization_id)

    async def another_admin(self, organization_id: UUID, person_id: UUID | None, key_id: UUID | None) -> bool:
        return await membership.another_admin(self._connection, organization_id, person_id=person_id, key_id=key_id)

    async def add_audit(self, entry: AuditEntry) -> None:
        await insert_audit(self._connection, entry, self._origin)
