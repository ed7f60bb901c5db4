"""Subscriptions and deliveries as structs: native contract, section 5. Fields that this version does not know are
ignored."""

from datetime import datetime
from typing import Any

import msgspec


class Subscription(msgspec.Struct, kw_only=True):
    """Which events go to which URL. `secret` is told once, where it was made; `disabled_reason` is asked, gone (the
    endpoint answered 410) or failing (for five days)."""

    id: str
    url: str
    events: list[str] = []
    description: str = ""
    enabled: bool = True
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    secret: str | None = None
    etag: str | None = None


class DeliveryAttempt(msgspec.Struct, kw_only=True):
    """One try; `response` (headers, body, truncated) is told to who may operate the environment."""

    number: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    status: int | None = None
    error: str | None = None
    response: dict[str, Any] | None = None


class Delivery(msgspec.Struct, kw_only=True):
    """One event for one subscription: `state` is pending, delivered or failed. `tries` and `request` come with
    `client.subscriptions.delivery`."""

    id: str
    subscription_id: str
    event_id: str
    event: str
    state: str
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    created_at: datetime | None = None
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
    request: dict[str, Any] | None = None
    tries: list[DeliveryAttempt] = []


class DeliveriesReplayed(msgspec.Struct, kw_only=True):
    """How many deliveries a replay sends again."""

    replayed: int
