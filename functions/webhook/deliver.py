"""`webhook.deliver`: one attempt of one delivery, from what its row says, harmless to run again.

Run twice, it sends the same `webhook-id` and body, which receivers know each other by; of two outcomes the fence of the
claim accepts one. Refuses: to show a secret, a URL or a body in a log.
"""

import time
from collections.abc import Awaitable, Callable

import msgspec

from functions.webhook.send import Sender, milliseconds_since
from storage.secrets import EnvironmentKeys
from waypost import clock
from waypost.secret import DataKey, SealError
from waypost.subscription.decision import retry_after
from waypost.subscription.model import Claimed, Outcome, Response, delivery_place, response_place, secret_place
from waypost.subscription.signature import signed_headers

KIND = "webhook.deliver"

_encode = msgspec.msgpack.Encoder().encode

Deliver = Callable[[Claimed], Awaitable[Outcome]]


def deliverer(keys: EnvironmentKeys, sender: Sender) -> Deliver:
    """The function over its ports. Raises WaypostError when a server that it needs is away: nothing was sent."""

    async def deliver(claimed: Claimed) -> Outcome:
        key = await keys.data_key(claimed.environment_id)
        began, started_at = time.monotonic(), clock.now()
        try:
            body, secrets = _opened(claimed, key)
        except SealError:
            return Outcome(started_at=started_at, duration_ms=0, error="unreadable")
        headers = signed_headers(str(claimed.event_id), started_at, body, secrets)
        answered = await sender.post(claimed.url, headers, body)
        return Outcome(
            started_at=started_at,
            duration_ms=milliseconds_since(began),
            status=answered.status,
            error=answered.error,
            response=_sealed(claimed, key, answered.response),
            retry_after_seconds=_asked(answered.response) if answered.error else None,
        )

    return deliver


def _opened(claimed: Claimed, key: DataKey) -> tuple[bytes, list[str]]:
    if not claimed.secrets:  # they went a moment ago, with the subscription or the environment: never unsigned
        raise SealError("there is no secret")
    body = key.open(delivery_place(claimed.event_id), claimed.body)
    place = secret_place(claimed.subscription_id)
    return body, [key.open(place, sealed).decode() for sealed in claimed.secrets]


def _sealed(claimed: Claimed, key: DataKey, response: Response | None) -> bytes | None:
    if response is None:
        return None
    return key.seal(response_place(claimed.delivery_id, claimed.number), _encode(response))


def _asked(response: Response | None) -> float | None:
    if response is None:
        return None
    value = next((value for name, value in response.headers if name.lower() == "retry-after"), None)
    return retry_after(value, clock.now())
