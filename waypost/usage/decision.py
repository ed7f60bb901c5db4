"""Rules of usage: what a meter may be called, which quantities and instants count. Pure."""

import re
from datetime import datetime, timedelta
from decimal import Decimal

from waypost.clock import rfc3339
from waypost.errors import Problem
from waypost.usage.model import NEWEST, OLDEST, OWN_KEPT, OWN_METERS, OWN_SOURCE

METER_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
MAX_METER_CHARACTERS = 100
MAX_DIGITS = 30  # before the point, and after it

_METER = re.compile(METER_PATTERN)
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,99})(\.\d{1,99})?([eE][+-]?\d{1,2})?", re.ASCII)


def missed_hours(last: datetime | None, hour: datetime) -> list[datetime]:
    """The hours between the last one that was sampled and this one; none before anything was sampled, and none that
    are so long ago that their events would be forgotten already."""
    if last is None:
        return []
    first = max(last, hour - OWN_KEPT) + timedelta(hours=1)
    return [first + timedelta(hours=count) for count in range(int((hour - first) / timedelta(hours=1)))]


def is_meter(name: str) -> bool:
    """Whether it has the form of a meter's name."""
    return len(name) <= MAX_METER_CHARACTERS and _METER.fullmatch(name) is not None


def meter_problem(name: str, path: str) -> Problem | None:
    """Why events may not be counted under this name; None when they may."""
    if not is_meter(name):
        text = f"A meter is named like images.rendered, in at most {MAX_METER_CHARACTERS} characters."
        return Problem(path, "invalid_meter", text)
    if name.startswith(OWN_METERS):
        text = f"Names that begin with {', '.join(OWN_METERS)} are the platform's own meters; take another."
        return Problem(path, "reserved_meter", text)
    return None


def source_problem(source: str, path: str) -> Problem | None:
    """Why events may not come from there."""
    if source.lower().startswith(OWN_SOURCE):
        return Problem(path, "reserved_source", f"Sources that begin with {OWN_SOURCE} are the platform's own.")
    return None


def quantity_of(text: str) -> Decimal | None:
    """An exact decimal of JSON's form, a number or one as a string; None for anything else and for what is too long.

    It has at most `MAX_DIGITS` digits on either side of the point.
    """
    plain = text[1:-1] if text[:1] == text[-1:] == '"' else text
    if _NUMBER.fullmatch(plain) is None:
        return None
    number = Decimal(plain)
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is finite
    return number if -exponent <= MAX_DIGITS and len(digits) + exponent <= MAX_DIGITS else None


def instant_problem(at: datetime, now: datetime, path: str) -> Problem | None:
    """Why something that happened then is not counted any more, or yet."""
    if at.tzinfo is None:
        return Problem(path, "invalid_value", "An instant says its offset from UTC: 2026-11-21T09:00:00Z.")
    if now - OLDEST <= at <= now + NEWEST:
        return None
    first, last = rfc3339(now - OLDEST), rfc3339(now + NEWEST)
    return Problem(path, "time_out_of_range", f"Events are counted from {first} to {last}; this is not one of then.")
