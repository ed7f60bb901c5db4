"""How the last minutes of an environment went: what happened in each, and how long jobs waited and ran. Pure.

Refuses to guess: a minute of which no time is known has none.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

MINUTE = timedelta(minutes=1)
MAX_MINUTES = 60

# Ends are looked at by when their jobs were submitted: the last hour in fine slices, so that every part of a minute has
# a say, and the day before it in coarse ones, for queues that are longer than an hour.
_FINE, _FINE_SPAN = timedelta(seconds=10), timedelta(hours=1)
_COARSE, _COARSE_SPAN = timedelta(minutes=5), timedelta(hours=23)
SLICE_ENDS = 20  # at most, of each slice
ALL_ENDS = 10_000  # an environment with no more of them in the hour is told of them all


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a minute. `waiting` and `running`: by how much those numbers moved."""

    submitted: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0  # or used up, or expired
    canceled: int = 0
    waiting: int = 0
    running: int = 0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds, and of how many starts and runs they were told."""

    starts: int = 0
    runs: int = 0
    start_p50_ms: float | None = None
    start_p99_ms: float | None = None
    run_p50_ms: float | None = None
    run_p99_ms: float | None = None


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One minute, which begins at `at`: what happened in it, how many waited and ran at its end, how long it took."""

    at: datetime
    submitted: int
    started: int
    completed: int
    failed: int
    canceled: int
    waiting: int
    running: int
    times: Times


def first_minute(now: datetime, minutes: int) -> datetime:
    """The beginning of the earliest of the last `minutes` minutes, the one that `now` is in being the last."""
    return now.replace(second=0, microsecond=0) - (minutes - 1) * MINUTE


def slices(now: datetime, ended: int) -> list[tuple[datetime, datetime, int]]:
    """Spans of time, the earliest first, without gaps, until a little after `now` (clocks differ), and of how many of
    the jobs that were submitted in each the ends are looked at. `ended` of all jobs did so in the last hour.
    """
    begin = now - _COARSE_SPAN - _FINE_SPAN
    coarse = [(begin + n * _COARSE, begin + (n + 1) * _COARSE, SLICE_ENDS) for n in range(int(_COARSE_SPAN / _COARSE))]
    begin = now - _FINE_SPAN
    most = SLICE_ENDS if ended > ALL_ENDS else ALL_ENDS
    fine = [(begin + n * _FINE, begin + (n + 1) * _FINE, most) for n in range(int(_FINE_SPAN / _FINE) + 1)]
    return [*coarse, *fine]


def series(
    first: datetime,
    minutes: int,
    moved: Mapping[datetime, Moved],
    times: Mapping[datetime, Times],
    waiting: int,
    running: int,
) -> list[Minute]:
    """Every minute from `first` on, oldest first. `waiting` and `running` are the numbers now: what they were at the
    end of earlier minutes follows from how they moved since.
    """
    found: list[Minute] = []
    for at in _backwards(first, minutes):
        here = moved.get(at, Moved())
        found.append(
            Minute(
                at=at,
                submitted=here.submitted,
                started=here.started,
                completed=here.completed,
                failed=here.failed,
                canceled=here.canceled,
                waiting=max(waiting, 0),
                running=max(running, 0),
                times=times.get(at, Times()),
            )
        )
        waiting, running = waiting - here.waiting, running - here.running
    return found[::-1]


def _backwards(first: datetime, minutes: int) -> Iterable[datetime]:
    return (first + n * MINUTE for n in reversed(range(minutes)))
