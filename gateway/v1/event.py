"""Server-Sent Events of jobs: `job.state`, `job.progress`, `job.log` (native contract §3.2).

Live from messages, with the database as the truth: a poll every few seconds, and at once when messages may have been
missed, finds states that no message told. `Last-Event-ID` resumes from the database, a little before the event that it
names, so no state is lost; a state can come twice after a resume, never within one connection.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from litestar.types import ASGIApp

from gateway import metric
from gateway.endpoint import Call, E, Endpoint, endpoint
from gateway.exchange import Exchange, Receive, Send, exchange_of
from gateway.feed import Listener
from gateway.reading import read_job
from jobs.wake import JobMessage, LogLine, Progress, States
from storage.postgres.ledger.record import states_since
from waypost import clock, errors
from waypost.access.model import Permission
from waypost.clock import monotonic, rfc3339
from waypost.job.decision import is_end
from waypost.job.model import JobState
from waypost.job.record import StateChange

HEARTBEAT_SECONDS = 15.0
POLL_SECONDS = 5.0
OVERLAP = timedelta(seconds=10)  # transactions that began before what was seen and commit after it; clocks that differ
PAGE = 5_000
REMEMBERED = 50_000  # states sent lately, by which repeats are known
MAX_RESUME = timedelta(days=1)

_HEADERS = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
_encode = msgspec.json.encode

_ORDER = {JobState.QUEUED: 0, JobState.RUNNING: 1, JobState.RETRYING: 2}


def _rank(number: int, state: JobState) -> tuple[int, int]:
    """States of one job in their order."""
    return (number, _ORDER.get(state, 3))


class StateEvent(msgspec.Struct, frozen=True):
    job_id: UUID
    state: JobState
    attempt: int
    at: str


class Stream:
    """One open event stream; an ASGI application."""

    def __init__(self, call: Call, job_id: UUID | None, resume: datetime | None, seen: tuple[int, int] | None) -> None:
        self._call, self._job_id = call, job_id
        self._operates = call.may(Permission.OPERATE_ENVIRONMENT)  # sees what nodes say, too (decision 22)
        self._seen = seen  # of one job: where the stream was, so that nothing comes twice
        self._sent: OrderedDict[tuple[UUID, JobState, int], None] = OrderedDict()
        self._since = resume or clock.now()
        self._quiet = monotonic()
        self._over = False
        self._send: Send | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        self._send = send
        async with self._call.services.feed.listen(self._call.environment.id) as listener:
            await exchange.start(200, b"text/event-stream", _HEADERS, send, None)
            await self._write(b": connected\n\n")
            gone = asyncio.ensure_future(exchange.disconnected())
            with metric.STREAMS.track_inprogress():
                try:
                    await self._run(listener, gone)
                finally:
                    gone.cancel()
        if not gone.done() or gone.cancelled():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, listener: Listener, gone: "asyncio.Future[None]") -> None:
        await self._poll()
        polled = monotonic()
        while not (self._over or listener.closed or gone.done()):
            messages = await listener.take(1.0)
            await self._tell(messages)
            now = monotonic()
            if listener.missed or now - polled >= POLL_SECONDS:
                listener.missed, polled = False, now
                await self._poll()
            if now - self._quiet >= HEARTBEAT_SECONDS:
                await self._write(b": heartbeat\n\n")

    async def _poll(self) -> None:
        """Send the states that the database has and that were not sent. It is looked at a little into the past."""
        try:
            began = clock.now()
            while True:
                async with self._call.services.reading(self._call.environment) as connection:
                    changes = await states_since(connection, self._call.environment.id, self._since, PAGE, self._job_id)
                await self._states(changes)
                if len(changes) < PAGE or changes[-1].at <= self._since:
                    break
                self._since = changes[-1].at
            if self._job_id is None:
                self._since = max(self._since, began - OVERLAP)
        except errors.WaypostError as error:
            if error.category is errors.Category.NOT_FOUND:
                self._over = True  # the environment is gone
            elif not error.retryable:
                raise

    async def _states(self, changes: Iterable[StateChange]) -> None:
        pieces = [self._state(change.job_id, change.state, change.number, change.at) for change in changes]
        if text := b"".join(pieces):
            await self._write(text)

    def _state(self, job_id: UUID, state: JobState, number: int, at: datetime) -> bytes:
        key = (job_id, state, number)
        if self._over or key in self._sent:
            return b""
        if self._seen is not None and _rank(number, state) <= self._seen:
            return b""
        self._sent[key] = None
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
        if self._job_id is not None and is_end(state):
            self._over = True
        data = _encode(StateEvent(job_id, state, number, rfc3339(at)))
        return b"id: %d-%d-%s\nevent: job.state\ndata: %s\n\n" % (
            int(at.timestamp() * 1000), number, state.value.encode(), data,
        )  # fmt: skip

    async def _tell(self, messages: Iterable[JobMessage]) -> None:
        pieces = [piece for message in messages for piece in self._pieces(message)]
        if text := b"".join(pieces):
            await self._write(text)

    def _pieces(self, message: JobMessage) -> Iterable[bytes]:
        wanted = self._job_id
        if isinstance(message, States):
            at = clock.now()
            for job_id, state, number in message.changes:
                if wanted is None or job_id == wanted:
                    yield self._state(job_id, state, number, at)
        elif self._operates and (wanted is None or message.job_id == wanted):
            if isinstance(message, Progress):
                body = {"job_id": message.job_id, "fraction": message.fraction, "message": message.message}
                yield b"event: job.progress\ndata: %s\n\n" % _encode(body)
            elif isinstance(message, LogLine):
                at = datetime.fromtimestamp(message.at_ms / 1000, UTC)
                line = {"attempt": message.number, "level": message.level, "message": message.message}
                yield b"event: job.log\ndata: %s\n\n" % _encode({"job_id": message.job_id, "at": rfc3339(at), **line})

    async def _write(self, text: bytes) -> None:
        if self._send is not None:
            self._quiet = monotonic()
            await self._send({"type": "http.response.body", "body": text, "more_body": True})


def resume_point(exchange: Exchange) -> tuple[datetime, tuple[int, int]] | None:
    """The instant and the state that `Last-Event-ID` names; None when there is none. 422 when it is not one of ours."""
    text = exchange.header(b"last-event-id")
    if not text:
        return None
    try:
        at, number, state = text.split("-")
        instant = datetime.fromtimestamp(int(at) / 1000, UTC)
        return instant, _rank(int(number), JobState(state))
    except (ValueError, OverflowError, OSError):
        raise errors.invalid("invalid_event_id", "This Last-Event-ID is not one of this stream.") from None


@endpoint(
    "GET",
    E + "/jobs/{job}/events",
    summary="What happens to one job, until it has ended",
    permission=Permission.VIEW_ENVIRONMENT,
    kind="text/event-stream",
)
async def job_events(call: Call) -> ASGIApp:
    """Begins with the states that the job has been in; ends after its end. `Last-Event-ID` skips what was seen.

    Progress and log lines are shown to who may operate the environment.
    """
    resume = resume_point(call.exchange)
    record = await read_job(call, call.identifier("job", "job"))
    return Stream(call, record.id, record.created_at - OVERLAP, resume[1] if resume else None)


@endpoint(
    "GET",
    E + "/events",
    summary="What happens to the environment's jobs, from now on or from `Last-Event-ID`",
    permission=Permission.VIEW_ENVIRONMENT,
    kind="text/event-stream",
)
async def environment_events(call: Call) -> ASGIApp:
    call.services.require_readable(call.environment)
    resume = resume_point(call.exchange)
    oldest = clock.now() - MAX_RESUME
    return Stream(call, None, max(resume[0] - OVERLAP, oldest) if resume else None, None)


ENDPOINTS: list[Endpoint] = [job_events, environment_events]
