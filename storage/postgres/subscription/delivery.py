"""Deliveries and their attempts as people read them, and asking for one again. Bodies come back sealed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.postgres.database import Connection
from waypost.ids import first_id_at
from waypost.subscription.model import Delivery, DeliveryAttempt, DeliveryState

_COLUMNS = """
d.id, d.subscription_id, d.event_id, d.event, d.state, d.attempts, d.status, d.error, d.finished_at,
(select q.due_at from control.delivery_queue q
    where q.environment_id = d.environment_id and q.delivery_id = d.id and q.claim is null) as next_attempt_at
"""
_LIST = f"""
select {_COLUMNS}, null::bytea as body from control.delivery d
where d.environment_id = $1 and d.subscription_id = $2 and ($3::uuid is null or d.id < $3)
    and ($4::text[] is null or d.state = any ($4)) and ($5::text[] is null or d.event = any ($5))
    and ($6::uuid is null or d.id >= $6) and ($7::uuid is null or d.id < $7)
    and ($8::uuid is null or d.event_id = $8)
order by d.id desc limit $9
"""  # noqa: S608 - constants only
_READ = f"""
select {_COLUMNS}, d.body from control.delivery d where d.environment_id = $1 and d.subscription_id = $2 and d.id = $3
"""  # noqa: S608 - constants only
_ATTEMPTS = """
select number, started_at, finished_at, duration_ms, status, error, response from control.delivery_attempt
where environment_id = $1 and subscription_id = $2 and delivery_id = $3 order by number
"""
_INSERT = """
with kept as (
    insert into control.delivery (environment_id, subscription_id, id, event_id, event, body)
    select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[])
    on conflict (subscription_id, event_id) do nothing
    returning environment_id, subscription_id, id
)
insert into control.delivery_queue (environment_id, subscription_id, delivery_id)
select environment_id, subscription_id, id from kept
"""
# The queue before the record, as a settlement locks them.
_LOCK = """
select from control.delivery_queue where environment_id = $1 and delivery_id = any ($2::uuid[])
order by delivery_id for update
"""
# One that waits is due now; one that is claimed is being sent; one that has ended begins a new round of attempts.
_AGAIN = """
with asked as (
    select id, attempts from control.delivery
    where environment_id = $1 and subscription_id = $2 and id = any ($3::uuid[]) for update
), open as (
    update control.delivery d set state = 'pending', finished_at = null from asked
    where d.environment_id = $1 and d.subscription_id = $2 and d.id = asked.id and d.state <> 'pending'
)
insert into control.delivery_queue as q (environment_id, subscription_id, delivery_id, number)
select $1, $2, id, attempts from asked
on conflict (environment_id, delivery_id) do update set due_at = now(), tries = 0 where q.claim is null
"""
_ENDED = """
select id from control.delivery
where environment_id = $1 and subscription_id = $2 and id >= $3 and id < $4 and state <> 'pending'
    and ($5::text is null or state = $5)
order by id limit $6
"""


class NewDelivery:
    """Rows to be inserted, column by column."""

    __slots__ = ("bodies", "environments", "event_ids", "events", "ids", "subscriptions")

    def __init__(self) -> None:
        self.environments: list[UUID] = []
        self.subscriptions: list[UUID] = []
        self.ids: list[UUID] = []
        self.event_ids: list[UUID] = []
        self.events: list[str] = []
        self.bodies: list[bytes] = []

    def add(
        self, environment_id: UUID, subscription_id: UUID, delivery_id: UUID, event_id: UUID, event: str, body: bytes
    ) -> None:
        self.environments.append(environment_id)
        self.subscriptions.append(subscription_id)
        self.ids.append(delivery_id)
        self.event_ids.append(event_id)
        self.events.append(event)
        self.bodies.append(body)


async def insert_deliveries(connection: Connection, new: NewDelivery) -> int:
    """Record and queue them; an event that its subscription has already is left out. Answers how many were new."""
    if not new.ids:
        return 0
    columns = (new.environments, new.subscriptions, new.ids, new.event_ids, new.events, new.bodies)
    return int((await connection.execute(_INSERT, *columns)).rpartition(" ")[2])


async def list_deliveries(
    connection: Connection,
    environment_id: UUID,
    subscription_id: UUID,
    *,
    states: Sequence[str] = (),
    events: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    event_id: UUID | None = None,
    before: UUID | None,
    limit: int,
) -> list[Delivery]:
    """Newest first, older than `before`, made from `since` to before `until`, of one event."""
    rows = await connection.fetch(
        _LIST,
        environment_id,
        subscription_id,
        before,
        list(states) or None,
        list(events) or None,
        None if since is None else first_id_at(since),
        None if until is None else first_id_at(until),
        event_id,
        limit,
    )
    return [_delivery(row) for row in rows]


async def read_delivery(
    connection: Connection, environment_id: UUID, subscription_id: UUID, delivery_id: UUID
) -> Delivery | None:
    row = await connection.fetchrow(_READ, environment_id, subscription_id, delivery_id)
    return None if row is None else _delivery(row)


async def read_attempts(
    connection: Connection, environment_id: UUID, subscription_id: UUID, delivery_id: UUID
) -> list[DeliveryAttempt]:
    rows = await connection.fetch(_ATTEMPTS, environment_id, subscription_id, delivery_id)
    return [DeliveryAttempt(**dict(row)) for row in rows]


async def deliver_again(
    connection: Connection, environment_id: UUID, subscription_id: UUID, delivery_ids: Sequence[UUID]
) -> None:
    """Send them now, with a whole round of attempts; one that is being sent at this moment is left alone."""
    wanted = list(delivery_ids)
    await connection.fetch(_LOCK, environment_id, wanted)
    await connection.execute(_AGAIN, environment_id, subscription_id, wanted)


async def ended_between(
    connection: Connection,
    environment_id: UUID,
    subscription_id: UUID,
    since: datetime,
    until: datetime,
    state: str | None,
    limit: int,
) -> list[UUID]:
    """Deliveries made in this range that are not pending, oldest first."""
    places = first_id_at(since), first_id_at(until)
    rows = await connection.fetch(_ENDED, environment_id, subscription_id, *places, state, limit)
    return [row["id"] for row in rows]


def _delivery(row: Any) -> Delivery:
    return Delivery(**(dict(row) | {"state": DeliveryState(row["state"])}))
