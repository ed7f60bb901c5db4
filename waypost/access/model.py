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
    SYSTEM = "system"  # the platform itself: `waypost up`, a platform job


class Scope(msgspec.Struct, frozen=True):
    """What is addressed: an organization, a project of it, or an environment of that."""

    organization_id: UUID
    project_id: UUID | None = None
    environment_id: UUID | None = None


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller. `environment_id` is set for a key that is confined to one environment."""

    kind: PrincipalKind
    id: UUID  # of the key
    organization_id: UUID
    role: Role
    environment_id: UUID | None = None
    public_id: str = ""

    @property
    def actor(self) -> str:
        """How audit and `submitted_by` name the caller: `key:<id>` or `system`."""
        return "system" if self.kind is PrincipalKind.SYSTEM else f"key:{self.id}"


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
        return Principal(kind, self.id, self.organization_id, self.role, self.environment_id, self.public_id)


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
