"""What a live stream of events asks, as the environment's role (`Database.as_environment`). Errors come back sealed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from waypost.subscription.model import DisabledReason

_ERRORS = """
select job_id, error from control.job_end where environment_id = $1 and job_id = any ($2::uuid[]) and error is not null
"""
_DISABLED = """
select id, disabled_reason, disabled_at, failing_since from control.subscription
where environment_id = $1 and disabled_at > $2 and disabled_reason <> 'asked' and deleted_at is null
order by disabled_at
"""


class Disabled(msgspec.Struct, frozen=True):
    """A subscription that the platform disabled."""

    subscription_id: UUID
    reason: DisabledReason
    at: datetime
    failing_since: datetime | None


async def read_errors(connection: Connection, environment_id: UUID, job_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The sealed errors of jobs that ended with one."""
    rows = await connection.fetch(_ERRORS, environment_id, list(job_ids))
    return {row["job_id"]: bytes(row["error"]) for row in rows}


async def read_disabled(connection: Connection, environment_id: UUID, since: datetime) -> list[Disabled]:
    """Subscriptions that were disabled after `since`, not on request, in the order of that."""
    return [
        Disabled(row["id"], DisabledReason(row["disabled_reason"]), row["disabled_at"], row["failing_since"])
        for row in await connection.fetch(_DISABLED, environment_id, since)
    ]
