"""Organizations, projects, environments and how an environment comes to be (native contract §2)."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class Posture(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class Status(StrEnum):
    """Of an environment. Only `ready` takes work."""

    PROVISIONING = "provisioning"
    READY = "ready"
    FAILED = "failed"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    DELETED = "deleted"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


PROVISION = "environment.provision"  # the platform job's kind

# In this order; each may be run again without harm.
PROVISION_STEPS = ("role", "schema", "row_security", "data_key", "signing_key", "bucket", "s3_key", "ready")

BACKENDS = frozenset({"postgres"})


class Organization(msgspec.Struct, frozen=True):
    id: UUID
    slug: str
    name: str
    created_at: datetime
    updated_at: datetime
    row_version: int = 1


class Project(msgspec.Struct, frozen=True):
    id: UUID
    organization_id: UUID
    slug: str
    name: str
    description: str
    created_at: datetime
    updated_at: datetime
    row_version: int = 1


class EnvironmentStep(msgspec.Struct, frozen=True):
    """One step of provisioning, as its reader sees it."""

    name: str
    state: StepState
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None


class Environment(msgspec.Struct, frozen=True):
    """An environment's record. `limits` holds only what differs from the defaults."""

    id: UUID
    organization_id: UUID
    project_id: UUID
    slug: str
    name: str
    posture: Posture
    backend: str
    tenancy: str
    database_cluster: str
    status: Status
    status_reason: str | None
    limits: dict[str, int]
    created_by: str
    created_at: datetime
    updated_at: datetime
    row_version: int = 1


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what to which thing, and how it ended. `details` never holds a secret or a body."""

    id: UUID
    organization_id: UUID
    actor: str
    action: str  # "environment.create"
    target: str  # "environment:<id>"
    outcome: str = "done"  # or "denied"
    project_id: UUID | None = None
    environment_id: UUID | None = None
    request_id: str | None = None
    source_address: str | None = None
    details: dict[str, str] | None = None
