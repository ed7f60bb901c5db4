"""Jobs: submit, list, read, cancel, replay (native contract §3)."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from gateway.audit import record
from gateway.endpoint import PAGE, Call, E, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import cursor_after, page_of
from gateway.reading import errors_of, open_bodies, read_job, view_of
from gateway.submission import BulkAnswer, location, submit, submit_bulk, submit_one
from gateway.v1.form import NewJob, NewJobs
from gateway.v1.view import AttemptView, JobView, attempt_view, job_view, page_view
from gateway.waiting import wait_for_end
from jobs.wake import CancelJob, States
from storage.postgres.database import Connection
from storage.postgres.ledger import record as ledger
from storage.postgres.ledger.cancel import CancelResult
from waypost import errors
from waypost.access.model import Permission
from waypost.ids import parse_id
from waypost.job.decision import is_end
from waypost.job.model import JobState
from waypost.job.record import JobFilter
from waypost.job.replay import not_ended, respecified
from waypost.job.specification import parse_overrides

MAX_WAIT_SECONDS = 60
MAX_FILTER_VALUES = 50

_EXAMPLE: dict[str, Any] = {
    "function": "image.thumbnail",
    "payload": {"url": "https://example.com/a.png"},
    "tags": ["gpu", "mem_gb>=16", "region in (eu, us)", "!spot"],
    "priority": 5,
    "timeout_seconds": 300,
    "retry": {"max_attempts": 5, "backoff": "exponential", "initial_seconds": 5, "factor": 2, "max_seconds": 600},
    "concurrency": {"key": "customer-42", "limit": 1},
    "labels": {"order": "A-17"},
}


# --- submitting -------------------------------------------------------------------------------------------------------


@endpoint(
    "POST",
    E + "/jobs",
    summary="Submit a job",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewJob,
    answer=JobView,
    status=202,
    also={200: "The finished job, when it ended within `wait_seconds`."},
    query=(Parameter("wait_seconds", "Wait so long for its end, 0 to 60.", float),),
    idempotent=True,
    example=_EXAMPLE,
)
async def submit_job(call: Call) -> Answer:
    seconds = _wait_seconds(call)
    if not seconds:
        return await submit_one(call)
    return await wait_for_end(call, seconds)


SUBMIT = submit_job


def _wait_seconds(call: Call) -> float:
    text = call.query.get("wait_seconds", ["0"])[0]
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise errors.invalid("invalid_parameter", "wait_seconds is from 0 to 60.", "/wait_seconds")
    return seconds


@endpoint(
    "POST",
    E + "/jobs/bulk",
    summary="Submit up to 1,000 jobs, all or nothing",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewJobs,
    answer=BulkAnswer,
    status=202,
    idempotent=True,
    example={"jobs": [_EXAMPLE | {"idempotency_key": "a-17"}]},
)
async def submit_many(call: Call) -> Answer:
    return await submit_bulk(call)


# --- reading ----------------------------------------------------------------------------------------------------------


class JobPage(msgspec.Struct):
    items: list[JobView]
    next_cursor: str | None


class AttemptPage(msgspec.Struct):
    items: list[AttemptView]
    next_cursor: str | None


@endpoint(
    "GET",
    E + "/jobs",
    summary="Jobs, newest first; without payloads, results and errors",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(
        *PAGE,
        Parameter("state", "Jobs in this state; repeat for alternatives.", str, True),
        Parameter("function", "Jobs of this function; repeat for alternatives.", str, True),
        Parameter("label.", "Jobs with this label: `label.order=A-17`; repeat for alternatives.", str, True),
        Parameter("trigger_id", "Jobs that this trigger submitted; repeat for alternatives.", str, True),
        Parameter("created_after", "Jobs of this instant or later (RFC 3339)."),
        Parameter("created_before", "Jobs of before this instant (RFC 3339)."),
    ),
    answer=JobPage,
)
async def list_jobs(call: Call) -> Answer:
    wanted = filter_of(call.query)
    page = page_of(call.query, "jobs", call.environment.id, wanted)
    async with call.services.reading(call.environment) as connection:
        found, after = await ledger.list_jobs(connection, call.environment.id, wanted, page.limit, page.after)
    cursor = None if after is None else cursor_after(page, after)
    return ok(page_view([job_view(record) for record in found], cursor))


def filter_of(query: dict[str, list[str]]) -> JobFilter:
    """The filters of a list of jobs; raises 422."""
    for name, values in query.items():
        if len(values) > MAX_FILTER_VALUES:
            raise errors.invalid("too_many_values", f"At most {MAX_FILTER_VALUES} values of {name}.", f"/{name}")
    try:
        states = tuple(sorted(set(map(JobState, query.get("state", [])))))
    except ValueError:
        words = ", ".join(JobState)
        raise errors.invalid("invalid_parameter", f"A state is one of {words}.", "/state") from None
    triggers = [parse_id(text) for text in query.get("trigger_id", [])]
    if None in triggers:
        raise errors.invalid("invalid_parameter", "A trigger_id is a UUID.", "/trigger_id")
    return JobFilter(
        states=states,
        functions=tuple(sorted(set(query.get("function", [])))),
        labels={name[6:]: tuple(sorted(set(values))) for name, values in sorted(query.items()) if name[:6] == "label."},
        trigger_ids=tuple(identifier for identifier in triggers if identifier is not None),
        created_after=instant(query, "created_after"),
        created_before=instant(query, "created_before"),
    )


def instant(query: dict[str, list[str]], name: str) -> datetime | None:
    """A query parameter that is an RFC 3339 instant; raises 422."""
    text = query.get(name, [""])[0]
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text.replace(" ", "+"))  # a + in a query string reads as a blank
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise errors.invalid(
        "invalid_parameter", f"{name} is an RFC 3339 instant such as 2026-11-21T09:00:00Z.", f"/{name}"
    )


def whole_number(query: dict[str, list[str]], name: str, least: int, most: int) -> int | None:
    """A query parameter that is a whole number; raises 422."""
    if name not in query:
        return None
    text = query[name][0]
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and least <= int(text) <= most:
        return int(text)
    raise errors.invalid("invalid_parameter", f"{name} is a whole number from {least} to {most}.", f"/{name}")


@endpoint("GET", E + "/jobs/{job}", summary="One job", permission=Permission.VIEW_ENVIRONMENT, answer=JobView)
async def read_one(call: Call) -> Answer:
    """Payload, result and error are shown to who may operate the environment; `waiting` says why it does not run."""
    return ok(await view_of(call, await read_job(call, _job_id(call))))


def _job_id(call: Call) -> UUID:
    return call.identifier("job", "job")


@endpoint(
    "GET",
    E + "/jobs/{job}/attempts",
    summary="The attempts of a job, first one first",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=AttemptPage,
)
async def read_attempts(call: Call) -> Answer:
    record = await read_job(call, _job_id(call))
    async with call.services.reading(call.environment) as connection:
        attempts = await ledger.read_attempts(connection, call.environment.id, record.id)
    if not record.bodies:
        return ok(AttemptPage([attempt_view(attempt, msgspec.UNSET) for attempt in attempts], None))
    opened = await errors_of(call, attempts)
    views = [attempt_view(attempt, error) for attempt, error in zip(attempts, opened, strict=True)]
    return ok(AttemptPage(views, None))


# --- acting -----------------------------------------------------------------------------------------------------------


@endpoint(
    "POST",
    E + "/jobs/{job}/cancel",
    summary="Cancel a job: at once when it waits, by asking its node when it runs",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=JobView,
    status=202,
    idempotent=True,
)
async def cancel_job(call: Call) -> Answer:
    job_id = _job_id(call)
    call.services.require_readable(call.environment)

    async def work(connection: Connection) -> Answer:
        """The ledger commits by itself; a repeat after a crash between the two finds the job canceled: 409."""
        await _cancel(call, job_id)
        await record(connection, call, "job.cancel", f"job:{job_id}")
        return ok(await view_of(call, await read_job(call, job_id)), 202, [(b"location", location(call, job_id))])

    return await once(call, call.environment.id, "jobs.cancel", work)


async def _cancel(call: Call, job_id: UUID) -> None:
    services, environment = call.services, call.environment
    done = await services.ledger.cancel(environment.id, job_id, call.principal.actor)
    if done.result is CancelResult.UNKNOWN:
        raise errors.not_found("job")
    if done.result is CancelResult.ALREADY_ENDED:
        raise _already_ended(done.state or JobState.CANCELED)
    if done.result is CancelResult.ASKED:
        services.tell_environment(environment.id, CancelJob(job_id))
        return
    services.tell_jobs(environment.id, States(((job_id, JobState.CANCELED, done.number),)))
    if done.concurrency_key is not None:
        await services.release_line(environment.id, done.concurrency_key)


def _already_ended(state: JobState) -> errors.WaypostError:
    return errors.conflict(
        "job_already_ended",
        f"The job has already ended as {state.value}, and an end is final. To run it again, replay it.",
        state=state.value,
    )


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """What is different this time: any field of a job but `function`."""

    overrides: dict[str, Any] = {}


@endpoint(
    "POST",
    E + "/jobs/{job}/replay",
    summary="Run a job that has ended again, as a new job",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=Replay,
    answer=JobView,
    status=202,
    idempotent=True,
    example={"overrides": {"priority": 9, "tags": ["gpu"]}},
)
async def replay_job(call: Call) -> Answer:
    overrides = parse_overrides(await call.exchange.body())
    record = await read_job(call, _job_id(call))
    if not is_end(record.state):
        raise not_ended(record.state)
    bodies = await open_bodies(call, record)
    again = respecified(record, bodies.payload, overrides)
    return await submit(call, again, scope=f"jobs.replay:{record.id}", replay_of=record.id)


@endpoint(
    "POST",
    E + "/functions/{function}/invoke",
    summary="Call a function and wait for its answer; not available yet",
    permission=Permission.OPERATE_ENVIRONMENT,
    query=(Parameter("timeout_seconds", "How long to wait.", float),),
    also={501: "Kept for later."},
)
async def invoke(call: Call) -> Answer:
    raise errors.not_available("Invoking a function without a job")


ENDPOINTS: list[Endpoint] = [
    submit_job,
    submit_many,
    list_jobs,
    read_one,
    read_attempts,
    cancel_job,
    replay_job,
    invoke,
]
