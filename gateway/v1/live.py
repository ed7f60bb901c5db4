"""The environment's events as subscriptions deliver them, live over HTTP: for who has no public URL (`waypost listen`).

Server-Sent Events: `event` is the type, `data` the body of the webhook, `id` an instant and after its first `-` the
`webhook-id`; the first is `stream.connected`. Jobs are followed as `E/events` follows their states; what happens to
other things is looked for every few seconds. `Last-Event-ID` resumes up to a day later with nothing lost; an event can
come twice then, with the same `webhook-id`.
Refuses: to record anything, and to show more than a delivery would.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from litestar.types import ASGIApp

from gateway.endpoint import Call, E, Endpoint, Parameter, endpoint
from gateway.exchange import Exchange
from gateway.feed import Listener
from gateway.v1.event import MAX_RESUME, OVERLAP, Stream
from jobs.fan_out import event_body, job_body
from jobs.wake import JobMessage, States
from storage.postgres.ledger.record import read_jobs
from storage.postgres.subscription.live import read_errors, read_others
from waypost import clock, errors
from waypost.access.model import Permission
from waypost.ids import NIL
from waypost.job.decision import is_end
from waypost.job.record import JobRecord, StateChange
from waypost.subscription.decision import check_events, matching

PIECE = 500  # jobs read at once
REMEMBERED = 50_000  # events sent lately, by which repeats are known


class LiveEvents(Stream):
    """One open stream; an ASGI application."""

    def __init__(self, call: Call, patterns: Sequence[str], resume: tuple[datetime, UUID] | None) -> None:
        super().__init__(call, None, None if resume is None else resume[0] - OVERLAP, None)
        self._patterns = patterns
        self._told: dict[UUID, None] = {}
        self._from = resume or (clock.now(), NIL)
        at, event_id = self._from
        self._looked = at if event_id == NIL else at - OVERLAP  # nothing from before the first connection

    async def _run(self, listener: Listener, gone: "asyncio.Future[None]") -> None:
        """Begins with an id, so that who loses the connection before the first event resumes, too."""
        at, event_id = self._from
        start = b"id: %d-%s\nevent: stream.connected\ndata: {}\n\n"
        await self._write(start % (int(at.timestamp() * 1000), str(event_id).encode()))
        await super()._run(listener, gone)

    async def _tell(self, messages: Iterable[JobMessage]) -> None:
        changes = [change for message in messages if isinstance(message, States) for change in message.changes]
        try:
            await self._ended([job_id for job_id, state, _ in changes if is_end(state)])
        except errors.WaypostError as error:  # the poll finds them again
            self._judge(error)

    async def _states(self, changes: Iterable[StateChange]) -> None:
        await self._ended([change.job_id for change in changes if is_end(change.state)])

    async def _poll(self) -> None:
        await super()._poll()
        try:
            await self._others()
        except errors.WaypostError as error:
            self._judge(error)

    def _judge(self, error: errors.WaypostError) -> None:
        """An environment that is gone ends the stream, a server that is away does not; raises what is neither."""
        self._over = self._over or error.category is errors.Category.NOT_FOUND
        if not (self._over or error.retryable):
            raise error

    async def _ended(self, job_ids: Sequence[UUID]) -> None:
        """Tell of jobs that ended, once. What the database does not show yet is found at the next poll."""
        new = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in self._told]
        environment = self._call.environment
        for place in range(0, len(new), PIECE):
            piece = new[place : place + PIECE]
            async with self._call.services.reading(environment) as connection:
                records = await read_jobs(connection, environment.id, piece, bodies=False)
                sealed = await read_errors(connection, environment.id, piece)
            key = await self._call.services.environment_keys.data_key(environment.id)
            ended = sorted((one for one in records if is_end(one.state)), key=_ended_at)
            for record in ended:
                event, at = f"job.{record.state.value}", _ended_at(record)
                await self._event(event, record.id, at, job_body(event, at, record, key, sealed.get(record.id)))

    async def _others(self) -> None:
        """Tell of the environment's status and of subscriptions, once; a little into the past, as of jobs."""
        environment, began = self._call.environment, clock.now()
        while True:
            async with self._call.services.reading(environment) as connection:
                found = await read_others(connection, environment.id, self._looked, PIECE)
            for one in found:
                await self._event(one.type, one.id, one.at, event_body(one.type, one.at, environment.id, one.data))
            if len(found) < PIECE:
                break
            self._looked = found[-1].at
        self._looked = max(self._looked, began - OVERLAP)

    async def _event(self, event: str, event_id: UUID, at: datetime, body: bytes) -> None:
        if event_id in self._told:
            return
        self._told[event_id] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        if matching(event, self._patterns):
            name = str(event_id).encode()
            await self._write(
                b"id: %d-%s\nevent: %s\ndata: %s\n\n" % (int(at.timestamp() * 1000), name, event.encode(), body)
            )


def _ended_at(record: JobRecord) -> datetime:
    return record.finished_at or record.updated_at


def resume_point(exchange: Exchange) -> tuple[datetime, UUID] | None:
    """What `Last-Event-ID` names, a day ago at most; None when there is none. Raises 422 when it is not one of ours."""
    text = exchange.header(b"last-event-id")
    if not text:
        return None
    at, _, event_id = text.partition("-")
    try:
        return max(datetime.fromtimestamp(int(at) / 1000, UTC), clock.now() - MAX_RESUME), UUID(event_id)
    except (ValueError, OverflowError, OSError):
        raise errors.invalid("invalid_event_id", "This Last-Event-ID is not one of this stream.") from None


@endpoint(
    "GET",
    E + "/events/webhooks",
    summary="What subscriptions would be sent, live, from now on or from `Last-Event-ID`",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(Parameter("event", "Such as job.completed, job.* or environment.*; default all.", repeatable=True),),
    kind="text/event-stream",
)
async def live_events(call: Call) -> ASGIApp:
    """Needs no subscription and records no delivery. `id` is an instant and, after its first `-`, the `webhook-id`."""
    call.services.require_readable(call.environment)
    patterns = check_events(call.query.get("event", ["*"]))
    return LiveEvents(call, patterns, resume_point(call.exchange))


ENDPOINTS: list[Endpoint] = [live_events]
