"""The limits: their names, whom they bind, their built-in defaults and bounds (docs/limits.md has the same table).

A limit of an organization counts what the organization has. A limit of an environment counts what one environment has;
an organization can hold a value for it too, which is then the most for each of its environments.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from waypost.job.model import MAX_PAYLOAD_BYTES
from waypost.route.model import MAX_ROUTES_PER_ENVIRONMENT


class Level(StrEnum):
    ORGANIZATION = "organization"
    ENVIRONMENT = "environment"


class Source(StrEnum):
    """Where the value in force comes from."""

    DEFAULT = "default"  # of the settings
    ORGANIZATION = "organization"  # the operator set it for the organization
    ENVIRONMENT = "environment"  # whoever manages the environment lowered it


class Limit(msgspec.Struct, frozen=True):
    """One limit: at which level it counts, its default, and between what a value lies."""

    name: str
    level: Level
    default: int
    meaning: str
    least: int = 0
    most: int = 10**15


PROJECTS = "projects"
ENVIRONMENTS = "environments"
MEMBERS = "members"
ORGANIZATION_KEYS = "organization_keys"
REQUESTS = "requests_per_second"
SUBMISSIONS = "submissions_per_second"
WAITING_JOBS = "waiting_jobs"
PAYLOAD_BYTES = "payload_bytes"
STORED_BYTES = "stored_bytes"
LOG_BYTES = "log_bytes"
NODES = "nodes"
NODE_CREDENTIALS = "node_credentials"
ENVIRONMENT_KEYS = "environment_keys"
ROUTES = "routes"

_LIMITS = (
    Limit(PROJECTS, Level.ORGANIZATION, 1_000, "projects"),
    Limit(ENVIRONMENTS, Level.ORGANIZATION, 1_000, "environments, of all projects"),
    Limit(MEMBERS, Level.ORGANIZATION, 20_000, "memberships and open invitations"),
    Limit(ORGANIZATION_KEYS, Level.ORGANIZATION, 1_000, "API keys of the organization (`wp_…`)"),
    Limit(REQUESTS, Level.ORGANIZATION, 20_000, "API requests a second of each credential", 1, 10**9),
    Limit(SUBMISSIONS, Level.ENVIRONMENT, 200_000, "jobs submitted a second", 1, 10**9),
    Limit(WAITING_JOBS, Level.ENVIRONMENT, 5_000_000, "jobs that wait, for whatever reason"),
    Limit(PAYLOAD_BYTES, Level.ENVIRONMENT, MAX_PAYLOAD_BYTES, "bytes of one job's payload", 0, MAX_PAYLOAD_BYTES),
    Limit(STORED_BYTES, Level.ENVIRONMENT, 1 << 40, "bytes of objects in the environment's bucket"),
    Limit(LOG_BYTES, Level.ENVIRONMENT, 4 << 20, "bytes of one attempt's log", 0, 64 << 20),
    Limit(NODES, Level.ENVIRONMENT, 20_000, "compute nodes connected"),
    Limit(NODE_CREDENTIALS, Level.ENVIRONMENT, 1_000, "node credentials"),
    Limit(ENVIRONMENT_KEYS, Level.ENVIRONMENT, 1_000, "API keys of the environment (`wpe_…`)"),
    Limit(
        ROUTES,
        Level.ENVIRONMENT,
        MAX_ROUTES_PER_ENVIRONMENT,
        "different (function, selectors) that jobs were submitted with",
        MAX_ROUTES_PER_ENVIRONMENT,
        MAX_ROUTES_PER_ENVIRONMENT,
    ),
)

LIMITS: Mapping[str, Limit] = MappingProxyType({limit.name: limit for limit in _LIMITS})

BURST_SECONDS = 2  # a rate allows so many seconds' worth at once after a pause


class Limits(msgspec.Struct, frozen=True):
    """The values in force at one place, and where each comes from. `values[name]` for every limit of `LIMITS`."""

    values: Mapping[str, int]
    sources: Mapping[str, Source]

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    def at(self, level: Level | None) -> tuple[dict[str, int], dict[str, Source]]:
        """Values and sources of one level, or of both (None), to be shown."""
        names = [name for name, limit in LIMITS.items() if level is None or limit.level is level]
        return {name: self.values[name] for name in names}, {name: self.sources[name] for name in names}
