"""The unit of work of people over one open transaction (waypost.person.port.PersonUnit)."""

from datetime import timedelta
from uuid import UUID

from storage.postgres.access.membership import insert_member
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.person.invitation import insert_invitation, set_taker, take_invitation
from storage.postgres.person.person import insert_person
from waypost.access.model import Role
from waypost.audit.model import AuditEntry
from waypost.ids import new_id
from waypost.person.model import Invitation, Person


class PostgresPeople:
    """`connection` is inside `Database.unit()`; the caller's commit makes it all durable or none of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_person(self, person: Person, password_hash: str | None) -> bool:
        return await insert_person(self._connection, person, password_hash)

    async def add_member(
        self, organization_id: UUID, project_id: UUID | None, person_id: UUID, role: Role, created_by: str
    ) -> bool:
        return await insert_member(
            self._connection,
            new_id(),
            organization_id=organization_id,
            project_id=project_id,
            person_id=person_id,
            role=role,
            created_by=created_by,
        )

    async def add_invitation(
        self, invitation: Invitation, public_id: str, token_hash: bytes, life: timedelta
    ) -> Invitation:
        return await insert_invitation(self._connection, invitation, public_id, token_hash, life)

    async def take_invitation(self, invitation_id: UUID) -> bool:
        return await take_invitation(self._connection, invitation_id)

    async def set_taker(self, invitation_id: UUID, person_id: UUID) -> None:
        await set_taker(self._connection, invitation_id, person_id)

    async def add_audit(self, entry: AuditEntry) -> None:
        await insert_audit(self._connection, entry)
