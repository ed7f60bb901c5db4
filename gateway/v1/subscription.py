"""Subscriptions: which events go to which URL (native contract §5, "Webhook out"). The secret is answered once."""

from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from gateway.audit import record
from gateway.endpoint import PAGE, Call, E, Endpoint, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.subscription_view import DeliveryView, SubscriptionView, delivery_view, subscription_view
from gateway.v1.view import page_view
from storage.postgres.database import Connection
from storage.postgres.subscription import subscription as rows
from storage.postgres.subscription.delivery import NewDelivery, insert_deliveries, read_delivery
from storage.postgres.tenancy.environment import lock_environment
from waypost import clock, errors
from waypost.access.model import Permission
from waypost.ids import new_id
from waypost.limit.decision import require_room
from waypost.secret import DataKey
from waypost.subscription.decision import check_description, check_events, check_url
from waypost.subscription.model import (
    DEFAULT_OVERLAP,
    MAX_OVERLAP,
    MAX_SUBSCRIPTIONS,
    TEST_EVENT,
    DisabledReason,
    EventBody,
    Subscription,
    delivery_place,
    secret_place,
)
from waypost.subscription.signature import new_secret

PATH = E + "/subscriptions"
ONE = PATH + "/{subscription}"


class NewSubscription(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    events: list[str]
    description: str = ""


class SubscriptionChange(msgspec.Struct, forbid_unknown_fields=True):
    """Whatever is left out stays. A subscription that was disabled takes events again with `enabled` true."""

    url: str | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class SecretRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old secret signs too; default 24 h."""

    overlap_seconds: float | None = None


class SubscriptionPage(msgspec.Struct):
    items: list[SubscriptionView]
    next_cursor: str | None


@endpoint(
    "POST",
    PATH,
    summary="Subscribe a URL to events; its signing secret is shown once",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewSubscription,
    answer=SubscriptionView,
    status=201,
    idempotent=True,
    example={"url": "https://example.com/hooks/waypost", "events": ["job.completed", "job.dead_letter"]},
)
async def create_subscription(call: Call) -> Answer:
    new = await call.read(NewSubscription)
    url, events, description = check_url(new.url), check_events(new.events), check_description(new.description)
    environment_id = call.environment.id
    key = await call.services.environment_keys.data_key(environment_id)

    async def work(connection: Connection) -> Answer:
        await lock_environment(connection, environment_id)  # so that the count stays true
        used = await rows.count_subscriptions(connection, environment_id)
        require_room("subscriptions", MAX_SUBSCRIPTIONS, used)
        subscription_id, secret = new_id(), new_secret()
        made = await rows.insert_subscription(
            connection,
            subscription_id,
            environment_id,
            url=url,
            events=events,
            description=description,
            created_by=call.principal.actor,
        )
        await rows.add_secret(connection, environment_id, subscription_id, _sealed(key, subscription_id, secret))
        await _record(connection, call, "subscription.create", made, events=", ".join(events))
        return _once_shown(made, secret, 201)

    return await once(call, environment_id, "subscriptions.create", work)


@endpoint(
    "GET",
    PATH,
    summary="The environment's subscriptions, newest first",
    permission=Permission.VIEW_ENVIRONMENT,
    query=PAGE,
    answer=SubscriptionPage,
)
async def read_subscriptions(call: Call) -> Answer:
    environment_id = call.environment.id
    page = page_of(call.query, "subscriptions", environment_id)
    async with call.services.database.unit() as connection:
        found = await rows.list_subscriptions(connection, environment_id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda one: one.id)
    return ok(page_view([subscription_view(one) for one in shown], cursor))


@endpoint(
    "GET", ONE, summary="One subscription", permission=Permission.VIEW_ENVIRONMENT, answer=SubscriptionView
)  # fmt: skip
async def read_one_subscription(call: Call) -> Answer:
    return _answer(await find_subscription(call))


@endpoint(
    "PATCH",
    ONE,
    summary="Change a subscription's URL, events or description; enable or disable it",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=SubscriptionChange,
    answer=SubscriptionView,
    matched=True,
    example={"events": ["job.*"], "enabled": True},
)
async def patch_subscription(call: Call) -> Answer:
    asked = await call.read(SubscriptionChange)
    async with call.services.database.unit() as connection:
        old = await locked_subscription(connection, call)
        changed = await rows.update_subscription(connection, _changed(old, asked))
        if changed is None:
            raise errors.not_found("subscription")
        names = [name for name in SubscriptionChange.__struct_fields__ if getattr(asked, name) is not UNSET]
        await _record(connection, call, "subscription.update", changed, fields=", ".join(names))
    return _answer(changed)


@endpoint(
    "DELETE",
    ONE,
    summary="End a subscription; what was not delivered yet never will be",
    permission=Permission.OPERATE_ENVIRONMENT,
    status=204,
    matched=True,
)
async def delete_subscription(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        old = await locked_subscription(connection, call)
        await rows.delete_subscription(connection, old.environment_id, old.id)
        await _record(connection, call, "subscription.delete", old)
    return nothing()


@endpoint(
    "POST",
    ONE + "/rotate-secret",
    summary="Make a new signing secret; the old one signs too for a while",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=SecretRotation,
    answer=SubscriptionView,
    idempotent=True,
    matched=True,
    example={"overlap_seconds": 3600},
)
async def rotate_subscription_secret(call: Call) -> Answer:
    """Until the overlap is over every delivery carries a signature of both, so that receivers can change at leisure.
    With 0 the old one ends at once."""
    rotation = await call.read(SecretRotation)
    given = rotation.overlap_seconds
    seconds = DEFAULT_OVERLAP.total_seconds() if given is None else given
    if not 0 <= seconds <= MAX_OVERLAP.total_seconds():
        raise errors.invalid("out_of_range", "overlap_seconds is from 0 to 2592000 (30 days).", "/overlap_seconds")
    environment_id = call.environment.id
    key = await call.services.environment_keys.data_key(environment_id)

    async def work(connection: Connection) -> Answer:
        old, secret = await locked_subscription(connection, call), new_secret()
        sealed = _sealed(key, old.id, secret)
        changed = await rows.rotate_secret(connection, environment_id, old.id, sealed, seconds)
        if changed is None:
            raise errors.not_found("subscription")
        await _record(connection, call, "subscription.rotate_secret", changed, overlap_seconds=f"{seconds:g}")
        return _once_shown(changed, secret, 200)

    return await once(call, environment_id, "subscriptions.rotate", work)


@endpoint(
    "POST",
    ONE + "/test",
    summary="Deliver a test event now",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=DeliveryView,
    status=202,
    idempotent=True,
)
async def test_subscription(call: Call) -> Answer:
    """Of type `subscription.test`, whatever events the subscription names; else like any other delivery."""
    environment_id = call.environment.id
    key = await call.services.environment_keys.data_key(environment_id)

    async def work(connection: Connection) -> Answer:
        subscription = await enabled_subscription(connection, call)
        new, delivery_id, event_id = NewDelivery(), new_id(), new_id()
        data = {"environment_id": environment_id, "subscription_id": subscription.id}
        body = msgspec.json.encode(EventBody(TEST_EVENT, clock.now(), msgspec.Raw(msgspec.json.encode(data))))
        sealed = key.seal(delivery_place(event_id), body)
        new.add(environment_id, subscription.id, delivery_id, event_id, TEST_EVENT, sealed)
        await insert_deliveries(connection, new)
        made = await read_delivery(connection, environment_id, subscription.id, delivery_id)
        if made is None:
            raise errors.not_found("subscription")
        await _record(connection, call, "subscription.test", subscription)
        return ok(delivery_view(made), 202)

    return await once(call, environment_id, "subscriptions.test", work)


# --- shared with deliveries -------------------------------------------------------------------------------------------


async def find_subscription(call: Call) -> Subscription:
    """The subscription that the path names; raises 404."""
    async with call.services.database.unit() as connection:
        found = await rows.read_subscription(connection, call.environment.id, _identifier(call))
    if found is None:
        raise errors.not_found("subscription")
    return found


async def locked_subscription(connection: Connection, call: Call) -> Subscription:
    """As it is, held until the commit; raises 404, 412."""
    found = await rows.lock_subscription(connection, call.environment.id, _identifier(call))
    if found is None:
        raise errors.not_found("subscription")
    check_match(call.exchange, _tag(found))
    return found


async def enabled_subscription(connection: Connection, call: Call) -> Subscription:
    """One that takes events, held until the commit; raises 404, 409."""
    found = await locked_subscription(connection, call)
    if found.disabled_at is not None:
        raise errors.conflict(
            "subscription_disabled",
            "The subscription is disabled, so nothing is delivered; enable it first (PATCH, enabled: true).",
        )
    return found


def _identifier(call: Call) -> UUID:
    return call.identifier("subscription", "subscription")


def _changed(old: Subscription, asked: SubscriptionChange) -> Subscription:
    fields: dict[str, object] = {}
    if asked.url is not UNSET:
        fields["url"] = check_url(asked.url)
    if asked.events is not UNSET:
        fields["events"] = check_events(asked.events)
    if asked.description is not UNSET:
        fields["description"] = check_description(asked.description)
    if asked.enabled is not UNSET:
        reason = None if asked.enabled else old.disabled_reason or DisabledReason.ASKED
        fields["disabled_reason"] = reason
    return msgspec.structs.replace(old, **fields)


def _sealed(key: DataKey, subscription_id: UUID, secret: str) -> bytes:
    return key.seal(secret_place(subscription_id), secret.encode())


async def _record(connection: Connection, call: Call, action: str, about: Subscription, **details: str) -> None:
    await record(connection, call, action, f"subscription:{about.id}", details or None)


def _tag(subscription: Subscription) -> bytes:
    return etag(subscription.row_version)


def _answer(subscription: Subscription) -> Answer:
    return ok(subscription_view(subscription), headers=tagged(_tag(subscription)))


def _once_shown(subscription: Subscription, secret: str, status: int) -> Answer:
    headers = [*tagged(_tag(subscription)), (b"cache-control", b"no-store")]
    return ok(subscription_view(subscription, secret), status, headers)


ENDPOINTS: list[Endpoint] = [
    create_subscription,
    read_subscriptions,
    read_one_subscription,
    patch_subscription,
    delete_subscription,
    rotate_subscription_secret,
    test_subscription,
]
