"""Triggers: made, changed, paused, tested; their secrets and their firings (native contract §5)."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from gateway.audit import origin_of
from gateway.endpoint import PAGE, Call, E, Endpoint, Parameter, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.hooks.door import shape, submit_fired
from gateway.idempotency import REPLAYED, key_of, once, request_hash
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.form import NewJob
from gateway.v1.job import instant
from gateway.v1.trigger_view import FiringView, TriggerView, firing_view, trigger_view
from gateway.v1.view import page_view
from jobs.wake import TriggerChanged
from storage.postgres.database import Connection
from storage.postgres.trigger.firing import list_firings
from storage.postgres.trigger.trigger import list_triggers, read_trigger
from storage.postgres.trigger.unit import PostgresTriggers
from waypost import clock, errors
from waypost.access.model import Permission
from waypost.ids import new_id
from waypost.trigger import operation
from waypost.trigger.model import (
    DEFAULT_RATE_PER_SECOND,
    Firing,
    FiringFilter,
    Kind,
    Outcome,
    Trigger,
    Verification,
)
from waypost.trigger.schedule import CatchUp, Overlap, Timing


class NewTrigger(msgspec.Struct, forbid_unknown_fields=True):
    """A trigger. `job` is a job without payload and run_at. Of a webhook: `verify` (required), `filter` and `map`
    (JMESPath), `rate_per_second`, `secret` (required where the sender makes it: Stripe, Slack; else made here and
    answered once). Of a schedule: `schedule` (required), `overlap`, `catch_up`, `jitter_seconds`."""

    kind: Kind
    name: str
    job: NewJob
    verify: Verification | None = None
    filter: str | None = None
    map: str | None = None
    rate_per_second: int = DEFAULT_RATE_PER_SECOND
    secret: str | None = None
    schedule: Timing | None = None
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.NONE
    jitter_seconds: float = 0


class TriggerChange(msgspec.Struct, forbid_unknown_fields=True):
    """Whatever is left out stays; a setting that is null is its default again."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    job: NewJob | msgspec.UnsetType = msgspec.UNSET
    verify: Verification | msgspec.UnsetType = msgspec.UNSET
    filter: str | msgspec.UnsetType | None = msgspec.UNSET
    map: str | msgspec.UnsetType | None = msgspec.UNSET
    rate_per_second: int | msgspec.UnsetType | None = msgspec.UNSET
    schedule: Timing | msgspec.UnsetType = msgspec.UNSET
    overlap: Overlap | msgspec.UnsetType | None = msgspec.UNSET
    catch_up: CatchUp | msgspec.UnsetType | None = msgspec.UNSET
    jitter_seconds: float | msgspec.UnsetType | None = msgspec.UNSET


class TriggerPreview(msgspec.Struct, forbid_unknown_fields=True):
    """Settings as those of a new trigger. `trigger_id`: of which they are to be; its `every_seconds` are counted from
    when it was made, those of a new one from now."""

    kind: Kind
    trigger_id: UUID | None = None
    verify: Verification | None = None
    filter: str | None = None
    map: str | None = None
    rate_per_second: int = DEFAULT_RATE_PER_SECOND
    schedule: Timing | None = None
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.NONE
    jitter_seconds: float = 0


class PreviewView(msgspec.Struct):
    """`next_fire_times`: the next five of a schedule; none of a webhook."""

    next_fire_times: list[datetime]


class SecretRotation(msgspec.Struct, forbid_unknown_fields=True):
    """`secret`: where the sender made it. `overlap_seconds`: how long the old one is still valid; default 24 h."""

    secret: str | None = None
    overlap_seconds: float | None = None


class TriggerTest(msgspec.Struct, forbid_unknown_fields=True):
    """What a request would have brought: a JSON body, headers, query parameters."""

    body: Any = None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}


class _Test(TriggerTest, forbid_unknown_fields=True):
    """The same, with the body as it was written."""

    body: msgspec.Raw = msgspec.Raw(b"null")


class TestedView(msgspec.Struct):
    """`payload`: what the job got, after filter and map; null when it was filtered."""

    outcome: str
    job_id: Any
    payload: Any


class TriggerPage(msgspec.Struct):
    items: list[TriggerView]
    next_cursor: str | None


class FiringPage(msgspec.Struct):
    items: list[FiringView]
    next_cursor: str | None


_JOB = {"function": "repo.sync", "tags": ["linux"], "retry": {"max_attempts": 3}}
_EXAMPLE = {
    "kind": "webhook",
    "name": "GitHub pushes",
    "job": _JOB,
    "verify": {"scheme": "github"},
    "filter": "headers.\"x-github-event\" == 'push'",
    "map": "{repository: body.repository.full_name, commit: body.after}",
}
_KINDS = ", ".join(Kind)


def _tag(trigger: Trigger) -> bytes:
    return etag(trigger.row_version)


def _shown(call: Call, trigger: Trigger, secret: str | None = None) -> TriggerView:
    return trigger_view(trigger, call.services.public_url, secret)


def _unit(connection: Connection, call: Call) -> PostgresTriggers:
    return PostgresTriggers(connection, origin_of(call))


@endpoint(
    "POST",
    E + "/triggers",
    summary="Create a trigger: a webhook or a schedule that submits jobs",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewTrigger,
    answer=TriggerView,
    status=201,
    idempotent=True,
    example=_EXAMPLE,
)
async def create_trigger(call: Call) -> Answer:
    draft, secret = operation.read_draft(await call.exchange.body())
    key = await call.services.environment_keys.data_key(call.environment.id)

    async def work(connection: Connection) -> Answer:
        unit, actor = _unit(connection, call), call.principal.actor
        made, shown = await operation.create_trigger(unit, key, call.place.scope, actor, draft, secret)
        headers = [(b"location", f"{call.place.path}/triggers/{made.id}".encode()), *tagged(_tag(made))]
        return ok(_shown(call, made, shown), 201, [*headers, (b"cache-control", b"no-store")])

    return await once(call, call.environment.id, "triggers.create", work)


@endpoint(
    "POST",
    E + "/triggers/preview",
    summary="Judge a trigger's settings and say when a schedule would be due, without keeping anything",
    permission=Permission.VIEW_ENVIRONMENT,
    body=TriggerPreview,
    answer=PreviewView,
    example={"kind": "schedule", "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Helsinki"}},
)
async def preview_trigger(call: Call) -> Answer:
    kind, trigger_id, settings = operation.read_preview(await call.exchange.body())
    since = clock.now()
    if trigger_id is not None:
        async with call.services.reading(call.environment) as connection:
            trigger = await read_trigger(connection, call.environment.id, trigger_id)
        if trigger is None:
            raise errors.invalid("unknown_trigger", "There is no such trigger here.", "/trigger_id")
        since = trigger.created_at
    return ok(PreviewView(operation.fire_times(settings, since) if kind is Kind.SCHEDULE else []))


@endpoint(
    "GET",
    E + "/triggers",
    summary="Triggers, newest first",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(*PAGE, Parameter("kind", f"One of {_KINDS}.")),
    answer=TriggerPage,
)
async def read_triggers(call: Call) -> Answer:
    kind = _kind(call.query.get("kind", [""])[0])
    page = page_of(call.query, "triggers", call.environment.id, kind)
    async with call.services.reading(call.environment) as connection:
        found = await list_triggers(connection, call.environment.id, before=page.after, limit=page.limit + 1, kind=kind)
    shown, cursor = paged(page, found, lambda trigger: trigger.id)
    return ok(page_view([_shown(call, trigger) for trigger in shown], cursor))


def _kind(text: str) -> Kind | None:
    try:
        return Kind(text) if text else None
    except ValueError:
        raise errors.invalid("invalid_parameter", f"kind is one of {_KINDS}.", "/kind") from None


async def _one(call: Call) -> Trigger:
    """The trigger that the path names; raises 404."""
    async with call.services.reading(call.environment) as connection:
        trigger = await read_trigger(connection, call.environment.id, call.identifier("trigger", "trigger"))
    if trigger is None:
        raise errors.not_found("trigger")
    return trigger


@endpoint(
    "GET", E + "/triggers/{trigger}", summary="One trigger", permission=Permission.VIEW_ENVIRONMENT, answer=TriggerView
)
async def read_one_trigger(call: Call) -> Answer:
    trigger = await _one(call)
    return ok(_shown(call, trigger), headers=tagged(_tag(trigger)))


async def _held(unit: PostgresTriggers, call: Call) -> Trigger:
    """The trigger that the path names, held until the commit; raises 404, 412."""
    trigger = await unit.lock_trigger(call.environment.id, call.identifier("trigger", "trigger"))
    if trigger is None:
        raise errors.not_found("trigger")
    check_match(call.exchange, _tag(trigger))
    return trigger


def _tell(call: Call) -> None:
    call.services.tell_access(TriggerChanged(call.identifier("trigger", "trigger")))


@endpoint(
    "PATCH",
    E + "/triggers/{trigger}",
    summary="Change a trigger's name, job or settings",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=TriggerChange,
    answer=TriggerView,
    matched=True,
    example={"name": "Pushes", "filter": None},
)
async def change_trigger(call: Call) -> Answer:
    body = await call.exchange.body()
    async with call.services.database.unit() as connection:
        unit = _unit(connection, call)
        trigger = await _held(unit, call)
        draft = operation.read_change(trigger, body)
        changed = await operation.change_trigger(unit, call.place.scope, call.principal.actor, trigger, draft)
    _tell(call)
    return ok(_shown(call, changed), headers=tagged(_tag(changed)))


@endpoint(
    "DELETE",
    E + "/triggers/{trigger}",
    summary="Delete a trigger and its secrets; its jobs stay",
    permission=Permission.OPERATE_ENVIRONMENT,
    status=204,
    matched=True,
)
async def remove_trigger(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        unit = _unit(connection, call)
        trigger = await _held(unit, call)
        await operation.delete_trigger(unit, call.place.scope, call.principal.actor, trigger)
    _tell(call)
    return nothing()


async def _act(call: Call, scope: str, act: Callable[..., Awaitable[Trigger]]) -> Answer:
    async def work(connection: Connection) -> Answer:
        unit = _unit(connection, call)
        changed = await act(unit, call.place.scope, call.principal.actor, await _held(unit, call))
        return ok(_shown(call, changed), headers=tagged(_tag(changed)))

    answer = await once(call, call.environment.id, scope, work)
    _tell(call)
    return answer


@endpoint(
    "POST",
    E + "/triggers/{trigger}/pause",
    summary="Fire no more until it is resumed",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=TriggerView,
    idempotent=True,
    matched=True,
)
async def pause_trigger(call: Call) -> Answer:
    return await _act(call, "triggers.pause", operation.pause_trigger)


@endpoint(
    "POST",
    E + "/triggers/{trigger}/resume",
    summary="Fire again, from now on",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=TriggerView,
    idempotent=True,
    matched=True,
)
async def resume_trigger(call: Call) -> Answer:
    return await _act(call, "triggers.resume", operation.resume_trigger)


@endpoint(
    "POST",
    E + "/triggers/{trigger}/rotate-secret",
    summary="Give a webhook a new secret; the one before is valid for a while longer",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=SecretRotation,
    answer=TriggerView,
    idempotent=True,
    matched=True,
    example={"overlap_seconds": 3600},
)
async def rotate_secret(call: Call) -> Answer:
    asked = await call.read(SecretRotation)
    key = await call.services.environment_keys.data_key(call.environment.id)

    async def work(connection: Connection) -> Answer:
        unit, scope, actor = _unit(connection, call), call.place.scope, call.principal.actor
        trigger = await _held(unit, call)
        changed, secret = await operation.rotate_secret(
            unit, key, scope, actor, trigger, asked.secret, asked.overlap_seconds
        )
        return ok(_shown(call, changed, secret), headers=[*tagged(_tag(changed)), (b"cache-control", b"no-store")])

    answer = await once(call, call.environment.id, "triggers.rotate_secret", work)
    _tell(call)
    return answer


# --- firing -----------------------------------------------------------------------------------------------------------


@endpoint(
    "POST",
    E + "/triggers/{trigger}/test",
    summary="Fire once with a given body, without a signature; also while it is paused",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=TriggerTest,
    answer=TestedView,
    status=202,
    also={200: "The filter took it: there is no job."},
    idempotent=True,
    example={"body": {"action": "opened"}, "headers": {"X-GitHub-Event": "push"}},
)
async def test_trigger(call: Call) -> Answer:
    body = await call.exchange.body()
    asked, trigger = await call.read(_Test), await _one(call)
    payload: bytes | None = operation.test_payload(trigger, asked.headers, asked.query, bytes(asked.body))
    key = key_of(call.exchange)
    if trigger.kind is Kind.WEBHOOK and payload is not None:
        payload, _ = await shape(call.services, call.services.hooks.unsigned(trigger, call.place), payload, None)
    if payload is None:
        _note(call, trigger, new_id(), Outcome.FILTERED)
        return ok(TestedView(Outcome.FILTERED.value, None, None))
    hashed = request_hash("triggers.test", str(trigger.id).encode(), body)
    accepted = await submit_fired(call, trigger, payload, key, hashed, "triggers.test")
    if accepted.replayed:
        return ok(TestedView(Outcome.ACCEPTED.value, accepted.id, msgspec.Raw(payload)), 202, [REPLAYED])
    _note(call, trigger, accepted.id, Outcome.ACCEPTED, accepted.id)
    return ok(TestedView(Outcome.ACCEPTED.value, accepted.id, msgspec.Raw(payload)), 202)


def _note(call: Call, trigger: Trigger, identifier: UUID, outcome: Outcome, job_id: UUID | None = None) -> None:
    call.services.firings.add(
        Firing(identifier, trigger.environment_id, trigger.id, clock.now(), outcome, job_id, "test")
    )


@endpoint(
    "GET",
    E + "/triggers/{trigger}/firings",
    summary="Each time that it fired or should have, newest first; credentials in headers are masked",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(
        *PAGE,
        Parameter("outcome", f"One of {', '.join(Outcome)}; repeat for alternatives.", str, True),
        Parameter("from", "Received or due at this instant or later (RFC 3339)."),
        Parameter("to", "Received or due before this instant (RFC 3339)."),
    ),
    answer=FiringPage,
)
async def read_firings(call: Call) -> Answer:
    wanted, trigger = _filter(call.query), await _one(call)
    page = page_of(call.query, "firings", trigger.id, wanted)
    async with call.services.reading(call.environment) as connection:
        found = await list_firings(
            connection, trigger.environment_id, trigger.id, wanted, before=page.after, limit=page.limit + 1
        )
    shown, cursor = paged(page, found, lambda firing: firing.id)
    return ok(page_view([firing_view(firing, trigger.kind) for firing in shown], cursor))


def _filter(query: dict[str, list[str]]) -> FiringFilter:
    try:
        outcomes = tuple(sorted({Outcome(text) for text in query.get("outcome", [])}))
    except ValueError:
        words = ", ".join(Outcome)
        raise errors.invalid("invalid_parameter", f"An outcome is one of {words}.", "/outcome") from None
    return FiringFilter(outcomes, instant(query, "from"), instant(query, "to"))


ENDPOINTS: list[Endpoint] = [
    create_trigger,
    preview_trigger,
    read_triggers,
    read_one_trigger,
    change_trigger,
    remove_trigger,
    pause_trigger,
    resume_trigger,
    rotate_secret,
    test_trigger,
    read_firings,
]
