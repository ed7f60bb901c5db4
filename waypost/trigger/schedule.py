"""When a schedule is due: its settings judged, its times computed. Pure; nobody's clock is read (native contract §5).

Local time jumps where a zone changes its offset. As cron(8) has it on Debian: a job whose minute and hour fields both
begin without `*` runs at its time of day, so one that is skipped runs once, at the end of the gap, and one that comes
twice runs the first time. Every other job follows real time. `cronsim` reads the fields and walks the calendar; the
jumps are ours, because cronsim knows them for five fields only and loses minutes where the jump is not a whole hour.
"""

import copy
import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import count, islice
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from cronsim import CronSim, CronSimError

from waypost.document import explain
from waypost.errors import WaypostError, invalid

MAX_EVERY_SECONDS = 366 * 86_400
MAX_JITTER_SECONDS = 3_600
MAX_CRON_CHARACTERS = 256

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_LAST_YEAR = 9_990
# By cronsim's own names, with what each takes.
_FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, with #1 to #5 or L",
}


class Overlap(StrEnum):
    """What happens at a due time while a job of the trigger still waits or runs."""

    ALLOW = "allow"
    SKIP = "skip"
    CANCEL_RUNNING = "cancel_running"


class CatchUp(StrEnum):
    """Which of the due times that were missed are made good."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`cron` with its `timezone` (UTC unless given), or `every_seconds`."""

    cron: Annotated[str, msgspec.Meta(max_length=MAX_CRON_CHARACTERS)] | None = None
    timezone: str | None = None
    every_seconds: Annotated[int, msgspec.Meta(ge=1, le=MAX_EVERY_SECONDS)] | None = None


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a schedule is beside its job; encoded, it is its settings with every default spelled out."""

    schedule: Timing
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.NONE
    jitter_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_JITTER_SECONDS)] = 0


def check(settings: Mapping[str, Any]) -> Schedule:
    """Settings as JSON values, judged. WaypostError 422 with a JSON pointer: `invalid_cron` (naming the field),
    `unknown_timezone`, `never_due`, and those of any document."""
    if "schedule" not in settings:
        raise invalid("missing_field", "The field 'schedule' is required; send it.", "/schedule")
    try:
        found = msgspec.convert(settings, Schedule)
    except msgspec.ValidationError as error:
        problem = explain(error)
        raise invalid(problem.code, problem.message, problem.path) from None
    _check_timing(found.schedule)
    if found.schedule.cron is not None and found.schedule.timezone is None:
        return msgspec.structs.replace(found, schedule=Timing(found.schedule.cron, "UTC"))
    return found


def _check_timing(timing: Timing) -> None:
    if timing.cron is None and timing.every_seconds is None:
        raise invalid("missing_field", "A schedule has cron or every_seconds; send one of them.", "/schedule")
    if timing.cron is None:
        if timing.timezone is not None:
            raise invalid("exclusive_fields", "every_seconds knows no time zone; leave it out.", "/schedule/timezone")
        return
    if timing.every_seconds is not None:
        message = "cron and every_seconds exclude each other; send one of them."
        raise invalid("exclusive_fields", message, "/schedule/every_seconds")
    _check_zone(timing.timezone)
    _check_cron(timing.cron)


def _check_zone(name: str | None) -> None:
    if name is not None and name != "UTC" and name not in _zones():
        message = f"There is no time zone {name[:64]!r}; use an IANA name such as Europe/Helsinki or UTC."
        raise invalid("unknown_timezone", message, "/schedule/timezone")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _check_cron(text: str) -> None:
    count = len(text.split())
    if count not in (5, 6):
        raise _bad_cron(f"A cron expression has five fields, or six with seconds first; this one has {count}.")
    try:
        template = _template(text)
    except (CronSimError, AssertionError) as error:  # an assertion: an item that a step cannot follow
        raise _explained(text, error) from None
    if _match_after(template, datetime(2000, 1, 1)) is None:  # noqa: DTZ001 (local time of nowhere)
        raise _never(text)


def _explained(text: str, error: Exception) -> WaypostError:
    name = str(error).removeprefix("Bad ")
    if name not in _FIELDS:
        return _bad_cron("A field of the cron expression cannot be read.")
    fields = text.split()
    written = fields[list(_FIELDS).index(name) - (6 - len(fields))]
    try:
        _template(" ".join(["*" if field != written else field for field in fields]))
    except (CronSimError, AssertionError):
        message = f"The {name} field cannot be read: {written[:64]!r}. It takes {_FIELDS[name]}, with * , - and /."
        return _bad_cron(message)
    return _never(text)  # each field is good by itself


def _bad_cron(message: str) -> WaypostError:
    return invalid("invalid_cron", message, "/schedule/cron")


def _never(text: str) -> WaypostError:
    message = f"{text!r} is never due: in no month is there such a day-of-month."
    return invalid("never_due", message, "/schedule/cron")


# --- due times --------------------------------------------------------------------------------------------------------


def next_fire_times(schedule: Schedule, after: datetime, most: int, anchor: datetime = EPOCH) -> list[datetime]:
    """The first `most` due times later than `after`, strictly increasing, in UTC; fewer when there are no more. What
    they are depends on the schedule alone: asking again from any of them goes on with the next. `anchor`: from when on
    `every_seconds` is counted, the trigger's creation."""
    return list(islice(due_times(schedule, after, anchor), most))


def due_times(schedule: Schedule, after: datetime, anchor: datetime) -> Iterator[datetime]:
    """The due times later than `after`, as they come."""
    timing = schedule.schedule
    if timing.cron is None:
        return _every(timedelta(seconds=timing.every_seconds or 1), anchor, after)
    local = _local_times(timing.cron, timing.timezone or "UTC", after.astimezone(UTC).replace(tzinfo=None))
    return (instant.replace(tzinfo=UTC) for instant in local)


def jitter(trigger_id: UUID, due_at: datetime, jitter_seconds: float) -> timedelta:
    """How long after its due time a schedule fires: the same whenever it is asked, at least 0, less than
    `jitter_seconds`."""
    if not jitter_seconds:
        return timedelta()
    seed = trigger_id.bytes + int(due_at.timestamp() * 1_000).to_bytes(8, "big", signed=True)
    share = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") / 2**64
    return timedelta(milliseconds=int(share * jitter_seconds * 1_000))


def fires_at(schedule: Schedule, trigger_id: UUID, due_at: datetime) -> datetime:
    """When the due time makes its job: then, or its jitter later."""
    return due_at + jitter(trigger_id, due_at, schedule.jitter_seconds)


def _every(period: timedelta, anchor: datetime, after: datetime) -> Iterator[datetime]:
    """In whole milliseconds, as due times are told and jobs are keyed."""
    anchor = anchor.replace(microsecond=anchor.microsecond // 1_000 * 1_000)
    number = max((after - anchor) // period, 0) + 1
    return (anchor + n * period for n in count(number))


def _local_times(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Due times later than `after`; here as there naive UTC."""
    template = _template(cron)
    of_day = not any(field.startswith("*") for field in cron.split()[-5:][:2])  # minute and hour
    for start, end, before, offset in _stretches(zone, after):
        floor = max(after + offset, start + offset - _SECOND)  # what is later than this, in local time
        if of_day and offset < before:  # the end of the last stretch comes again
            floor = max(floor, start + before - _SECOND)
        if of_day and offset > before and after < start:
            skipped = _match_after(template, start + before - _SECOND)
            if skipped is not None and skipped < start + offset:
                yield start
                floor = start + offset
        while True:
            found = _match_after(template, floor)
            if found is None:
                return
            if end is not None and found - offset >= end:
                break
            yield found - offset
            floor = found


def _match_after(template: CronSim, floor: datetime) -> datetime | None:
    """The first local time later than `floor` that the fields match, as if no zone ever jumped."""
    walk = copy.copy(template)
    walk.dt = floor.replace(microsecond=0)
    try:
        return next(walk)
    except (StopIteration, OverflowError, ValueError):  # none within 50 years, or before the calendar ends
        return None


@lru_cache(maxsize=8_192)
def _template(text: str) -> CronSim:
    """The expression read; a copy of it walks from its `dt`."""
    return CronSim(text, datetime(2000, 1, 1))  # noqa: DTZ001 (local time of nowhere)


# --- zones ------------------------------------------------------------------------------------------------------------


def _stretches(zone: str, after: datetime) -> Iterator[tuple[datetime, datetime | None, timedelta, timedelta]]:
    """Stretches of one offset, from the one that `after` lies in: (start, end or None, offset before, offset)."""
    if zone == "UTC":
        yield after, None, timedelta(), timedelta()
        return
    year = after.year
    known = [_offset(zone, datetime(year - 1, 1, 1))]  # noqa: DTZ001
    changes = [*_changes(zone, year - 1), *_changes(zone, year)]
    index = bisect_right(changes, after) - 1
    start = changes[index] if index >= 0 else datetime(year - 1, 1, 1)  # noqa: DTZ001
    before = _offset(zone, start - _SECOND) if index >= 0 else known[0]
    index += 1
    while True:
        while index >= len(changes) and year < _LAST_YEAR and year <= start.year + 60:
            year += 1
            changes.extend(_changes(zone, year))
        end = changes[index] if index < len(changes) else None
        offset = _offset(zone, start)
        yield start, end, before, offset
        if end is None:
            return
        start, before, index = end, offset, index + 1


@lru_cache(maxsize=4_096)
def _changes(zone: str, year: int) -> tuple[datetime, ...]:
    """The instants of a year at which the zone's offset changes."""
    found = []
    day, last = datetime(year, 1, 1), datetime(year + 1, 1, 1)  # noqa: DTZ001
    while day < last:
        if _offset(zone, day) != _offset(zone, day + _DAY):
            found.append(_change(zone, day, day + _DAY))
        day += _DAY
    return tuple(found)


def _change(zone: str, low: datetime, high: datetime) -> datetime:
    """The first second after `low`, up to `high`, whose offset is not that of `low`."""
    offset = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high


def _offset(zone: str, instant: datetime) -> timedelta:
    return instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
