"""`POST /hooks/{trigger_id}`: from a signed request to an acknowledged job (native contract §5).

Responsible for: the order in which things are looked at. Nothing is said about a trigger before the signature is known
to be right; nothing is answered before the job's commit. Wrong, missing and stale signatures get the same 401.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.endpoint import Call, Endpoint, endpoint
from gateway.exchange import Answer, Exchange
from gateway.hooks.registry import Hook
from gateway.idempotency import request_hash, reused
from gateway.limit import limited
from gateway.submission import ACCEPTED, admit, discard, prepare
from waypost import clock, errors
from waypost.errors import Category, WaypostError
from waypost.ids import new_id, parse_id
from waypost.job.decision import not_taking
from waypost.job.model import Accepted
from waypost.tenancy.model import Status
from waypost.trigger.decision import delivery_id, greeting, kept_headers, name_delivery, payload_of, shown_headers
from waypost.trigger.expression import is_true, read_document, write_document
from waypost.trigger.model import MAX_BODY_BYTES, Firing, Outcome, Trigger
from waypost.trigger.signature import Verdict

if TYPE_CHECKING:
    from gateway.services import Services

HOOKS = "/hooks/"
FILTERED = b'{"job_id":null}'
_OUTCOMES = {Verdict.WRONG: Outcome.BAD_SIGNATURE, Verdict.STALE: Outcome.STALE}
# What a repeat must have in common with the first is its name alone: senders may tell of it a little differently.
_ANY_BODY = request_hash("hook")


class Delivery:
    """One genuine or pretended request to one trigger."""

    __slots__ = ("at", "body", "exchange", "hook", "shown")

    def __init__(self, hook: Hook, exchange: Exchange, body: bytes, at: datetime) -> None:
        self.hook, self.exchange, self.body, self.at = hook, exchange, body, at
        self.shown = shown_headers(hook.verifier.how, exchange.headers)

    def firing(self, outcome: Outcome, accepted: Accepted | None = None, detail: str | None = None) -> Firing:
        trigger = self.hook.trigger
        job_id = accepted.id if accepted is not None else None
        identifier = job_id if job_id is not None and outcome is Outcome.ACCEPTED else new_id()
        headers = kept_headers(self.shown)
        return Firing(
            identifier, trigger.environment_id, trigger.id, self.at, outcome, job_id, detail and detail[:500], headers
        )


@endpoint(
    "POST",
    "/hooks/{trigger}",
    summary="The public door of a webhook trigger",
    public="the signature of the request is its credential",
    any_query=True,
    status=ACCEPTED,
    also={200: "A repeat, with the first job's id; or nothing was to be done: `job_id` is null."},
)
async def receive_webhook(call: Call) -> Answer:
    return await receive(call.services, call.exchange, call.parameters["trigger"])


RECEIVE = receive_webhook
ENDPOINTS: list[Endpoint] = [receive_webhook]


async def receive(services: "Services", exchange: Exchange, trigger: str) -> Answer:
    """The answer to one webhook. Raises 404, 413; 401 for a wrong signature; and what a submission raises."""
    exchange.refuse_oversize(MAX_BODY_BYTES)
    trigger_id = parse_id(trigger)
    hook = None if trigger_id is None else await services.hooks.find(trigger_id)
    if hook is None:
        raise errors.not_found("trigger")
    body = await exchange.body(MAX_BODY_BYTES)
    at = clock.now()
    verdict = hook.verifier.verify(exchange.headers, body, at)
    delivery = Delivery(hook, exchange, body, at)
    if verdict is not Verdict.GENUINE:
        services.firings.add(delivery.firing(_OUTCOMES[verdict]))
        raise WaypostError("invalid_signature", "This request is not signed as it must be.", Category.UNAUTHENTICATED)
    try:
        return await _take(services, delivery)
    except WaypostError as error:
        services.firings.add(delivery.firing(Outcome.REFUSED, detail=f"{error.code}: {error.detail}"))
        raise


async def _take(services: "Services", delivery: Delivery) -> Answer:
    """A genuine delivery, within its rate."""
    hook, exchange = delivery.hook, delivery.exchange
    if hook.trigger.paused_at is not None:
        raise errors.conflict("trigger_paused", "The trigger is paused; it fires again when somebody resumes it.")
    key, rates = hook.trigger.id.int, services.rates
    if rates.try_take(hook.policy, key) < 0 and await rates.take(hook.policy, key) < 0:
        raise limited(rates.wait_seconds(hook.policy, key), "Webhooks come to this trigger", "rate_per_second")
    greeted = greeting(hook.verifier.how, exchange.headers, delivery.body)
    if greeted is not None:
        services.firings.add(delivery.firing(Outcome.FILTERED, detail=f"{greeted[0]}: answered, no event"))
        return Answer(200, greeted[1])
    payload = payload_of(delivery.shown, exchange.query, delivery.body)
    name = delivery_id(hook.verifier.how, exchange.headers, delivery.body)
    made, name = await shape(services, hook, payload, name)
    if made is None:
        services.firings.add(delivery.firing(Outcome.FILTERED))
        return Answer(200, FILTERED)
    call = Call(services, exchange, {}, hook.principal, hook.place)
    accepted = await submit_fired(call, hook.trigger, made, name, _ANY_BODY, hook.scope)
    outcome = Outcome.DUPLICATE if accepted.replayed else Outcome.ACCEPTED
    services.firings.add(delivery.firing(outcome, accepted))
    return Answer(200 if accepted.replayed else ACCEPTED, b'{"job_id":"%s"}' % str(accepted.id).encode())


async def shape(services: "Services", hook: Hook, payload: bytes, name: str | None) -> tuple[bytes | None, str | None]:
    """The payload after filter and map (None: filtered), and the delivery's name where an expression finds it."""
    if hook.filter is None and hook.map is None and hook.delivery is None:
        return payload, name
    document: Any = read_document(payload)
    search = services.evaluator.search
    if hook.delivery is not None:
        name = name_delivery(await search(hook.delivery, document))
    if hook.filter is not None and not is_true(await search(hook.filter, document)):
        return None, name
    if hook.map is not None:
        payload = write_document(await search(hook.map, document))
    return payload, name


async def submit_fired(
    call: Call, trigger: Trigger, payload: bytes, key: str | None, hashed: bytes, scope: str
) -> Accepted:
    """Keep the trigger's job with this payload; raises as a submission does."""
    with await admit(call):
        spec = msgspec.structs.replace(trigger.job, payload=payload)
        submission = await prepare(
            call, spec, idempotency_key=key, hashed=hashed if key else None, trigger_id=trigger.id, scope=scope
        )
        accepted = await call.services.committer.submit(submission)
    if accepted.replayed or accepted.conflict:
        await discard(call, submission)
    if accepted.conflict:
        raise not_taking(Status.DELETING) if accepted.closed else reused()
    return accepted
