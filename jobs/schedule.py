"""Schedules that are due make their jobs, in every worker: no leader, each row is its own lock (decision 14).

One transaction takes due rows, keeps their jobs, writes their firings and moves them on, so a due time makes its job
exactly when it counts as decided; a worker that dies in between did neither. The idempotency key (`schedule:<trigger>`,
due time) is the second guard, for a row that was put back. Refuses to wait for one row: what cannot become a job is
refused, with the reason in its firing, and a row that fails by itself is put off.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from jobs.wake import CancelJob, encode, environment_channel, states, wakes
from storage.postgres.database import Connection, Database
from storage.postgres.ledger.cancel import Canceling, CancelResult, cancel_within
from storage.postgres.ledger.submission import submit_within
from storage.postgres.trigger.firing import insert_firings
from storage.postgres.trigger.schedule import (
    Move,
    Taken,
    busy_jobs,
    move_schedules,
    next_due_seconds,
    take_due,
    waiting_jobs,
)
from waypost import clock
from waypost.clock import rfc3339
from waypost.errors import Category, WaypostError
from waypost.ids import new_id
from waypost.job.decision import admit
from waypost.job.model import Accepted, JobState, Submission
from waypost.job.submission import payload_place, startable, submission_of
from waypost.limit.decision import in_force
from waypost.limit.model import WAITING_JOBS
from waypost.tenancy.model import Status
from waypost.trigger.due import Left, Verdict, judge, overlapping
from waypost.trigger.model import Firing, Outcome, Trigger, job_scope
from waypost.trigger.schedule import Overlap, Schedule, check

BATCH = 500  # schedules a transaction
MAX_JOBS = 2_000  # jobs a transaction, or those of one schedule that catches up
JUDGE_SECONDS = 0.2  # spent on due times in one transaction: nothing else of the process runs meanwhile
MOST_SECONDS = 0.25  # a schedule that was made meanwhile is found so late, at most
LEAST_SECONDS = 0.01
NOT_READY = timedelta(minutes=5)  # until an environment that takes no work is looked at again, unless it is resumed
PUT_OFF = timedelta(hours=1)  # until a schedule that could not be read is looked at again

_log = structlog.get_logger("jobs.schedule")
_encode = msgspec.json.Encoder().encode


class Routing(Protocol):
    """What is used of the ledger (storage.postgres.ledger.ledger.Ledger)."""

    async def resolve_route(self, environment_id: UUID, function: str, selectors: Sequence[str]) -> int: ...
    async def release_holds(self, lines: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, int, int]]: ...


class Seal(Protocol):
    def seal(self, place: str, plaintext: bytes) -> bytes: ...


class Keys(Protocol):
    """What is used of storage.secrets.EnvironmentKeys."""

    async def data_key(self, environment_id: UUID) -> Seal: ...


class Publisher(Protocol):
    def publish(self, channel: str, payload: bytes) -> None: ...


class _Plan(msgspec.Struct):
    """What one held schedule comes to. `canceled` are jobs that must end for it; `line` tells of what makes no job."""

    held: Taken
    move: Move
    submissions: list[Submission]
    due: list[datetime]
    firings: list[Firing]
    canceled: Sequence[UUID] = ()


class _Told(msgspec.Struct):
    """What is to be published after the commit."""

    kept: list[tuple[Submission, Accepted]] = []
    canceled: list[tuple[UUID, UUID, Canceling]] = []
    schedules: int = 0


class Schedules:
    """`tick` is a step of `jobs.timers`."""

    def __init__(
        self,
        database: Database,
        ledger: Routing,
        keys: Keys,
        valkey: Publisher,
        default_limits: Mapping[str, int],
        *,
        batch: int = BATCH,
    ) -> None:
        self._database, self._ledger, self._keys, self._valkey = database, ledger, keys, valkey
        self._limits, self._batch = default_limits, batch

    async def tick(self) -> float:
        """Decide a batch of due schedules; answers in how many seconds the next one is due, at most a quarter."""
        seconds = await next_due_seconds(self._database)
        if seconds is None or seconds > 0:
            return MOST_SECONDS if seconds is None else min(seconds, MOST_SECONDS)
        told = await self._decide()
        await self._tell(told)
        return 0.0 if told.schedules else LEAST_SECONDS  # nothing: another worker holds what is due

    async def _decide(self) -> _Told:
        async with self._database.hot() as connection, connection.transaction():
            held = await take_due(connection, self._batch)
            try:
                async with connection.transaction():
                    return await self._carry_out(connection, held)
            except WaypostError as error:
                if error.category is Category.UNAVAILABLE:
                    raise
                _log.warning("schedule.batch_failed", schedules=len(held), error=error.code)
            return await self._one_by_one(connection, held)

    async def _one_by_one(self, connection: Connection, held: Sequence[Taken]) -> _Told:
        """One of them cannot be kept; it must not take its neighbours along."""
        told = _Told()
        for one in held:
            try:
                async with connection.transaction():
                    done = await self._carry_out(connection, [one])
            except WaypostError as error:
                if error.category is Category.UNAVAILABLE:
                    raise
                await _put_off(connection, one, error.detail)
                done = _Told(schedules=1)
            told.kept += done.kept
            told.canceled += done.canceled
            told.schedules += done.schedules
        return told

    async def _carry_out(self, connection: Connection, held: Sequence[Taken]) -> _Told:
        plans = await self._plans(connection, held)
        told = _Told(schedules=len(plans))
        for plan in plans:
            trigger = plan.held.trigger
            for job_id in plan.canceled:
                done = await cancel_within(connection, trigger.environment_id, job_id, trigger.actor)
                if done is not None:
                    told.canceled.append((trigger.environment_id, job_id, done))
        batch = [submission for plan in plans for submission in plan.submissions]
        accepted = iter(await submit_within(connection, batch) if batch else ())
        for plan in plans:
            for submission, due_at in zip(plan.submissions, plan.due, strict=True):
                answer = next(accepted)
                plan.firings.append(_accepted(plan.held.trigger, due_at, answer))
                told.kept.append((submission, answer))
        firings = [firing for plan in plans for firing in plan.firings]
        if firings:
            await insert_firings(connection, firings)
        await move_schedules(connection, [plan.move for plan in plans])
        return told

    async def _plans(self, connection: Connection, held: Sequence[Taken]) -> list[_Plan]:
        """What becomes of those that are held, as many as fit into one transaction."""
        judged: list[tuple[Taken, Schedule, Verdict]] = []
        plans: list[_Plan] = []
        jobs, until = 0, clock.monotonic() + JUDGE_SECONDS
        for one in held:
            if one.status is not Status.READY:
                plans.append(_waiting(one))
                continue
            try:
                schedule = check(one.trigger.settings)  # the time zone may be unknown to this machine
            except WaypostError as error:
                plans.append(_refused(one, error.detail))
                continue
            verdict = judge(schedule, one.trigger.id, one.trigger.created_at, one.decided, one.now)
            judged.append((one, schedule, verdict))
            jobs += len(verdict.run)
            if jobs >= MAX_JOBS or clock.monotonic() > until:
                break
        room = await self._room(connection, [one for one, _, verdict in judged if verdict.run])
        wary = [
            one.trigger for one, schedule, verdict in judged if verdict.run and schedule.overlap is not Overlap.ALLOW
        ]
        busy = await busy_jobs(connection, wary) if wary else {}
        for one, schedule, verdict in judged:
            plans.append(await self._plan(one, schedule, verdict, busy.get(one.trigger.id, []), room))
        return plans

    async def _room(self, connection: Connection, held: Sequence[Taken]) -> dict[UUID, tuple[int, int]]:
        """By environment: how many jobs wait, and how many may."""
        environments = {one.trigger.environment_id: one for one in held}
        waiting = await waiting_jobs(connection, environments.keys()) if environments else {}
        return {
            key: (max(0, waiting.get(key, 0)), in_force(self._limits, one.most, one.limits)[WAITING_JOBS])
            for key, one in environments.items()
        }

    async def _plan(
        self, one: Taken, schedule: Schedule, verdict: Verdict, busy: list[UUID], room: dict[UUID, tuple[int, int]]
    ) -> _Plan:
        trigger = one.trigger
        run, skipped = overlapping(schedule.overlap, verdict.run, bool(busy))
        plan = _Plan(one, Move(trigger.id, verdict.next_at, verdict.decided), [], [], [])
        if verdict.missed is not None:
            why = f"no worker ran then, or the environment took no work; catch_up is {schedule.catch_up}"
            plan.firings.append(_left(trigger, verdict.missed, Outcome.MISSED, why))
        if skipped is not None:
            plan.firings.append(_left(trigger, skipped, Outcome.SKIPPED_OVERLAP, _why_skipped(schedule, busy)))
        if not run:
            return plan
        waiting, limit = room[trigger.environment_id]
        try:
            admit(one.status, waiting, limit, len(run))
            plan.submissions = [await self._submission(trigger, due_at) for due_at in run]
        except WaypostError as error:
            if error.category is Category.UNAVAILABLE:
                raise
            plan.firings.append(_left(trigger, Left(run[0], run[-1], len(run)), Outcome.REFUSED, error.detail))
            return plan
        room[trigger.environment_id] = waiting + len(run), limit
        plan.due = list(run)
        if schedule.overlap is Overlap.CANCEL_RUNNING:
            plan.canceled = busy
        return plan

    async def _submission(self, trigger: Trigger, due_at: datetime) -> Submission:
        """The job of a due time: its payload says which one it is."""
        spec, job_id = trigger.job, new_id()
        key = await self._keys.data_key(trigger.environment_id)
        due = rfc3339(due_at)
        payload = _encode({"trigger_id": str(trigger.id), "due_at": due})
        route = await self._ledger.resolve_route(trigger.environment_id, spec.function, spec.selectors)
        scope = job_scope(trigger.id, trigger.kind)
        return submission_of(
            spec,
            job_id,
            trigger.environment_id,
            route,
            trigger.actor,
            payload=key.seal(payload_place(job_id), payload),
            trigger_id=trigger.id,
            idempotency_key=due,
            request_hash=hashlib.sha256(f"{scope}/{due}".encode()).digest(),
            idempotency_scope=scope,
        )

    async def _tell(self, told: _Told) -> None:
        """Wake relays; tell of what was canceled; let the lines of concurrency keys move."""
        places, lines = startable(told.kept)
        self._publish(wakes(places))
        for environment_id, job_id, done in told.canceled:
            if done.concurrency_key is not None:
                lines.add((environment_id, done.concurrency_key))
            if done.result is CancelResult.ASKED:
                self._valkey.publish(environment_channel(environment_id), encode(CancelJob(job_id)))
            else:
                self._publish(states([(environment_id, job_id, JobState.CANCELED, done.number)]))
        if lines:
            self._publish(wakes(await self._ledger.release_holds(lines), rewind=True))

    def _publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        for channel, payload in messages:
            self._valkey.publish(channel, payload)


def _waiting(one: Taken) -> _Plan:
    """The environment takes no work: nothing is decided. When it does again, what was due by then was missed."""
    ends = one.status in (Status.DELETING, Status.DELETED)
    return _Plan(one, Move(one.trigger.id, None if ends else one.now + NOT_READY, one.decided), [], [], [])


def _refused(one: Taken, why: str) -> _Plan:
    """It cannot be read now, so nothing is decided; somebody can find out why."""
    firing = Firing(new_id(), one.trigger.environment_id, one.trigger.id, one.now, Outcome.REFUSED, detail=why)
    return _Plan(one, Move(one.trigger.id, one.now + PUT_OFF, one.decided), [], [], [firing])


async def _put_off(connection: Connection, one: Taken, why: str) -> None:
    plan = _refused(one, why)
    _log.warning("schedule.put_off", trigger=str(one.trigger.id), why=why)
    await insert_firings(connection, plan.firings)
    await move_schedules(connection, [plan.move])


def _left(trigger: Trigger, left: Left, outcome: Outcome, why: str) -> Firing:
    return Firing(new_id(), trigger.environment_id, trigger.id, left.last, outcome, detail=left.said(why))


def _why_skipped(schedule: Schedule, busy: list[UUID]) -> str:
    if schedule.overlap is Overlap.CANCEL_RUNNING:
        return "due together with a later one, which would have canceled it"
    return f"job {busy[0]} has not ended" if busy else "the job of the first of them has not ended"


def _accepted(trigger: Trigger, due_at: datetime, answer: Accepted) -> Firing:
    """An accepted one is called what its job is called."""
    if answer.conflict:
        return Firing(
            new_id(), trigger.environment_id, trigger.id, due_at, Outcome.REFUSED, detail="The environment is closing."
        )
    if answer.replayed:
        return Firing(new_id(), trigger.environment_id, trigger.id, due_at, Outcome.DUPLICATE, answer.id)
    return Firing(answer.id, trigger.environment_id, trigger.id, due_at, Outcome.ACCEPTED, answer.id)
