"""Time: UTC instants for people, monotonic seconds for waits.

Leases, due times and expiry are decided by Postgres' clock alone (decision 16); nothing here decides any of them.
"""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The current instant, aware, in UTC. For display and for ids; never for a lease."""
    return datetime.now(UTC)


monotonic = time.monotonic  # seconds that only go forward, for time-outs and back-off in this process


def rfc3339(instant: datetime) -> str:
    """`2026-11-21T09:00:00.123Z`: UTC, milliseconds, `Z` (native contract, preamble)."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
