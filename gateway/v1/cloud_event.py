"""CloudEvents 1.0 over HTTP as usage events: structured, binary and batch mode.

Responsible for: reading the three modes, each event strictly and with its place in a batch in every problem. Extension
attributes may be there and are not kept (CloudEvents §3). Refuses `data` that is not `{"meter", "quantity"}`.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct

from gateway.exchange import Exchange
from waypost import document, errors
from waypost.errors import Category, Problem, WaypostError
from waypost.usage.decision import MAX_DIGITS, instant_problem, meter_problem, quantity_of, source_problem
from waypost.usage.model import MAX_EVENTS, UsageEvent

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_PROBLEMS = 100

_Text = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class UsageData(Struct, forbid_unknown_fields=True):
    """How much of what. `quantity` is a decimal as a number or a string, taken exactly as it is written."""

    meter: str
    quantity: Annotated[msgspec.Raw, Meta(description="An exact decimal, as a number or a string.")]


class NewUsageEvent(Struct, kw_only=True):
    """One CloudEvent. `(source, id)` makes a repeat harmless; without `time` it happened now."""

    specversion: Literal["1.0"]
    id: _Text
    source: _Text
    type: _Text
    data: UsageData
    time: datetime | None = None
    subject: _Text | None = None
    datacontenttype: str | None = None


async def read_events(exchange: Exchange, now: datetime) -> list[UsageEvent]:
    """The events of a request, in order. Raises 400, 413, 415, 422 naming every event that may not be."""
    body = await exchange.body()
    kind = (exchange.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if exchange.headers.get(b"ce-specversion") is not None and kind not in (STRUCTURED, BATCH):
        return _judged([_binary(exchange, body, kind)], now, batch=False)
    if kind not in (STRUCTURED, BATCH, "application/json"):
        raise _media_type(kind)
    if kind == BATCH or (kind != STRUCTURED and body.lstrip()[:1] == b"["):
        events = document.read(body, list[NewUsageEvent])
        if not 1 <= len(events) <= MAX_EVENTS:
            raise errors.invalid("too_many_events", f"A batch has 1 to {MAX_EVENTS} events, not {len(events)}.")
        return _judged(events, now, batch=True)
    return _judged([document.read(body, NewUsageEvent)], now, batch=False)


def _binary(exchange: Exchange, body: bytes, kind: str) -> NewUsageEvent:
    """Attributes in headers, `data` in the body."""
    attributes: dict[str, object] = {
        name[3:].decode("latin-1"): unquote(value.decode("latin-1"))
        for name, value in exchange.headers.items()
        if name.startswith(b"ce-")
    }
    attributes.pop("data", None)
    attributes["datacontenttype"] = kind
    data = document.read(body, UsageData)
    try:
        return msgspec.convert(attributes | {"data": data}, NewUsageEvent, str_keys=True)
    except msgspec.ValidationError as error:
        problem = document.explain(error)
        raise errors.invalid(problem.code, f"{problem.message} (header ce-…)", problem.path) from None


def _judged(events: list[NewUsageEvent], now: datetime, *, batch: bool) -> list[UsageEvent]:
    problems: list[Problem] = []
    made = []
    for index, event in enumerate(events):
        place = f"/{index}" if batch else ""
        quantity = quantity_of(bytes(event.data.quantity).decode())
        found = list(_problems(event, place, now, counted=quantity is not None))
        problems += found
        if quantity is not None and not found:
            made.append(UsageEvent(event.source, event.id, event.data.meter, quantity, event.time, event.subject))
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise errors.invalid(problems[0].code, problems[0].message, problems[0].path, *problems[1:MAX_PROBLEMS])
    return made


def _problems(event: NewUsageEvent, place: str, now: datetime, *, counted: bool) -> Iterator[Problem]:
    media = (event.datacontenttype or "application/json").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        yield Problem(f"{place}/datacontenttype", "unsupported_media_type", "The data of a usage event is JSON.")
    if not counted:
        text = f"A quantity is a decimal of at most {MAX_DIGITS} digits on either side of the point."
        yield Problem(f"{place}/data/quantity", "invalid_quantity", text)
    for problem in (
        meter_problem(event.data.meter, f"{place}/data/meter"),
        source_problem(event.source, f"{place}/source"),
        None if event.time is None else instant_problem(event.time, now, f"{place}/time"),
    ):
        if problem is not None:
            yield problem


def _media_type(kind: str) -> WaypostError:
    return WaypostError(
        "unsupported_media_type",
        f"Send {STRUCTURED}, {BATCH}, or the ce- headers of binary mode with JSON; not {kind[:100]!r}.",
        Category.MEDIA_TYPE,
    )
