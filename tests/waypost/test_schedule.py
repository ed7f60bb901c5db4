"""When schedules are due: fields, zones and their jumps, held against a walk through every minute."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.trigger.schedule import CatchUp, Overlap, check, fires_at, jitter, next_fire_times

YEAR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
YEARS = {
    "UTC": YEAR,
    "Europe/Helsinki": YEAR,
    "America/New_York": YEAR,
    "Australia/Lord_Howe": YEAR,  # jumps by half an hour
    "Pacific/Chatham": YEAR,  # is 12:45 ahead, and jumps at 2:45
    "Asia/Kolkata": YEAR,
    "Pacific/Apia": (datetime(2011, 7, 1, tzinfo=UTC), datetime(2012, 7, 1, tzinfo=UTC)),  # drops a whole day
}
OF_DAY = ("30 3 * * *", "0,15,45 1,2,3 * * *", "15 2 * * 0", "0 0 1 * *", "45 2 29-31 * 5", "5 12 30 12 *")
FOLLOWING = ("*/15 * * * *", "*/20 2 * * *", "0 */3 * * *", "10 * * * 1-5")
MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (local time)


def times(cron: str, zone: str, after: datetime, most: int) -> list[datetime]:
    return next_fire_times(check({"schedule": {"cron": cron, "timezone": zone}}), after, most)


# --- the oracle: no cronsim, no transitions, just every minute ------------------------------------------------------


def numbers(field: str, least: int, most: int) -> frozenset[int]:
    """The numbers that a field names; nothing but `*`, `/`, `-` and `,`."""
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        first, last = (least, most) if span == "*" else (int(low), int(high or low))
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def walked(cron: str, walls: list[int], start: datetime) -> list[datetime]:
    """The due times after `start` by cron(8): one minute after the other, each with the wall clock that it shows."""
    minute, hour, day, month, weekday = cron.split()
    minutes, hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
    days, months = numbers(day, 1, 31), numbers(month, 1, 12)
    weekdays = {number % 7 for number in numbers(weekday, 0, 7)}
    either = not day.startswith("*") and not weekday.startswith("*")
    of_day = not minute.startswith("*") and not hour.startswith("*")
    dates: dict[int, bool] = {}

    def matches(wall: int) -> bool:
        if wall % 60 not in minutes or wall // 60 % 24 not in hours:
            return False
        number = wall // 1440
        if number not in dates:
            date = EPOCH + timedelta(days=number)
            by_day, by_weekday = date.day in days, date.isoweekday() % 7 in weekdays
            dates[number] = date.month in months and (by_day or by_weekday if either else by_day and by_weekday)
        return dates[number]

    found = []
    highest = walls[0]
    for passed, wall in enumerate(walls[1:], 1):
        if not of_day or wall == highest + 1:
            is_due = wall % 60 in minutes and matches(wall)  # the first is half of this test's time
        else:  # after a gap everything that the wall clock left out is made good at once; in a fold it was already
            is_due = any(matches(left_out) for left_out in range(highest + 1, wall + 1))
        if is_due:
            found.append(start + passed * MINUTE)
        highest = max(highest, wall)
    return found


def walls_of(zone: str, start: datetime, end: datetime) -> list[int]:
    """For every minute from `start` to `end`, the minutes since 1970 that a wall clock there shows."""
    tz, quarter = ZoneInfo(zone), timedelta(minutes=15)  # no zone of these years jumps within a quarter of an hour
    quarters = ((start + n * quarter).astimezone(tz).replace(tzinfo=None) for n in range((end - start) // quarter))
    return [(wall - EPOCH) // MINUTE + n for wall in quarters for n in range(15)]


@pytest.mark.parametrize("zone", YEARS)
def test_a_year_is_as_a_walk_through_every_minute_finds_it(zone: str) -> None:
    """Times of day and schedules that follow real time, over a year of each zone with all its jumps."""
    start, end = YEARS[zone]
    jumps = len({tz_offset(zone, start + timedelta(hours=n)) for n in range(0, 366 * 24, 12)})
    assert (jumps > 1) == (zone not in ("UTC", "Asia/Kolkata")), "the zone's file says something else"
    walls = walls_of(zone, start, end)
    for cron in OF_DAY + FOLLOWING if zone in ("Europe/Helsinki", "Pacific/Apia") else OF_DAY[:3] + FOLLOWING[1:2]:
        wanted = walked(cron, walls, start)
        found = list(itertools.takewhile(lambda due: due < end, times(cron, zone, start, len(wanted) + 1)))
        assert found == wanted, cron
        assert wanted


def tz_offset(zone: str, instant: datetime) -> timedelta | None:
    return instant.astimezone(ZoneInfo(zone)).utcoffset()


def test_a_time_that_is_skipped_is_due_once_at_the_end_of_the_gap() -> None:
    """Helsinki has no 3:30 on 29 March 2026."""
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    expected = [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]
    assert times("30 3 * * *", "Europe/Helsinki", start, 2) == expected
    assert times("0,20,40 3 * * *", "Europe/Helsinki", start, 2) == [expected[0], expected[1].replace(minute=0)]
    assert times("30 30 3 * * *", "Europe/Helsinki", start, 1) == expected[:1], "six fields are no different"


def test_a_time_that_comes_twice_is_due_once_the_first_time() -> None:
    """New York has 1:30 twice on 1 November 2026; asked in between, it is over."""
    first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    following = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
    assert times("30 1 * * *", "America/New_York", first - timedelta(hours=3), 2) == [first, following]
    for minutes in (0, 15, 45, 60, 75):
        assert times("30 1 * * *", "America/New_York", first + timedelta(minutes=minutes), 1) == [following]


def test_a_wildcard_follows_real_time() -> None:
    """Every half hour stays half an hour, whatever the clocks on the wall do."""
    for start in (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 23, tzinfo=UTC)):
        found = times("*/30 * * * *", "Europe/Helsinki", start, 10)
        assert found == [start + timedelta(minutes=30 * n) for n in range(1, 11)]


def test_a_sixth_field_stands_first_and_is_the_second() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert times("*/20 * * * * *", "UTC", start, 3) == [start + timedelta(seconds=20 * n) for n in (1, 2, 3)]
    assert times("5 4 3 * * *", "UTC", start, 1) == [datetime(2026, 1, 1, 3, 4, 5, tzinfo=UTC)]


def test_the_last_day_and_the_nth_weekday_can_be_named() -> None:
    start = datetime(2026, 2, 1, tzinfo=UTC)
    assert times("0 6 L * *", "UTC", start, 1) == [datetime(2026, 2, 28, 6, tzinfo=UTC)]
    assert times("0 6 * * MON#2", "UTC", start, 1) == [datetime(2026, 2, 9, 6, tzinfo=UTC)]
    assert times("0 0 29 feb *", "UTC", start, 2) == [datetime(y, 2, 29, tzinfo=UTC) for y in (2028, 2032)]


@pytest.mark.parametrize(
    ("cron", "word"),
    [
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * 32 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("* * * * MON#6", "day-of-week"),
        ("60 * * * * *", "second"),
        ("0 60 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("a b c d e", "minute"),
        ("* * * * 1L/2", "day-of-week"),
        ("30 30 30 30 30", "hour"),
        ("* * * *", "five fields"),
        ("* * * * * * *", "five fields"),
        ("", "five fields"),
        ("@daily", "five fields"),
        ("٣ * * * *", "minute"),
    ],
)
def test_a_bad_field_is_named(cron: str, word: str) -> None:
    """422 at /schedule/cron, with the name of the field that is at fault."""
    with pytest.raises(WaypostError) as caught:
        check({"schedule": {"cron": cron}})
    assert (caught.value.code, caught.value.problems[0].path) == ("invalid_cron", "/schedule/cron")
    assert word in caught.value.detail


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 */30 2 1#5"])
def test_what_is_never_due_is_refused(cron: str) -> None:
    with pytest.raises(WaypostError) as caught:
        check({"schedule": {"cron": cron}})
    assert (caught.value.code, caught.value.problems[0].path) == ("never_due", "/schedule/cron")
    assert "never due" in caught.value.detail


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "europe", "Europe", "../etc/passwd", "/etc/localtime", "", "x\0y"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(WaypostError) as caught:
        check({"schedule": {"cron": "* * * * *", "timezone": zone}})
    assert (caught.value.code, caught.value.problems[0].path) == ("unknown_timezone", "/schedule/timezone")


@pytest.mark.parametrize(
    ("wrong", "code", "path"),
    [
        ({}, "missing_field", "/schedule"),
        ({"schedule": {}}, "missing_field", "/schedule"),
        ({"schedule": {"every_seconds": 0}}, "out_of_range", "/schedule/every_seconds"),
        ({"schedule": {"every_seconds": 1.5}}, "wrong_type", "/schedule/every_seconds"),
        ({"schedule": {"every_seconds": 10**12}}, "out_of_range", "/schedule/every_seconds"),
        ({"schedule": {"every_seconds": 5, "cron": "* * * * *"}}, "exclusive_fields", "/schedule/every_seconds"),
        ({"schedule": {"every_seconds": 5, "timezone": "UTC"}}, "exclusive_fields", "/schedule/timezone"),
        ({"schedule": {"cron": 5}}, "wrong_type", "/schedule/cron"),
        ({"schedule": {"cron": "1," * 200 + "1 * * * *"}}, "invalid_value", "/schedule/cron"),
        ({"schedule": {"every_seconds": 5}, "jitter_seconds": -1}, "out_of_range", "/jitter_seconds"),
        ({"schedule": {"every_seconds": 5}, "overlap": "queue"}, "invalid_value", "/overlap"),
        ({"schedule": {"every_seconds": 5}, "catch_up": True}, "wrong_type", "/catch_up"),
        ({"schedule": {"every_seconds": 5}, "verify": {}}, "unknown_field", "/verify"),
    ],
)
def test_bad_settings_are_refused_where_they_stand(wrong: dict[str, Any], code: str, path: str) -> None:
    with pytest.raises(WaypostError) as caught:
        check(wrong)
    assert (caught.value.code, caught.value.problems[0].path) == (code, path)


def test_defaults_are_spelled_out() -> None:
    """UTC; overlap allowed; nothing caught up; no jitter."""
    found = check({"schedule": {"cron": "* * * * *"}})
    assert (found.schedule.timezone, found.overlap, found.catch_up) == ("UTC", Overlap.ALLOW, CatchUp.NONE)
    assert found.jitter_seconds == 0


def test_every_seconds_counts_from_the_creation_without_drift() -> None:
    """Asked late, however late, the times are still whole periods after the creation, to the millisecond."""
    made = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
    anchor = made.replace(microsecond=123_000)
    every = check({"schedule": {"every_seconds": 7}})
    assert next_fire_times(every, made, 2, made) == [anchor + timedelta(seconds=n) for n in (7, 14)]
    assert next_fire_times(every, made - timedelta(days=1), 1, made) == [anchor + timedelta(seconds=7)]
    late = anchor + timedelta(days=400, seconds=3.3)
    found = next_fire_times(every, late, 1, made)[0]
    assert (found - anchor) % timedelta(seconds=7) == timedelta()
    assert timedelta() < found - late <= timedelta(seconds=7)


def test_jitter_is_the_same_whoever_asks_and_differs_by_trigger_and_due_time() -> None:
    due = [datetime(2026, 1, 1, tzinfo=UTC) + n * MINUTE for n in range(500)]
    one, other = UUID(int=1), UUID(int=2)
    found = [jitter(one, instant, 30) for instant in due]
    assert found == [jitter(one, instant, 30) for instant in due]
    assert found != [jitter(other, instant, 30) for instant in due]
    assert all(timedelta() <= late < timedelta(seconds=30) for late in found)
    assert len({int(late.total_seconds()) for late in found}) == 30, "the whole span is used"
    plain = check({"schedule": {"every_seconds": 5}})
    assert fires_at(plain, one, due[0]) == due[0]


# --- for any expression -----------------------------------------------------------------------------------------------


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, most).map(lambda n: f"*/{n}")
    several = st.lists(number, min_size=2, max_size=3).map(lambda found: ",".join(map(str, found)))
    return st.one_of(st.just("*"), number.map(str), span, step, several)


CRONS = st.tuples(field(0, 59), field(0, 23), st.just("*"), st.just("*"), field(0, 7)).map(" ".join)
SPARSE = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)).map(" ".join)
ZONES = st.sampled_from([zone for zone in YEARS if zone != "Pacific/Apia"])
INSTANTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
JUMPS = st.sampled_from(
    [
        datetime(2026, month, day, tzinfo=UTC)
        for month, day in ((3, 8), (3, 29), (4, 4), (9, 26), (10, 3), (10, 25), (11, 1))
    ]
)


@settings(max_examples=150, deadline=None)
@given(cron=st.one_of(CRONS, SPARSE), zone=ZONES, after=INSTANTS, share=st.floats(0, 0.999))
def test_due_times_increase_and_asking_again_goes_on(cron: str, zone: str, after: datetime, share: float) -> None:
    """Strictly increasing, all later than asked; asked again from one of them, or from between two, it is the rest: a
    process that starts anew finds what the one before would have found."""
    found = times(cron, zone, after, 12)
    assert all(early < late for early, late in itertools.pairwise([after, *found]))
    for number, due in enumerate(found[:-1]):
        assert times(cron, zone, due, 2)[0] == found[number + 1]
        between = due + (found[number + 1] - due) * share
        assert times(cron, zone, between, 1) == [found[number + 1]]


@settings(max_examples=60, deadline=None)
@given(cron=CRONS, zone=ZONES, day=JUMPS)
def test_around_a_jump_any_expression_is_as_the_walk_finds_it(cron: str, zone: str, day: datetime) -> None:
    start, end = day - timedelta(days=1), day + timedelta(days=2)
    wanted = walked(cron, walls_of(zone, start, end), start)
    found = list(itertools.takewhile(lambda due: due < end, times(cron, zone, start, len(wanted) + 1)))
    assert found == wanted


@settings(max_examples=300, deadline=None)
@given(text=st.text("0123456789*/,-#LWMONJAN ", max_size=24))
def test_no_text_is_more_than_refused(text: str) -> None:
    """Whatever is written as cron either has due times or is 422."""
    try:
        schedule = check({"schedule": {"cron": text}})
    except WaypostError as error:
        paths = [problem.path for problem in error.problems]
    else:
        paths = ["/schedule/cron"] if next_fire_times(schedule, datetime(2026, 1, 1, tzinfo=UTC), 1) else []
    assert paths == ["/schedule/cron"]
