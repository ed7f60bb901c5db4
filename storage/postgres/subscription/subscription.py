"""Subscriptions and their sealed secrets, as rows. A deleted one keeps its row until retention, and no secret."""

from typing import Any
from uuid import UUID

from storage.postgres.database import Connection
from waypost.subscription.model import DisabledReason, Subscription

_COLUMNS = """
id, environment_id, url, events, description, disabled_at, disabled_reason, failing_since, row_version, created_by,
created_at, updated_at
"""
_INSERT = f"""
insert into control.subscription (id, environment_id, url, events, description, created_by)
values ($1, $2, $3, $4, $5, $6) returning {_COLUMNS}
"""  # noqa: S608 - constants only
_READ = f"""
select {_COLUMNS} from control.subscription where environment_id = $1 and id = $2 and deleted_at is null
"""  # noqa: S608 - constants only
_LOCK = f"{_READ} for no key update"
_LIST = f"""
select {_COLUMNS} from control.subscription
where environment_id = $1 and deleted_at is null and ($2::uuid is null or id < $2) order by id desc limit $3
"""  # noqa: S608 - constants only
_COUNT = "select count(*) from control.subscription where environment_id = $1 and deleted_at is null"
# Enabled again, it has failed nothing yet.
_UPDATE = f"""
update control.subscription set url = $3, events = $4, description = $5, row_version = row_version + 1,
    updated_at = now(),
    disabled_at = case when $6::text is not null then coalesce(disabled_at, now()) end,
    disabled_reason = $6,
    failing_since = case when $6::text is not null or disabled_at is null and url = $3 then failing_since end
where environment_id = $1 and id = $2 and deleted_at is null returning {_COLUMNS}
"""  # noqa: S608 - constants only
_TOUCH = f"""
update control.subscription set row_version = row_version + 1, updated_at = now()
where environment_id = $1 and id = $2 and deleted_at is null returning {_COLUMNS}
"""  # noqa: S608 - constants only
_DELETE = """
update control.subscription set deleted_at = now(), row_version = row_version + 1, updated_at = now()
where environment_id = $1 and id = $2 and deleted_at is null returning true
"""
_FORGET_SECRETS = "delete from control.subscription_secret where subscription_id = $1"
_EXPIRE_SECRETS = """
update control.subscription_secret set expires_at = now() + $2::float8 * interval '1 second'
where subscription_id = $1 and (expires_at is null or expires_at > now() + $2::float8 * interval '1 second')
"""
_FORGET_EXPIRED = "delete from control.subscription_secret where subscription_id = $1 and expires_at <= now()"
_ADD = """
insert into control.subscription_secret (subscription_id, environment_id, ordinal, sealed)
select $1, $2, coalesce(max(ordinal), 0) + 1, $3 from control.subscription_secret where subscription_id = $1
"""


async def insert_subscription(
    connection: Connection,
    subscription_id: UUID,
    environment_id: UUID,
    *,
    url: str,
    events: tuple[str, ...],
    description: str,
    created_by: str,
) -> Subscription:
    row = await connection.fetchrow(
        _INSERT, subscription_id, environment_id, url, list(events), description, created_by
    )
    return _subscription(row)


async def read_subscription(connection: Connection, environment_id: UUID, subscription_id: UUID) -> Subscription | None:
    row = await connection.fetchrow(_READ, environment_id, subscription_id)
    return None if row is None else _subscription(row)


async def lock_subscription(connection: Connection, environment_id: UUID, subscription_id: UUID) -> Subscription | None:
    """As it is, held until the commit."""
    row = await connection.fetchrow(_LOCK, environment_id, subscription_id)
    return None if row is None else _subscription(row)


async def list_subscriptions(
    connection: Connection, environment_id: UUID, *, before: UUID | None, limit: int
) -> list[Subscription]:
    """Newest first, older than `before`."""
    return [_subscription(row) for row in await connection.fetch(_LIST, environment_id, before, limit)]


async def count_subscriptions(connection: Connection, environment_id: UUID) -> int:
    return int(await connection.fetchval(_COUNT, environment_id))


async def update_subscription(connection: Connection, changed: Subscription) -> Subscription | None:
    """Keep URL, events, description and whether it is disabled; None when it is gone."""
    c = changed
    reason = None if c.disabled_reason is None else c.disabled_reason.value
    row = await connection.fetchrow(_UPDATE, c.environment_id, c.id, c.url, list(c.events), c.description, reason)
    return None if row is None else _subscription(row)


async def delete_subscription(connection: Connection, environment_id: UUID, subscription_id: UUID) -> bool:
    """Its secrets go now; what waits to be sent goes with the next sweep. False when it is gone already."""
    if await connection.fetchval(_DELETE, environment_id, subscription_id) is None:
        return False
    await connection.execute(_FORGET_SECRETS, subscription_id)
    return True


async def add_secret(connection: Connection, environment_id: UUID, subscription_id: UUID, sealed: bytes) -> None:
    """The newest secret, which signs first."""
    await connection.execute(_ADD, subscription_id, environment_id, sealed)


async def rotate_secret(
    connection: Connection, environment_id: UUID, subscription_id: UUID, sealed: bytes, overlap_seconds: float
) -> Subscription | None:
    """A new secret signs first; those before it sign too for `overlap_seconds` at most. None when it is gone."""
    row = await connection.fetchrow(_TOUCH, environment_id, subscription_id)
    if row is None:
        return None
    await connection.execute(_EXPIRE_SECRETS, subscription_id, overlap_seconds)
    await add_secret(connection, environment_id, subscription_id, sealed)
    await connection.execute(_FORGET_EXPIRED, subscription_id)
    return _subscription(row)


def _subscription(row: Any) -> Subscription:
    fields = dict(row)
    reason = fields["disabled_reason"]
    fields |= {"events": tuple(fields["events"]), "disabled_reason": None if reason is None else DisabledReason(reason)}
    return Subscription(**fields)
