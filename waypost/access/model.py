"""Roles, permissions, and who is asking (governance contract §3)."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class Role(StrEnum):
    ORG_ADMIN = "org_admin"
    PROJECT_ADMIN = "project_admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Permission(StrEnum):
    VIEW_ORG = "ViewOrg"
    MANAGE_ORG_MEMBERSHIPS = "ManageOrgMemberships"
    VIEW_PROJECT = "ViewProject"
    MANAGE_PROJECT = "ManageProject"
    OPERATE_PROJECT = "OperateProject"
    VIEW_ENVIRONMENT = "ViewEnvironment"
    MANAGE_ENVIRONMENT = "ManageEnvironment"
    OPERATE_ENVIRONMENT = "OperateEnvironment"


class PrincipalKind(StrEnum):
    """What kind of credential spoke; kinds never stand in for one another."""

    ORGANIZATION_KEY = "organization_key"  # wp_…
    ENVIRONMENT_KEY = "environment_key"  # wpe_…
    PERSON = "person"  # somebody who signed in: a session's cookie, or wps_…
    TRIGGER = "trigger"  # a webhook whose signature was right, a schedule that was due
    NODE = "node"  # a compute node, with the token of its stream: puts and gets artifacts, nothing else
    SYSTEM = "system"  # the platform itself: `waypost up`, a platform job


_ACTORS = {PrincipalKind.NODE: "node", PrincipalKind.PERSON: "person", PrincipalKind.TRIGGER: "trigger"}


class Scope(msgspec.Struct, frozen=True):
    """What is addressed: an organization, a project of it, or an environment of that."""

    organization_id: UUID
    project_id: UUID | None = None
    environment_id: UUID | None = None


class Grant(msgspec.Struct, frozen=True):
    """A role somewhere: in a whole organization, in one project of it, or confined to one environment."""

    organization_id: UUID
    role: Role
    project_id: UUID | None = None
    environment_id: UUID | None = None

    @property
    def place(self) -> UUID:
        """The id of the smallest thing that it names."""
        return self.environment_id or self.project_id or self.organization_id


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller, whatever the credential. A key has one grant, a person one for each membership."""

    kind: PrincipalKind
    id: UUID  # of the key, or of the person
    grants: tuple[Grant, ...]
    public_id: str = ""  # of the key or session
    name: str = ""
    expires_at: datetime | None = None  # of the credential
    session_id: UUID | None = None  # a person's
    placed: dict[UUID, Grant] = {}  # each by its place; made from `grants`
    organizations: frozenset[UUID] = frozenset()  # that it can see at all; made from `grants`
    places: frozenset[UUID] = frozenset()  # the keys of `placed`; made from `grants`
    confined: frozenset[UUID] = frozenset()  # organizations in which it has single environments only; from `grants`

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "placed", {grant.place: grant for grant in self.grants})
        msgspec.structs.force_setattr(self, "places", frozenset(self.placed))
        organizations = frozenset(grant.organization_id for grant in self.grants)
        at_large = frozenset(grant.organization_id for grant in self.grants if grant.environment_id is None)
        msgspec.structs.force_setattr(self, "organizations", organizations)
        msgspec.structs.force_setattr(self, "confined", organizations - at_large)

    @property
    def actor(self) -> str:
        """As audit and `submitted_by` say: `key:<id>`, `person:<id>`, `trigger:<id>`, `node:<credential>`, `system`."""
        if self.kind is PrincipalKind.SYSTEM:
            return "system"
        return f"{_ACTORS.get(self.kind, 'key')}:{self.id}"

    @property
    def organization_id(self) -> UUID:
        """A key's organization. Raises ValueError for a caller of none or of several: ask for a place instead."""
        (found,) = self.organizations
        return found


class Member(msgspec.Struct, frozen=True):
    """One membership: a person's role in an organization, or in one project of it."""

    id: UUID
    organization_id: UUID
    project_id: UUID | None
    person_id: UUID
    email: str
    person_name: str
    role: Role
    created_by: str
    created_at: datetime
    updated_at: datetime
    row_version: int = 1


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as it is kept: never its text. `environment_id` None is a key of the whole organization."""

    id: UUID
    public_id: str
    organization_id: UUID
    environment_id: UUID | None
    name: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaced_by: UUID | None = None
    last_used_at: datetime | None = None

    @property
    def principal(self) -> Principal:
        """Who speaks with this key."""
        kind = PrincipalKind.ORGANIZATION_KEY if self.environment_id is None else PrincipalKind.ENVIRONMENT_KEY
        grant = Grant(self.organization_id, self.role, environment_id=self.environment_id)
        return Principal(kind, self.id, (grant,), self.public_id, self.name, self.expires_at)


class NodeCredential(msgspec.Struct, frozen=True):
    """What a compute node joins with; `allowed_tags` and `functions` None mean any."""

    id: UUID
    environment_id: UUID
    client_id: str
    name: str
    allowed_tags: tuple[str, ...] | None
    functions: tuple[str, ...] | None
    created_by: str
    created_at: datetime
    last_used_at: datetime | None = None
