"""Who gets which event: a step that follows the ledger and queues deliveries, in every worker (decisions 14, 31).

The hot path writes nothing for it. Jobs are followed by the transactions that ended them; other events wait in a table
of their own. A tick is cheap while nothing happens: it reads, and writes only its place now and then.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from jobs.follower import Marks
from storage.postgres.database import Connection, Database
from storage.postgres.follower import Standing, hold_standing, move_on, read_standing
from storage.postgres.ledger.record import read_jobs
from storage.postgres.subscription import fan_out as rows
from storage.postgres.subscription.delivery import NewDelivery, insert_deliveries
from storage.secrets import EnvironmentKeys
from waypost.errors import Category, WaypostError
from waypost.ids import new_id
from waypost.job.model import JobError
from waypost.job.record import JobRecord, implied_error
from waypost.secret import DataKey, SealError
from waypost.subscription.decision import matching
from waypost.subscription.model import ErrorSummary, EventBody, JobEventData, delivery_place

BUSY_SECONDS = 0.0
TICK_SECONDS = 0.15
QUIET_SECONDS = 1.0  # nobody subscribes to anything
MOVE_EVERY = timedelta(seconds=10)  # the place is written when nothing happens, too

_error = msgspec.json.Decoder(JobError)
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("jobs.fan_out")


class FanOut:
    """One follower of one process. `queued` is called after deliveries were queued."""

    def __init__(self, database: Database, keys: EnvironmentKeys, queued: Callable[[], None]) -> None:
        self._database, self._keys, self._queued = database, keys, queued
        self._marks = Marks()

    async def tick(self) -> float:
        """Queue what is due to whom; answers in how many seconds it is wanted again."""
        async with self._database.unit() as connection:
            standing = await read_standing(connection, rows.NAME)
            if standing is None:
                return QUIET_SECONDS
            self._marks.note(standing)
            subscribed = await rows.read_subscribed(connection)
            idle = TICK_SECONDS if subscribed else QUIET_SECONDS
            if not await self._anything(connection, standing, subscribed):
                return idle
        return BUSY_SECONDS if await self._follow() else idle

    async def _anything(
        self, connection: Connection, standing: Standing, subscribed: Sequence[rows.Subscribed]
    ) -> bool:
        behind = standing.low > standing.xact and standing.now - standing.at >= MOVE_EVERY
        if behind or await rows.others_wait(connection):
            return True
        environments = sorted({one.environment_id for one in subscribed})
        since = self._marks.since(standing)
        return bool(environments and await rows.read_ended(connection, standing, since, environments, 1))

    async def _follow(self) -> bool:
        """One batch in one transaction; True when there may be more."""
        async with self._database.unit() as connection:
            standing = await hold_standing(connection, rows.NAME)
            if standing is None:
                return False  # another worker is at it
            audience = _by_environment(await rows.read_subscribed(connection))
            since = self._marks.since(standing)
            ended = await rows.read_ended(connection, standing, since, sorted(audience)) if audience else []
            others = await rows.take_others(connection)
            new = NewDelivery()
            await self._jobs(connection, ended, audience, new)
            await self._others(others, audience, new)
            count = await insert_deliveries(connection, new)
            full = len(ended) >= rows.BATCH
            followed = ended[-1].xact + 1 if full else standing.low
            await move_on(connection, rows.NAME, followed, self._marks.following(standing, followed))
        if count:
            self._queued()
        return full or len(others) >= rows.BATCH

    async def _jobs(
        self, connection: Connection, ended: Sequence[rows.Ended], audience: "Audience", new: NewDelivery
    ) -> None:
        by_environment: dict[UUID, list[rows.Ended]] = {}
        for one in ended:
            by_environment.setdefault(one.environment_id, []).append(one)
        for environment_id, some in by_environment.items():
            key = await self._key(environment_id)
            if key is None:
                continue
            errors = {one.job_id: one.error for one in some}
            for record in await read_jobs(connection, environment_id, list(errors), bodies=False):
                event = f"job.{record.state}"
                at = record.finished_at or record.updated_at
                getting = [s for s in audience[environment_id] if s.created_at <= at and matching(event, s.events)]
                if getting:
                    body = job_body(event, at, record, key, errors[record.id])
                    _add(new, getting, record.id, event, key.seal(delivery_place(record.id), body))

    async def _others(self, others: Iterable[rows.Other], audience: "Audience", new: NewDelivery) -> None:
        for other in others:
            getting = [
                one
                for one in audience.get(other.environment_id, ())
                if one.created_at <= other.at and matching(other.type, one.events)
            ]
            key = await self._key(other.environment_id) if getting else None
            if key is not None:
                body = event_body(other.type, other.at, other.environment_id, other.data)
                _add(new, getting, other.id, other.type, key.seal(delivery_place(other.id), body))

    async def _key(self, environment_id: UUID) -> DataKey | None:
        """None when the environment is gone: nobody is there to be told."""
        try:
            return await self._keys.data_key(environment_id)
        except WaypostError as error:
            if error.category is not Category.NOT_FOUND:
                raise
            return None


Audience = Mapping[UUID, Sequence[rows.Subscribed]]


def _by_environment(subscribed: Iterable[rows.Subscribed]) -> dict[UUID, list[rows.Subscribed]]:
    found: dict[UUID, list[rows.Subscribed]] = {}
    for one in subscribed:
        found.setdefault(one.environment_id, []).append(one)
    return found


def _add(new: NewDelivery, getting: Iterable[rows.Subscribed], event_id: UUID, event: str, sealed: bytes) -> None:
    for one in getting:
        new.add(one.environment_id, one.id, new_id(), event_id, event, sealed)


def job_body(event: str, at: datetime, record: JobRecord, key: DataKey, sealed_error: bytes | None) -> bytes:
    """The body of a job's event: the job's metadata as the API shows it, and of its error the code."""
    data = JobEventData(
        environment_id=record.environment_id,
        id=record.id,
        function=record.function,
        state=record.state.value,
        attempt=record.number,
        tags=record.selectors,
        priority=record.priority,
        labels=record.labels,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        submitted_by=record.submitted_by,
        trace_id=record.traceparent[3:35] if record.traceparent else None,
        trigger_id=record.trigger_id,
        replay_of=record.replay_of,
        error=_summary(record, key, sealed_error),
    )
    return _encode(EventBody(event, at, msgspec.Raw(_encode(data))))


def event_body(event: str, at: datetime, environment_id: UUID, data: bytes) -> bytes:
    """The body of an event that is not a job's; `data` is a JSON object."""
    whole = {"environment_id": environment_id} | msgspec.json.decode(data)
    return _encode(EventBody(event, at, msgspec.Raw(_encode(whole))))


def _summary(record: JobRecord, key: DataKey, sealed: bytes | None) -> ErrorSummary | None:
    error = implied_error(record.outcome, sealed)
    if sealed:
        try:
            error = _error.decode(key.open(f"job:{record.id}:error:{record.number}", sealed))
        except (SealError, msgspec.MsgspecError):
            return ErrorSummary("unreadable", False)  # one damaged row must not stop everybody's events
    return None if error is None else ErrorSummary(error.code, error.retryable)
