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


class Phase(StrEnum):
    """Which part of its life an environment is in; each has steps of its own."""

    PROVISION = "provision"
    SUSPEND = "suspend"
    RESUME = "resume"
    DELETE = "delete"

    @property
    def kind(self) -> str:
        """The kind of the platform job that does its steps."""
        return f"environment.{self.value}"


PROVISION = Phase.PROVISION.kind

# In this order; each may be run again without harm.
PROVISION_STEPS = ("role", "schema", "row_security", "data_key", "signing_key", "bucket", "s3_key", "ready")
SUSPEND_STEPS = ("login", "sessions")
RESUME_STEPS = ("login",)
DELETE_STEPS = (
    "jobs", "nodes", "running", "usage", "keys", "schema", "role", "bucket", "s3_user", "ledger", "gone",
)  # fmt: skip

BACKENDS = frozenset({"postgres"})


Setting = str | int | float | bool  # what an organization may keep under a name of its own


class ProjectStatus(StrEnum):
    """One that is `deleting` takes no environment; it is gone when its last environment is."""

    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


DELETE_PROJECT = "project.delete"  # the platform job's kind


class Organization(msgspec.Struct, frozen=True):
    """`settings` mean something to the organization only. `limits` holds what an operator set (waypost.limit)."""

    id: UUID
    slug: str
    name: str
    created_at: datetime
    updated_at: datetime
    row_version: int = 1
    settings: dict[str, Setting] = {}
    limits: dict[str, int] = {}


class Project(msgspec.Struct, frozen=True):
    id: UUID
    organization_id: UUID
    slug: str
    name: str
    description: str
    created_at: datetime
    updated_at: datetime
    row_version: int = 1
    status: ProjectStatus = ProjectStatus.ACTIVE


class EnvironmentStep(msgspec.Struct, frozen=True):
    """One step of the phase that the environment is in, as its reader sees it."""

    name: str
    state: StepState
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    phase: Phase = Phase.PROVISION


class Environment(msgspec.Struct, frozen=True):
    """An environment's record. `limits` and `retention` (days) hold only what differs from the defaults."""

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
    retention: dict[str, int] = {}
