"""The last minutes of an environment or a function, for charts. Refuses: more than an hour."""

from datetime import datetime

import msgspec

from gateway.endpoint import Call, E, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer
from gateway.v1.job import whole_number
from storage.postgres.ledger.series import read_series
from waypost import clock, errors
from waypost.access.model import Permission
from waypost.job.series import MAX_MINUTES, Minute
from waypost.job.specification import is_function


class MinuteView(msgspec.Struct, frozen=True, kw_only=True):
    """One minute, which begins at `at`: `submitted` jobs, `started` attempts, `completed`, `canceled` and `failed`
    (all other) ends; `waiting` and `running` at its end. `start_…_ms`: from when a job could have started to its
    first attempt; `run_…_ms`: from the last attempt's start to the job's end; null where nothing started or ended.
    They are of jobs that have ended, told from a sample: of `starts_seen` and `runs_seen` of them."""

    at: datetime
    submitted: int
    started: int
    completed: int
    failed: int
    canceled: int
    waiting: int
    running: int
    start_p50_ms: float | None
    start_p99_ms: float | None
    starts_seen: int
    run_p50_ms: float | None
    run_p99_ms: float | None
    runs_seen: int


class SeriesView(msgspec.Struct, frozen=True):
    """Minutes without gaps, the oldest first; the last one is not over yet. `function` is null for all functions."""

    function: str | None
    minutes: list[MinuteView]


@endpoint(
    "GET",
    E + "/queue/series",
    summary="What happened in each of the last minutes, and how long it took",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(
        Parameter("function", "Only of this function."),
        Parameter("minutes", f"How many, 1 to {MAX_MINUTES} (default {MAX_MINUTES}).", int),
    ),
    answer=SeriesView,
)
async def read_queue_series(call: Call) -> Answer:
    """Up to five seconds old."""
    function = call.query.get("function", [""])[0] or None
    if function is not None and not is_function(function):
        raise errors.invalid("invalid_parameter", "function is a function's name.", "/function")
    minutes = whole_number(call.query, "minutes", 1, MAX_MINUTES) or MAX_MINUTES
    found = await _minutes(call, minutes, function)
    return ok(SeriesView(function, [_view(minute) for minute in found]))


async def _minutes(call: Call, minutes: int, function: str | None) -> list[Minute]:
    async def load() -> list[Minute]:
        async with call.services.reading(call.environment) as connection:
            return await read_series(connection, call.environment.id, clock.now(), minutes, function)

    call.services.require_readable(call.environment)  # also when it is known from before
    return await call.services.series.get((call.environment.id, minutes, function), load) or []


def _view(minute: Minute) -> MinuteView:
    times = minute.times
    return MinuteView(
        at=minute.at,
        submitted=minute.submitted,
        started=minute.started,
        completed=minute.completed,
        failed=minute.failed,
        canceled=minute.canceled,
        waiting=minute.waiting,
        running=minute.running,
        start_p50_ms=times.start_p50_ms,
        start_p99_ms=times.start_p99_ms,
        starts_seen=times.starts,
        run_p50_ms=times.run_p50_ms,
        run_p99_ms=times.run_p99_ms,
        runs_seen=times.runs,
    )


ENDPOINTS: list[Endpoint] = [read_queue_series]
