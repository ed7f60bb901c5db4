"""What becomes of due times that have come: late or missed, made good or not, one at a time or not."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from waypost.trigger.due import GRACE, LATE, MAX_CATCH_UP, MAX_COUNTED, Verdict, judge, overlapping
from waypost.trigger.schedule import Overlap, check, fires_at, next_fire_times

TRIGGER = UUID(int=7)
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
MINUTELY: dict[str, Any] = {"schedule": {"cron": "* * * * *"}}


def judged(settings: dict[str, Any], back: timedelta, now: datetime = NOW) -> Verdict:
    """Of a schedule of which nothing was decided for so long."""
    return judge(check(settings), TRIGGER, ANCHOR, now - back, now)


def test_a_due_time_that_has_just_come_runs() -> None:
    now = datetime(2026, 11, 21, 12, 0, 0, 2_000, tzinfo=UTC)
    verdict = judged(MINUTELY, timedelta(seconds=60), now)
    assert verdict == Verdict(
        (now.replace(microsecond=0),), None, now.replace(microsecond=0), now.replace(minute=1, microsecond=0)
    )


def test_nothing_has_come_changes_nothing() -> None:
    verdict = judged(MINUTELY, timedelta(seconds=20))
    assert (verdict.run, verdict.missed) == ((), None)
    assert verdict.decided == NOW - timedelta(seconds=20)


def test_a_little_late_is_not_missed() -> None:
    """What a restart of a worker delays runs all the same, each of it."""
    verdict = judged({"schedule": {"every_seconds": 1}}, LATE)
    assert len(verdict.run) == 5
    assert verdict.missed is None


def test_the_newest_may_be_a_minute_late() -> None:
    """So that many schedules of one moment all run; those before it were missed."""
    hourly = {"schedule": {"cron": "0 * * * *"}}
    twelve = datetime(2026, 11, 21, 12, tzinfo=UTC)
    verdict = judged(hourly, timedelta(hours=2), twelve + GRACE)
    assert verdict.run == (twelve,)
    assert verdict.missed is not None
    assert (verdict.missed.count, verdict.missed.last) == (1, twelve - timedelta(hours=1))
    verdict = judged(hourly, timedelta(hours=2), twelve + GRACE + timedelta(seconds=1))
    assert verdict.run == ()
    assert verdict.missed is not None
    assert (verdict.missed.count, verdict.missed.last) == (2, twelve)


@pytest.mark.parametrize(("how", "run", "missed"), [("none", 1, 1439), ("last", 1, 1439), ("all", 1001, 439)])
def test_a_day_of_missed_minutes_is_made_good_as_configured(how: str, run: int, missed: int) -> None:
    """One firing tells of all that is not; the newest are what is. The last minute is only late, and runs anyhow."""
    verdict = judged({**MINUTELY, "catch_up": how}, timedelta(days=1))
    assert len(verdict.run) == run
    assert verdict.missed is not None
    assert (verdict.missed.count, verdict.missed.more) == (missed, False)
    assert verdict.missed.first == datetime(2026, 11, 20, 12, 1, tzinfo=UTC)
    newest = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    assert verdict.decided == newest
    assert (verdict.run or (verdict.missed.last,))[-1] == newest
    assert verdict.next_at == newest + timedelta(minutes=1)
    assert f"{missed} due times from 2026-11-20T12:01:00.000Z to" in str(verdict.missed.said("why"))


def test_all_makes_good_everything_up_to_a_thousand() -> None:
    verdict = judged({**MINUTELY, "catch_up": "all"}, timedelta(minutes=MAX_CATCH_UP))
    assert (len(verdict.run), verdict.missed) == (MAX_CATCH_UP, None)
    verdict = judged({**MINUTELY, "catch_up": "all"}, timedelta(minutes=MAX_CATCH_UP + 2))
    assert verdict.missed is not None
    assert (len(verdict.run), verdict.missed.count) == (MAX_CATCH_UP + 1, 1)


def test_last_makes_one_job_of_what_was_missed_and_what_is_late() -> None:
    now = datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC)  # 12:00 is only late
    verdict = judged({**MINUTELY, "catch_up": "last"}, timedelta(minutes=10), now)
    assert verdict.run == (now.replace(second=0),)
    assert verdict.missed is not None
    assert verdict.missed.count == 9


@pytest.mark.parametrize(
    "schedule", [{"cron": "* * * * * *", "timezone": "Europe/Helsinki"}, {"every_seconds": 1}, {"cron": "* * * 1 *"}]
)
def test_a_long_time_is_not_walked_through(schedule: dict[str, Any]) -> None:
    """Beyond 2,000 nothing is counted; the newest thousand are found all the same, within a second."""
    since = time.process_time()
    verdict = judged({"schedule": schedule, "catch_up": "all"}, timedelta(days=700))
    assert time.process_time() - since < 2
    assert MAX_CATCH_UP <= len(verdict.run) <= MAX_CATCH_UP + 6  # those that are late run too
    assert verdict.missed is not None
    assert verdict.missed.more
    assert "more than" in str(verdict.missed.said("why"))
    assert verdict.missed.count == MAX_COUNTED - MAX_CATCH_UP or len(verdict.run) > MAX_CATCH_UP
    newest = next_fire_times(check({"schedule": schedule}), verdict.run[-2], 2, ANCHOR)
    assert newest[0] == verdict.run[-1] <= NOW < newest[1], "the newest, without a hole"


def test_jitter_delays_every_due_time_and_misses_none() -> None:
    """A jitter longer than the period: one after the other, each at its time or later, none missed while somebody looks
    whenever it is asked to."""
    schedule = check({"schedule": {"every_seconds": 5}, "jitter_seconds": 60})
    decided, now, ran = ANCHOR, ANCHOR, []
    while now < ANCHOR + timedelta(minutes=30):
        verdict = judge(schedule, TRIGGER, ANCHOR, decided, now)
        assert verdict.missed is None
        for due in verdict.run:
            assert fires_at(schedule, TRIGGER, due) <= now
        ran += verdict.run
        decided = verdict.decided
        assert verdict.next_at is not None
        now = max(now, verdict.next_at)
    assert ran == [ANCHOR + timedelta(seconds=5 * n) for n in range(1, len(ran) + 1)]
    assert len(ran) > 300


def test_an_overlap_is_allowed_skipped_or_ends_the_one_before() -> None:
    due = tuple(ANCHOR + timedelta(minutes=n) for n in range(3))
    assert overlapping(Overlap.ALLOW, due, is_busy=True) == (due, None)
    made, left = overlapping(Overlap.SKIP, due, is_busy=True)
    assert (made, left and left.count) == ((), 3)
    made, left = overlapping(Overlap.SKIP, due, is_busy=False)
    assert (made, left and (left.first, left.last)) == (due[:1], due[1:])
    made, left = overlapping(Overlap.CANCEL_RUNNING, due, is_busy=True)
    assert (made, left and (left.first, left.last)) == (due[-1:], due[:2])
    assert overlapping(Overlap.CANCEL_RUNNING, due[:1], is_busy=True) == (due[:1], None)
    assert overlapping(Overlap.SKIP, (), is_busy=True) == ((), None)
