"""Deliveries of a subscription: searched, looked at attempt by attempt, sent again by hand or by time range."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from gateway.audit import record
from gateway.endpoint import PAGE, Call, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.v1.job import instant
from gateway.v1.subscription import ONE, enabled_subscription, find_subscription
from gateway.v1.subscription_view import DeliveryDetail, DeliveryView, delivery_detail, delivery_view
from gateway.v1.view import page_view
from storage.postgres.database import Connection
from storage.postgres.subscription import delivery as rows
from waypost import errors
from waypost.access.model import Permission
from waypost.ids import parse_id
from waypost.subscription.model import EVENTS, MAX_REPLAY, TEST_EVENT, DeliveryState

PATH = ONE + "/deliveries"
_STATES = tuple(state.value for state in DeliveryState)


class DeliveryPage(msgspec.Struct):
    items: list[DeliveryView]
    next_cursor: str | None


class DeliveryReplay(msgspec.Struct, forbid_unknown_fields=True):
    """Deliveries made from `from` to before `to`; of one state, or all that are not pending."""

    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    state: Literal["delivered", "failed"] | None = None


class Replayed(msgspec.Struct, frozen=True):
    replayed: int


@endpoint(
    "GET",
    PATH,
    summary="What was and will be delivered, newest first",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(
        *PAGE,
        Parameter("state", f"One of {', '.join(_STATES)}.", repeatable=True),
        Parameter("event", "An event such as job.completed.", repeatable=True),
        Parameter("event_id", "Of this event: the webhook-id, which for a job's event is the job's id."),
        Parameter("from", "Made at this instant or later (RFC 3339)."),
        Parameter("to", "Made before this instant (RFC 3339)."),
    ),
    answer=DeliveryPage,
)
async def read_deliveries(call: Call) -> Answer:
    subscription = await find_subscription(call)
    states, events = _known(call, "state", _STATES), _known(call, "event", (*EVENTS, TEST_EVENT))
    since, until, event_id = instant(call.query, "from"), instant(call.query, "to"), _event_id(call)
    page = page_of(call.query, "deliveries", subscription.id, states, events, since, until, event_id)
    async with call.services.reading(call.environment) as connection:
        found = await rows.list_deliveries(
            connection,
            call.environment.id,
            subscription.id,
            states=states,
            events=events,
            since=since,
            until=until,
            event_id=event_id,
            before=page.after,
            limit=page.limit + 1,
        )
    shown, cursor = paged(page, found, lambda one: one.id)
    return ok(page_view([delivery_view(one) for one in shown], cursor))


def _known(call: Call, name: str, known: tuple[str, ...]) -> list[str]:
    given = sorted(set(call.query.get(name, [])))
    if unknown := set(given) - set(known):
        text = f"{min(unknown)[:100]!r} is none of {', '.join(known)}."
        raise errors.invalid("invalid_parameter", text, f"/{name}")
    return given


def _event_id(call: Call) -> UUID | None:
    text = call.query.get("event_id", [""])[0]
    found = parse_id(text) if text else None
    if text and found is None:
        raise errors.invalid("invalid_parameter", "event_id is an id, such as that of a job.", "/event_id")
    return found


@endpoint(
    "GET",
    PATH + "/{delivery}",
    summary="One delivery with every attempt: what was sent, what was answered, how long it took",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=DeliveryDetail,
)
async def read_one_delivery(call: Call) -> Answer:
    """Bodies and headers are shown to who may operate the environment."""
    subscription = await find_subscription(call)
    where = call.environment.id, subscription.id, call.identifier("delivery", "delivery")
    async with call.services.reading(call.environment) as connection:
        found = await rows.read_delivery(connection, *where)
        attempts = await rows.read_attempts(connection, *where)
    if found is None:
        raise errors.not_found("delivery")
    operates = call.may(Permission.OPERATE_ENVIRONMENT)
    key = await call.services.environment_keys.data_key(call.environment.id) if operates else None
    return ok(delivery_detail(found, attempts, subscription, key))


@endpoint(
    "POST",
    PATH + "/{delivery}/redeliver",
    summary="Send a delivery again now, with the same webhook-id and body",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=DeliveryView,
    status=202,
    idempotent=True,
)
async def redeliver(call: Call) -> Answer:
    """With a whole round of attempts. One that waits for its next attempt is sent now; one that is being sent is left
    alone."""
    environment_id, delivery_id = call.environment.id, call.identifier("delivery", "delivery")

    async def work(connection: Connection) -> Answer:
        subscription = await enabled_subscription(connection, call)
        where = environment_id, subscription.id
        if await rows.read_delivery(connection, *where, delivery_id) is None:
            raise errors.not_found("delivery")
        await rows.deliver_again(connection, *where, [delivery_id])
        again = await rows.read_delivery(connection, *where, delivery_id)
        if again is None:
            raise errors.not_found("delivery")
        await record(connection, call, "delivery.redeliver", f"delivery:{delivery_id}")
        return ok(delivery_view(again), 202)

    return await once(call, environment_id, "deliveries.redeliver", work)


@endpoint(
    "POST",
    PATH + "/replay",
    summary="Send again what was made in a range of time",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=DeliveryReplay,
    answer=Replayed,
    status=202,
    idempotent=True,
    example={"from": "2026-11-21T09:00:00Z", "to": "2026-11-21T10:00:00Z", "state": "failed"},
)
async def replay_deliveries(call: Call) -> Answer:
    """Up to 10,000, each with its webhook-id and body; a range with more is refused, nothing is sent then."""
    asked = await call.read(DeliveryReplay)
    if asked.since.tzinfo is None or asked.until.tzinfo is None or asked.since >= asked.until:
        raise errors.invalid("invalid_range", "from must lie before to, both with an offset such as Z.", "/from")
    environment_id = call.environment.id

    async def work(connection: Connection) -> Answer:
        subscription = await enabled_subscription(connection, call)
        where = environment_id, subscription.id
        found = await rows.ended_between(connection, *where, asked.since, asked.until, asked.state, MAX_REPLAY + 1)
        if len(found) > MAX_REPLAY:
            raise errors.invalid(
                "too_many", f"More than {MAX_REPLAY} deliveries lie in this range; ask for a shorter one.", "/to"
            )
        await rows.deliver_again(connection, *where, found)
        details = {"from": asked.since.isoformat(), "to": asked.until.isoformat(), "replayed": str(len(found))}
        await record(connection, call, "delivery.replay", f"subscription:{subscription.id}", details)
        return ok(Replayed(len(found)), 202)

    return await once(call, environment_id, "deliveries.replay", work)


ENDPOINTS: list[Endpoint] = [read_deliveries, replay_deliveries, read_one_delivery, redeliver]
