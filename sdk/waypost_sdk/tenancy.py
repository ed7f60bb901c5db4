"""Organizations, projects, environments, people and keys as structs: native contract, sections 1 and 2.

Fields that this version does not know are ignored. Instants are aware datetimes in UTC. `etag` is the answer's header:
give it back as `if_match` to change only what you have seen.
"""

from datetime import datetime
from typing import Any

import msgspec

_ENDS = frozenset({"failed", "deleted"})
_UNDER_WAY = frozenset({"provisioning", "deleting"})


class Organization(msgspec.Struct, kw_only=True):
    """An organization. `admin_key` is there only in the answer to its creation."""

    id: str
    slug: str
    name: str
    settings: dict[str, Any] = {}  # names and values that mean something to the organization only
    limits: dict[str, int] = {}  # in force
    limit_sources: dict[str, str] = {}  # where each comes from
    admin_key: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None


class Project(msgspec.Struct, kw_only=True):
    """A project: environments that belong together. `status` is active or deleting."""

    id: str
    slug: str
    name: str
    organization_id: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    status: str | None = None
    etag: str | None = None

    @property
    def settled(self) -> bool:
        """Whether it is not being deleted."""
        return self.status != "deleting"


class EnvironmentStep(msgspec.Struct, kw_only=True):
    """One step of what is done to an environment, or was done last; `phase` is provision, suspend, resume or delete.

    `state` is pending, running, done or failed.
    """

    name: str
    state: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    phase: str | None = None


class Environment(msgspec.Struct, kw_only=True):
    """An environment: `status` is provisioning, ready, failed, suspended, deleting or deleted."""

    id: str
    slug: str
    name: str
    posture: str | None = None
    backend: str | None = None
    tenancy: str | None = None
    status: str | None = None
    status_reason: str | None = None
    steps: list[EnvironmentStep] | None = None
    limits: dict[str, int] = {}  # in force
    limit_sources: dict[str, str] = {}  # where each comes from
    retention: dict[str, int] = {}  # days in force
    retention_sources: dict[str, str] = {}
    organization_id: str | None = None
    project_id: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is being done to it. Suspending and resuming change the status first and do the rest then."""
        if self.status in _ENDS:
            return True
        busy = any(step.state in ("pending", "running") for step in self.steps or ())
        return self.status not in _UNDER_WAY and not busy


class Retention(msgspec.Struct, kw_only=True):
    """How many days an environment's things are kept, where each number comes from, and the most that there may be.

    `removed` counts what the last sweep took.
    """

    retention: dict[str, int] = {}
    sources: dict[str, str] = {}
    most: dict[str, int] = {}
    swept_at: datetime | None = None
    removed: dict[str, int] = {}
    next_at: datetime | None = None


class Going(msgspec.Struct, kw_only=True):
    """What would go of one kind: `count` of them, with `more` at least so many."""

    count: int = 0
    more: bool = False
    oldest: datetime | None = None


class RetentionPreview(msgspec.Struct, kw_only=True):
    """What a sweep would take with these days."""

    retention: dict[str, int] = {}
    going: dict[str, Going] = {}


class Key(msgspec.Struct, kw_only=True):
    """An API key. `key`, its whole text, is there only in the answer to its creation or rotation."""

    id: str
    name: str
    role: str | None = None
    public_id: str | None = None
    key: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    replaced_by: str | None = None
    etag: str | None = None


class Person(msgspec.Struct, kw_only=True):
    """Somebody who signs in."""

    id: str
    email: str
    name: str | None = None
    created_at: datetime | None = None


class Member(msgspec.Struct, kw_only=True):
    """A person's role in an organization, or in one project of it when `project_id` is there."""

    id: str
    person: Person
    role: str
    project_id: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None


class Invitation(msgspec.Struct, kw_only=True):
    """An offer of one role to whoever holds its link; `link` and `token` are there only in the answer that made it."""

    id: str
    email: str
    role: str
    project_id: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    link: str | None = None
    token: str | None = None


class Accepted(msgspec.Struct, kw_only=True):
    """What accepting an invitation gave."""

    person: Person
    organization: Organization
    role: str
    project_id: str | None = None


class Session(msgspec.Struct, kw_only=True):
    """A person signed in. `access_token` is there only in the answer that made it; a list has the other fields."""

    id: str
    expires_at: datetime | None = None
    person: Person | None = None
    access_token: str | None = None
    kind: str | None = None  # cookie or bearer
    current: bool | None = None  # the one that asks
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    source_address: str | None = None
    user_agent: str | None = None


class Named(msgspec.Struct, kw_only=True):
    """An organization, a project or an environment, by its names only."""

    id: str
    slug: str
    name: str | None = None


class HeldRole(msgspec.Struct, kw_only=True):
    """A role and where it counts: in the smallest of the three that is there."""

    role: str
    organization: Named
    project: Named | None = None
    environment: Named | None = None

    @property
    def where(self) -> str:
        """`org`, `org/project` or `org/project/environment`."""
        return "/".join(part.slug for part in (self.organization, self.project, self.environment) if part)


class Place(msgspec.Struct, kw_only=True):
    """What was asked about, and in `because` which role counts there and why that one."""

    organization_id: str
    project_id: str | None = None
    environment_id: str | None = None
    because: str = ""


class Allowed(msgspec.Struct, kw_only=True):
    """Whether a credential has one permission in a place, and why."""

    permission: str
    allowed: bool
    reason: str = ""


class WhoAmI(msgspec.Struct, kw_only=True):
    """Who speaks with a credential: `kind` is organization_key, environment_key or person.

    `place` and `permissions` are of the place that was asked about.
    """

    kind: str
    id: str
    name: str = ""
    actor: str = ""
    email: str | None = None  # of a person
    public_id: str | None = None
    session_id: str | None = None  # of a person
    expires_at: datetime | None = None
    roles: list[HeldRole] = []
    place: Place | None = None
    permissions: list[Allowed] = []

    @property
    def who(self) -> str:
        """The person's address, or the kind and name of the key."""
        return self.email or f'{self.kind.replace("_", " ")} "{self.name or self.id}"'

    @property
    def home(self) -> str | None:
        """Where its only role is; the organization when it has several roles in one; None otherwise."""
        if len(self.roles) == 1:
            return self.roles[0].where
        organizations = {role.organization.slug for role in self.roles}
        return organizations.pop() if len(organizations) == 1 else None
