"""`client.subscriptions`: which events go to which URL, what was delivered, and events as they happen (native contract
§5)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic
from urllib.parse import urlencode

from waypost_sdk.http.event import follow
from waypost_sdk.http.plan import Plan, Stream
from waypost_sdk.http.resource import M, Resource, given, iteration, operation, read, segment, tagged
from waypost_sdk.model import JobEvent
from waypost_sdk.subscription import DeliveriesReplayed, Delivery, Subscription


class Subscriptions(Resource[M], Generic[M]):
    """`client.subscriptions`."""

    @operation
    def create(
        self,
        url: str,
        events: Sequence[str] | str,
        *,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Subscription]:
        """A new subscription; its signing secret is told this once. `events` are such as job.completed, job.*, *."""
        body = given(url=url, events=_words(events), description=description)
        answer = yield from self._post(self._path, body, key=idempotency_key)
        return tagged(answer, Subscription)

    @iteration
    def list(self) -> Stream[Subscription]:
        """All of them, newest first."""
        return self._pages(self._path, Subscription)

    @operation
    def get(self, subscription_id: str) -> Plan[Subscription]:
        answer = yield from self._get(self._one(subscription_id))
        return tagged(answer, Subscription)

    @operation
    def update(
        self,
        subscription_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | str | None = None,
        description: str | None = None,
        enabled: bool | None = None,
        if_match: str | None = None,
    ) -> Plan[Subscription]:
        """Change what is given. One that was disabled takes events again with `enabled` True."""
        words = None if events is None else _words(events)
        body = given(url=url, events=words, description=description, enabled=enabled)
        answer = yield from self._patch(self._one(subscription_id), body, if_match)
        return tagged(answer, Subscription)

    @operation
    def delete(self, subscription_id: str, *, if_match: str | None = None) -> Plan[None]:
        """What was not delivered yet never will be."""
        yield from self._delete(self._one(subscription_id), if_match)

    @operation
    def rotate_secret(self, subscription_id: str, *, overlap_seconds: float | None = None) -> Plan[Subscription]:
        """A new secret, told this once; the one before signs too for `overlap_seconds` more (24 h)."""
        body = given(overlap_seconds=overlap_seconds)
        answer = yield from self._post(self._one(subscription_id) + "/rotate-secret", body)
        return tagged(answer, Subscription)

    @operation
    def test(self, subscription_id: str) -> Plan[Delivery]:
        """Deliver an event of type subscription.test now."""
        answer = yield from self._post(self._one(subscription_id) + "/test")
        return read(answer, Delivery)

    @iteration
    def deliveries(
        self,
        subscription_id: str,
        *,
        state: str | Sequence[str] = (),
        event: str | Sequence[str] = (),
        event_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Stream[Delivery]:
        """What was and will be delivered, newest first; `event_id` is a webhook-id, of a job's event the job's id."""
        query = [("state", one) for one in _words(state)] + [("event", one) for one in _words(event)]
        query += given(event_id=event_id).items()
        query += [(name, at.isoformat()) for name, at in (("from", since), ("to", until)) if at is not None]
        return self._pages(self._one(subscription_id) + "/deliveries", Delivery, tuple(query), limit)

    @operation
    def delivery(self, subscription_id: str, delivery_id: str) -> Plan[Delivery]:
        """One delivery with every try: what was sent, what was answered, how long it took."""
        answer = yield from self._get(f"{self._one(subscription_id)}/deliveries/{segment(delivery_id)}")
        return read(answer, Delivery)

    @operation
    def redeliver(
        self, subscription_id: str, delivery_id: str, *, idempotency_key: str | None = None
    ) -> Plan[Delivery]:
        """Send it again now, with the same webhook-id and body and a whole round of attempts."""
        path = f"{self._one(subscription_id)}/deliveries/{segment(delivery_id)}/redeliver"
        answer = yield from self._post(path, key=idempotency_key)
        return read(answer, Delivery)

    @operation
    def replay(
        self,
        subscription_id: str,
        since: datetime,
        until: datetime,
        *,
        state: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[DeliveriesReplayed]:
        """Send again what was made from `since` to before `until`: delivered, failed, or both; 10,000 at most."""
        body = {"from": since, "to": until, **given(state=state)}
        answer = yield from self._post(self._one(subscription_id) + "/deliveries/replay", body, key=idempotency_key)
        return read(answer, DeliveriesReplayed)

    @iteration
    def live(
        self, events: Sequence[str] | str = "*", *, last_event_id: str | None = None, retry_seconds: float | None = None
    ) -> Stream[JobEvent]:
        """What a subscription to these events would be sent, as it happens, for ever: `type` is job.completed …,
        `data` the body, `webhook_id(event)` its id; of type stream.connected each time that it is connected. Resumes
        by itself for `retry_seconds`; an event can come twice then, with the same id."""
        seconds = self._scope.retry_seconds if retry_seconds is None else retry_seconds
        query = urlencode([("event", one) for one in _words(events)])
        return follow(f"{self._scope.environment()}/events/webhooks?{query}", last_event_id, seconds, lambda _: False)

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/subscriptions"

    def _one(self, subscription_id: str) -> str:
        return f"{self._path}/{segment(subscription_id)}"


def webhook_id(event: JobEvent) -> str:
    """The `webhook-id` of an event of `Subscriptions.live`."""
    return (event.id or "").partition("-")[2]


def _words(given: Sequence[str] | str) -> Any:
    return [given] if isinstance(given, str) else [*given]
