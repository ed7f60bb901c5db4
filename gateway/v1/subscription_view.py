"""What subscriptions and deliveries look like, field by field."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from waypost.ids import instant_of
from waypost.secret import DataKey
from waypost.subscription.model import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DisabledReason,
    Response,
    Subscription,
    delivery_place,
    response_place,
)

_response = msgspec.msgpack.Decoder(Response)


class SubscriptionView(Struct, frozen=True, kw_only=True):
    """A subscription; `secret` is there once, where it was made."""

    id: UUID
    url: str
    events: tuple[str, ...]
    description: str
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    secret: str | UnsetType = UNSET


class DeliveryView(Struct, frozen=True, kw_only=True):
    """A delivery; `status` and `error` are those of the last attempt."""

    id: UUID
    subscription_id: UUID
    event_id: UUID
    event: str
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class RequestView(Struct, frozen=True):
    """What is sent; `webhook-timestamp` and `webhook-signature` are new with each attempt."""

    method: str
    url: str
    headers: dict[str, str]
    body: Raw


class ResponseView(Struct, frozen=True):
    """What was answered; the body's first 16 KiB as text."""

    headers: list[tuple[str, str]]
    body: str
    truncated: bool


class DeliveryAttemptView(Struct, frozen=True, kw_only=True):
    """One try; `response` is there for who may operate the environment."""

    number: int
    started_at: datetime
    finished_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    response: ResponseView | UnsetType | None = UNSET


class DeliveryDetail(DeliveryView, frozen=True, kw_only=True):
    """A delivery with every attempt; `request` is there for who may operate the environment."""

    request: RequestView | UnsetType = UNSET
    tries: list[DeliveryAttemptView]


def subscription_view(subscription: Subscription, secret: str | None = None) -> SubscriptionView:
    s = subscription
    return SubscriptionView(
        id=s.id,
        url=s.url,
        events=s.events,
        description=s.description,
        enabled=s.disabled_at is None,
        disabled_at=s.disabled_at,
        disabled_reason=s.disabled_reason,
        failing_since=s.failing_since,
        created_by=s.created_by,
        created_at=s.created_at,
        updated_at=s.updated_at,
        secret=UNSET if secret is None else secret,
    )


def delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(**_fields(delivery))


def delivery_detail(
    delivery: Delivery, attempts: list[DeliveryAttempt], subscription: Subscription, key: DataKey | None
) -> DeliveryDetail:
    """With `key` what was sent and answered is opened and shown."""
    request: RequestView | UnsetType = UNSET
    if key is not None and delivery.body:
        body = Raw(key.open(delivery_place(delivery.event_id), delivery.body))
        headers = {"content-type": "application/json", "webhook-id": str(delivery.event_id)}
        request = RequestView("POST", subscription.url, headers, body)
    tries = [_attempt(delivery, attempt, key) for attempt in attempts]
    return DeliveryDetail(**_fields(delivery), request=request, tries=tries)


def _fields(delivery: Delivery) -> dict[str, Any]:
    names = (name for name in DeliveryView.__struct_fields__ if name != "created_at")
    return {name: getattr(delivery, name) for name in names} | {"created_at": instant_of(delivery.id)}


def _attempt(delivery: Delivery, attempt: DeliveryAttempt, key: DataKey | None) -> DeliveryAttemptView:
    response: ResponseView | UnsetType | None = UNSET
    if key is not None:
        response = None
        if attempt.response is not None:
            found = _response.decode(key.open(response_place(delivery.id, attempt.number), attempt.response))
            response = ResponseView(found.headers, found.body.decode("utf-8", "replace"), found.truncated)
    return DeliveryAttemptView(
        number=attempt.number,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        duration_ms=attempt.duration_ms,
        status=attempt.status,
        error=attempt.error,
        response=response,
    )
