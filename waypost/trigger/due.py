"""What becomes of the due times of a schedule that have come: which make a job, which were missed. Pure.

A due time that is seen up to `LATE` after it should have fired is late and runs; so is the newest of all up to `GRACE`
after, because a hundred thousand schedules of one moment take their time. What is seen later was missed (no worker ran,
or the environment was suspended) and `catch_up` says whether it is made good.
"""

from datetime import datetime, timedelta
from itertools import takewhile
from uuid import UUID

import msgspec

from waypost.clock import rfc3339
from waypost.trigger.schedule import CatchUp, Overlap, Schedule, due_times, fires_at, next_fire_times

LATE = timedelta(seconds=5)
GRACE = timedelta(seconds=60)
MAX_CATCH_UP = 1_000  # missed due times that `catch_up: all` makes good, the newest ones
MAX_COUNTED = 2_000  # more are not counted, nor walked through
_SECOND = timedelta(seconds=1)


class Left(msgspec.Struct, frozen=True):
    """Due times that make no job, of which one firing tells. `more`: there are more than `count` of them."""

    first: datetime
    last: datetime
    count: int
    more: bool = False

    def said(self, why: str) -> str | None:
        """What its firing says; `why` alone for a single one."""
        if self.count == 1 and not self.more:
            return why
        over = "more than " if self.more else ""
        return f"{over}{self.count} due times from {rfc3339(self.first)} to {rfc3339(self.last)}: {why}"


class Verdict(msgspec.Struct, frozen=True):
    """`run` make jobs, oldest first; `missed` do not. Up to and with `decided` nothing is open; `next_at` is when to
    look again, None: never."""

    run: tuple[datetime, ...]
    missed: Left | None
    decided: datetime
    next_at: datetime | None


def judge(schedule: Schedule, trigger_id: UUID, anchor: datetime, decided: datetime, now: datetime) -> Verdict:
    """What becomes of the due times later than `decided` whose time to fire has come by `now`."""
    come, more = _come(schedule, anchor, decided, now)
    due: list[datetime] = []
    on_time: list[datetime] = []
    fires = decided
    for instant in come:
        fires = max(fires, fires_at(schedule, trigger_id, instant))  # one after the other, whatever their jitter
        if fires > now:
            break
        (due if fires < now - LATE else on_time).append(instant)
    upto = max([decided, *due[-1:], *on_time[-1:]])
    if due and not on_time and fires_at(schedule, trigger_id, due[-1]) >= now - GRACE:
        on_time.append(due.pop())
    first = None if not more else next_fire_times(schedule, decided, 1, anchor)[0]
    run, missed = _chosen(schedule.catch_up, due, on_time, first)
    following = next_fire_times(schedule, upto, 1, anchor)
    return Verdict(tuple(run), missed, upto, fires_at(schedule, trigger_id, following[0]) if following else None)


def _chosen(
    how: CatchUp, late: list[datetime], on_time: list[datetime], first: datetime | None
) -> tuple[list[datetime], Left | None]:
    """What runs, and what does not. `first`: the first of all, where `late` holds the newest only."""
    if not late:
        return on_time, None
    if how is CatchUp.NONE:
        kept = 0
    elif how is CatchUp.LAST:  # the newest of all stands for the others
        late, on_time = [*late, *on_time], []
        kept = 1
    else:
        kept = MAX_CATCH_UP
    left, made_good = (late[:-kept], late[-kept:]) if kept else (late, [])
    if not left:
        return [*made_good, *on_time], None
    if first is not None:
        return [*made_good, *on_time], Left(first, left[-1], MAX_COUNTED - len(made_good), more=True)
    return [*made_good, *on_time], Left(left[0], left[-1], len(left))


def overlapping(how: Overlap, run: tuple[datetime, ...], is_busy: bool) -> tuple[tuple[datetime, ...], Left | None]:
    """Which of `run` make a job while a job of the trigger is not ended (`is_busy`), and which do not."""
    if how is Overlap.ALLOW or not run:
        return run, None
    if how is Overlap.SKIP:
        made, left = ((), run) if is_busy else (run[:1], run[1:])
    else:  # each would cancel the one before
        made, left = run[-1:], run[:-1]
    return made, Left(left[0], left[-1], len(left)) if left else None


def _come(schedule: Schedule, anchor: datetime, decided: datetime, now: datetime) -> tuple[list[datetime], bool]:
    """Due times in (decided, now]: all, or the newest `MAX_CATCH_UP` to `MAX_COUNTED` and True."""
    found = _between(schedule, anchor, decided, now)
    if len(found) <= MAX_COUNTED:
        return found, False
    low, high = decided, now
    while len(found) > MAX_COUNTED or len(found) < MAX_CATCH_UP:
        middle = low + (high - low) / 2
        found = _between(schedule, anchor, middle, now)
        if len(found) > MAX_COUNTED:
            low = middle
        else:
            high = middle
        if high - low < _SECOND:  # cannot be: a second has one due time at most
            break
    return found[-MAX_COUNTED:], True


def _between(schedule: Schedule, anchor: datetime, after: datetime, until: datetime) -> list[datetime]:
    found = []
    for instant in takewhile(lambda instant: instant <= until, due_times(schedule, after, anchor)):
        found.append(instant)
        if len(found) > MAX_COUNTED:
            break
    return found
