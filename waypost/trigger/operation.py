"""Making, changing, pausing and deleting triggers, and rotating their secrets.

Each runs inside the caller's unit of work and writes its audit entry there. A secret is sealed before it is kept and
answered once, by whoever called. Refuses to hold a trigger's name for anybody: names may repeat, ids may not.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from waypost import clock, document, errors, ids
from waypost.access.model import Scope
from waypost.audit.model import AuditEntry
from waypost.job.model import JobSpec
from waypost.tenancy.decision import checked_name
from waypost.trigger import schedule
from waypost.trigger.decision import check_job, check_webhook, needs_given_secret, payload_of, shown_headers
from waypost.trigger.model import MAX_SECRET_OVERLAP, SECRET_OVERLAP, Kind, Trigger, WebhookSettings, secret_place
from waypost.trigger.port import TriggerUnit
from waypost.trigger.signature import check_secret, make_secret

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COMMON = frozenset({"kind", "name", "job", "secret"})
NEXT_FIRE_TIMES = 5  # in the read shape


class Seal(Protocol):
    """The environment's data key."""

    def seal(self, place: str, plaintext: bytes) -> bytes: ...


class Draft(msgspec.Struct, frozen=True):
    """What somebody wants a trigger to be, judged."""

    kind: Kind
    name: str
    job: JobSpec
    settings: Mapping[str, Any]


# --- reading --------------------------------------------------------------------------------------------------------


def read_draft(body: bytes) -> tuple[Draft, str | None]:
    """A new trigger and the secret that was given for it. Raises 400, 422 with pointers."""
    members = _members(body)
    kind = _kind(members)
    for name in ("name", "job"):
        if name not in members:
            raise errors.invalid("missing_field", f"The field '{name}' is required; send it.", f"/{name}")
    settings = _values({name: raw for name, raw in members.items() if name not in _COMMON})
    draft = Draft(kind, _name(members["name"]), check_job(bytes(members["job"])), check_settings(kind, settings))
    return draft, _secret(draft, members.get("secret"))


def read_preview(body: bytes) -> tuple[Kind, UUID | None, Mapping[str, Any]]:
    """Settings that are only asked about, and the trigger that they are to be of. Raises 400, 422 with pointers."""
    members = _members(body)
    kind, given = _kind(members), members.pop("trigger_id", None)
    settings = _values({name: raw for name, raw in members.items() if name != "kind"})
    settings = {name: value for name, value in settings.items() if value is not None}
    trigger_id = None if given in (None, b"null") else ids.parse_id(_text(given, "trigger_id"))
    if given not in (None, b"null") and trigger_id is None:
        raise errors.invalid("invalid_value", "trigger_id is the id of a trigger.", "/trigger_id")
    return kind, trigger_id, check_settings(kind, settings)


def read_change(trigger: Trigger, body: bytes) -> Draft:
    """The trigger with what a PATCH changes: a member stays when it is left out, and is its default again when it is
    null. Raises 400, 422; the kind and secrets are not changed here."""
    members = _members(body)
    for name in ("kind", "secret"):
        if name in members:
            hint = "make another trigger" if name == "kind" else "rotate it with /rotate-secret"
            raise errors.invalid("not_changeable", f"{name} cannot be changed here; {hint}.", f"/{name}")
    given = _values({name: raw for name, raw in members.items() if name not in _COMMON})
    settings = {name: value for name, value in ({**trigger.settings, **given}).items() if value is not None}
    _keep_scheme(trigger, settings)
    return Draft(
        trigger.kind,
        _name(members["name"]) if "name" in members else trigger.name,
        check_job(bytes(members["job"])) if "job" in members else trigger.job,
        check_settings(trigger.kind, settings),
    )


def _keep_scheme(trigger: Trigger, settings: Mapping[str, Any]) -> None:
    before, after = trigger.settings.get("verify"), settings.get("verify")
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before.get("scheme") != after.get("scheme"):
        raise errors.invalid("not_changeable", "Its secrets are of its scheme; make another trigger.", "/verify/scheme")


def check_settings(kind: Kind, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of that kind as they are kept: judged, defaults left out or spelled as the kind likes."""
    found: Any = check_webhook(settings) if kind is Kind.WEBHOOK else schedule.check(settings)
    kept: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return kept


def webhook_settings(trigger: Trigger) -> WebhookSettings:
    """The settings of a webhook trigger."""
    return msgspec.convert(trigger.settings, WebhookSettings)


def _members(body: bytes) -> dict[str, msgspec.Raw]:
    document.verify(body)
    try:
        return _MEMBERS.decode(body)
    except msgspec.ValidationError:
        raise errors.invalid("wrong_type", "The body must be an object.") from None


def _values(members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: msgspec.json.decode(raw) for name, raw in members.items()}


def _kind(members: Mapping[str, msgspec.Raw]) -> Kind:
    if "kind" not in members:
        raise errors.invalid("missing_field", "The field 'kind' is required; send it.", "/kind")
    try:
        return msgspec.json.decode(members["kind"], type=Kind)
    except msgspec.ValidationError:
        raise errors.invalid("invalid_value", 'kind is "webhook" or "schedule".', "/kind") from None


def _name(raw: msgspec.Raw) -> str:
    return checked_name(_text(raw, "name"))


def _secret(draft: Draft, raw: msgspec.Raw | None) -> str | None:
    if draft.kind is not Kind.WEBHOOK:
        if raw is not None:
            raise errors.invalid("unknown_field", "There is no field 'secret' here; remove it.", "/secret")
        return None
    return checked_secret(_verification(draft.settings), None if raw is None else _text(raw, "secret"))


def checked_secret(settings: WebhookSettings, given: str | None) -> str | None:
    """The secret that was given, if the scheme can use it; raises 422 when the sender makes it and none was given."""
    scheme = settings.verify.scheme
    if given is not None:
        return check_secret(scheme, given)
    if needs_given_secret(scheme):
        raise errors.invalid(
            "missing_field", f"{scheme.capitalize()} makes the signing secret; send it as secret.", "/secret"
        )
    return None


def _text(raw: msgspec.Raw, name: str) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        raise errors.invalid("wrong_type", f"{name} must be a string.", f"/{name}") from None


def _verification(settings: Mapping[str, Any]) -> WebhookSettings:
    return msgspec.convert(settings, WebhookSettings)


# --- changes ----------------------------------------------------------------------------------------------------------


async def create_trigger(
    unit: TriggerUnit, key: Seal, scope: Scope, actor: str, draft: Draft, secret: str | None
) -> tuple[Trigger, str | None]:
    """The trigger, and the secret where it was made here: nobody sees it again."""
    now = clock.now()
    trigger = Trigger(
        ids.new_id(), _environment(scope), draft.kind, draft.name, draft.job, draft.settings, actor, now, now
    )
    await unit.add_trigger(trigger)
    made = None
    if trigger.kind is Kind.WEBHOOK:
        made = await _add_secret(unit, key, trigger, 1, secret)
    else:
        await unit.place_schedule(trigger)
    await unit.add_audit(_entry(scope, actor, "trigger.create", trigger, {"kind": trigger.kind.value}))
    return trigger, made


async def change_trigger(unit: TriggerUnit, scope: Scope, actor: str, trigger: Trigger, draft: Draft) -> Trigger:
    """A held trigger as `draft` has it; a schedule is due anew when its settings changed."""
    wanted = msgspec.structs.replace(trigger, name=draft.name, job=draft.job, settings=draft.settings)
    changed = await unit.replace_trigger(wanted)
    if changed.kind is Kind.SCHEDULE and changed.settings != trigger.settings:
        await unit.place_schedule(changed)
    fields = [name for name in ("name", "job", "settings") if getattr(changed, name) != getattr(trigger, name)]
    await unit.add_audit(_entry(scope, actor, "trigger.change", changed, {"changed": ", ".join(fields)}))
    return changed


async def pause_trigger(unit: TriggerUnit, scope: Scope, actor: str, trigger: Trigger) -> Trigger:
    """A held trigger that fires no more; one that is paused stays as it is."""
    if trigger.paused_at is not None:
        return trigger
    changed = await unit.replace_trigger(msgspec.structs.replace(trigger, paused_at=clock.now(), paused_by=actor))
    if changed.kind is Kind.SCHEDULE:
        await unit.place_schedule(changed)
    await unit.add_audit(_entry(scope, actor, "trigger.pause", changed))
    return changed


async def resume_trigger(unit: TriggerUnit, scope: Scope, actor: str, trigger: Trigger) -> Trigger:
    """A held trigger that fires again, from now on: what was due while it was paused is not made up for."""
    if trigger.paused_at is None:
        return trigger
    changed = await unit.replace_trigger(msgspec.structs.replace(trigger, paused_at=None, paused_by=None))
    if changed.kind is Kind.SCHEDULE:
        await unit.place_schedule(changed)
    await unit.add_audit(_entry(scope, actor, "trigger.resume", changed))
    return changed


async def delete_trigger(unit: TriggerUnit, scope: Scope, actor: str, trigger: Trigger) -> None:
    """A held trigger goes, its secrets with it; its firings and jobs stay as long as retention lets them."""
    await unit.delete_trigger(trigger.environment_id, trigger.id)
    await unit.add_audit(_entry(scope, actor, "trigger.delete", trigger))


async def rotate_secret(
    unit: TriggerUnit, key: Seal, scope: Scope, actor: str, trigger: Trigger, secret: str | None, overlap: float | None
) -> tuple[Trigger, str | None]:
    """A new secret beside the one before, which is valid for `overlap` seconds more (24 h unless given).

    Raises 422 for an overlap out of range, 409 `no_secret` for a schedule.
    """
    if trigger.kind is not Kind.WEBHOOK:
        raise errors.conflict("no_secret", "A schedule has no secret.")
    seconds = SECRET_OVERLAP.total_seconds() if overlap is None else overlap
    if not 0 <= seconds <= MAX_SECRET_OVERLAP.total_seconds():
        raise errors.invalid("out_of_range", "overlap_seconds is from 0 to 2592000 (30 days).", "/overlap_seconds")
    secret = checked_secret(webhook_settings(trigger), secret)
    changed = await unit.replace_trigger(trigger)
    ordinal = await unit.next_secret(trigger.id)
    made = await _add_secret(unit, key, trigger, ordinal, secret)
    await unit.expire_secrets(trigger.id, ordinal, seconds)
    details = {"overlap_seconds": f"{seconds:g}"}
    await unit.add_audit(_entry(scope, actor, "trigger.rotate_secret", trigger, details))
    return changed, made


def next_fire_times(trigger: Trigger, count: int = NEXT_FIRE_TIMES) -> list[datetime]:
    """The next due times of a schedule from now on, whether it is paused or not."""
    return fire_times(trigger.settings, trigger.created_at, count)


def fire_times(settings: Mapping[str, Any], since: datetime, count: int = NEXT_FIRE_TIMES) -> list[datetime]:
    """The next due times of a schedule with these settings, which is there `since` then."""
    return schedule.next_fire_times(schedule.check(settings), clock.now(), count, since)


def test_payload(trigger: Trigger, headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> bytes:
    """The payload of a firing that somebody asks for: of a webhook as if a request had brought all this, of a schedule
    the body itself."""
    if trigger.kind is not Kind.WEBHOOK:
        return body
    sent = {
        name.lower().encode("latin-1", "replace"): value.encode("latin-1", "replace") for name, value in headers.items()
    }
    sent.setdefault(b"content-type", b"application/json")
    shown = shown_headers(webhook_settings(trigger).verify, sent)
    return payload_of(shown, urlencode(query).encode(), body)


async def _add_secret(unit: TriggerUnit, key: Seal, trigger: Trigger, ordinal: int, given: str | None) -> str | None:
    secret = given or make_secret(webhook_settings(trigger).verify.scheme, secrets.token_bytes(32))
    sealed = key.seal(secret_place(trigger.id, ordinal), secret.encode())
    await unit.add_secret(trigger.environment_id, trigger.id, ordinal, sealed)
    return None if given else secret


def _environment(scope: Scope) -> UUID:
    if scope.environment_id is None:
        raise ValueError("a trigger lies in an environment")
    return scope.environment_id


def _entry(
    scope: Scope, actor: str, action: str, trigger: Trigger, details: Mapping[str, str] | None = None
) -> AuditEntry:
    return AuditEntry(
        id=ids.new_id(),
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        environment_id=scope.environment_id,
        actor=actor,
        action=action,
        target=f"trigger:{trigger.id}",
        details={"name": trigger.name, **(details or {})},
    )
