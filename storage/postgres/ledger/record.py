"""Reading the ledger for somebody. `connection` is that of `Database.as_environment`: every statement runs as the
environment's role, so that row security answers even when the application asks wrongly (decision 1).

Bodies come back sealed. Refuses counts over tables: what is counted here was kept incrementally.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.ledger.listing import FEW, WAITING, asks_for_waiting, page_of
from storage.postgres.sql import load
from waypost.ids import first_id_at, instant_of
from waypost.job.model import End, JobState, Outcome
from waypost.job.record import (
    AttemptRecord,
    FunctionOverview,
    JobFilter,
    JobRecord,
    Place,
    QueueCount,
    Standing,
    StateChange,
)

_PACKAGE = "storage.postgres.ledger"
_GIVEN = "with page as materialized (select unnest($3::uuid[]) as id)\n"
_labels = msgspec.json.Decoder(dict[str, str])
_selectors = msgspec.json.Decoder(tuple[str, ...])


async def read_job(
    connection: Connection, environment_id: UUID, job_id: UUID, *, bodies: bool = True
) -> JobRecord | None:
    """One job, None when this environment has none of that id."""
    found = await read_jobs(connection, environment_id, [job_id], bodies=bodies)
    return found[0] if found else None


async def read_jobs(
    connection: Connection, environment_id: UUID, ids: Sequence[UUID], *, bodies: bool = True
) -> list[JobRecord]:
    """Those of `ids` that this environment has, newest first."""
    rows = await connection.fetch(_GIVEN + load(_PACKAGE, "job_record"), environment_id, bodies, list(ids))
    return [_job(row, bodies) for row in rows]


async def list_jobs(
    connection: Connection,
    environment_id: UUID,
    wanted: JobFilter,
    limit: int,
    before: UUID | None = None,
    *,
    bodies: bool = False,
) -> tuple[list[JobRecord], UUID | None]:
    """Up to `limit` jobs, newest first, older than `before`; and what to pass as `before` for the next, None at the
    end. Stable under inserts: ids only grow.
    """
    few_wait = asks_for_waiting(wanted) and await connection.fetchval(WAITING, environment_id) <= FEW
    page, values = page_of(wanted, limit + 1, before, few_wait=few_wait)
    rows = await connection.fetch(page + load(_PACKAGE, "job_record"), environment_id, bodies, *values)
    jobs = [_job(row, bodies) for row in rows[:limit]]
    return jobs, jobs[-1].id if len(rows) > limit else None


async def read_attempts(connection: Connection, environment_id: UUID, job_id: UUID) -> list[AttemptRecord]:
    """Every attempt of a job, the first one first, the running one last."""
    rows = await connection.fetch(load(_PACKAGE, "attempts"), environment_id, job_id)
    return [_attempt(job_id, row) for row in rows]


async def queue_counts(connection: Connection, environment_id: UUID) -> list[QueueCount]:
    """Every function of the environment with what waits and runs, by name; a little late."""
    rows = await connection.fetch(load(_PACKAGE, "queue_counts"), environment_id)
    return [QueueCount(**dict(row)) for row in rows]


async def read_functions(connection: Connection, environment_id: UUID) -> list[FunctionOverview]:
    """Every function that has a route, by name, with its queue and its last hour."""
    counts = {count.function: count for count in await queue_counts(connection, environment_id)}
    rows = await connection.fetch(load(_PACKAGE, "function_hour"), environment_id)
    return [_overview(row, counts.get(row["function"])) for row in rows]


async def read_standing(connection: Connection, environment_id: UUID, job_id: UUID) -> Standing | None:
    """Where a job stands now; None when this environment has no such job."""
    rows = await connection.fetch(load(_PACKAGE, "standing"), environment_id, job_id)
    return _standing(rows[0]) if rows else None


async def states_since(
    connection: Connection, environment_id: UUID, since: datetime, limit: int, job_id: UUID | None = None
) -> list[StateChange]:
    """Up to `limit` changes at or after `since`, oldest first, of one job or all."""
    values = (environment_id, since, job_id, first_id_at(since), limit)
    rows = await connection.fetch(load(_PACKAGE, "states_since"), *values)
    return [StateChange(row["job_id"], JobState(row["state"]), row["number"], row["at"]) for row in rows]


def _overview(row: Any, count: QueueCount | None) -> FunctionOverview:
    return FunctionOverview(
        function=row["function"],
        waiting=count.waiting if count else 0,
        running=count.running if count else 0,
        oldest_waiting_at=count.oldest_waiting_at if count else None,
        submitted_last_hour=row["submitted"],
        completed_last_hour=row["completed"],
        failed_last_hour=row["failed"],
        canceled_last_hour=row["canceled"],
        p50_ms=row["p50_ms"],
        p99_ms=row["p99_ms"],
    )


def _job(row: Any, bodies: bool) -> JobRecord:
    current = _current(row)
    started_at, finished_at = current["started_at"], row["finished_at"]
    last_change = finished_at or row["lease_started_at"] or row["last_finished_at"]
    ended = row["ended"] is not None
    over = row["end_outcome"] if ended else row["last_outcome"]
    error = row["end_error"] if ended else row["last_error"]
    return JobRecord(
        id=row["id"],
        environment_id=row["environment_id"],
        route=row["route"],
        function=row["function"],
        selectors=_selectors.decode(row["selectors"]),
        rank=row["rank"],
        submitted_by=row["submitted_by"],
        policy=row["policy"],
        labels=_labels.decode(row["labels"]) if row["labels"] else {},
        run_at=row["run_at"],
        expires_at=row["expires_at"],
        traceparent=row["traceparent"],
        replay_of=row["replay_of"],
        replayed_by=row["replayed_by"],
        trigger_id=row["trigger_id"],
        state=_state(row),
        number=current["number"] or 0,
        started_at=started_at,
        finished_at=finished_at,
        updated_at=last_change or instant_of(row["id"]),
        cancel_requested_at=row["cancel_requested_at"],
        node=current["node"],
        attempt_id=current["attempt_id"],
        outcome=Outcome(over) if over is not None else None,
        bodies=bodies,
        payload=row["payload"],
        payload_object=row["payload_object"],
        result=row["result"],
        result_object=row["end_result_object"],
        error=error,
        error_number=(row["end_number"] if ended else row["last_number"]) or 0,
    )


def _current(row: Any) -> dict[str, Any]:
    """The current or last attempt: the one that runs, else the one that ended the job, else the last that failed."""
    source = next((name for name in ("lease", "end") if row[f"{name}_attempt_id"] is not None), "last")
    return {name: row[f"{source}_{name}"] for name in ("number", "attempt_id", "node", "started_at")}


def _state(row: Any) -> JobState:
    if row["ended"] is not None:
        return End(row["ended"]).state
    if row["lease_attempt_id"] is not None:
        return JobState.RUNNING
    return JobState.RETRYING if row["last_number"] is not None else JobState.QUEUED


def _attempt(job_id: UUID, row: Any) -> AttemptRecord:
    return AttemptRecord(
        job_id=job_id,
        number=row["number"],
        attempt_id=row["attempt_id"],
        node=row["node"],
        node_name=row["node_name"],
        relay=row["relay"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        outcome=Outcome(row["outcome"]) if row["outcome"] is not None else None,
        error=row["error"],
        answer_refused_at=row["answer_refused_at"],
    )


def _standing(row: Any) -> Standing:
    place, since = _place(row)
    number = row["end_number"] if place is Place.END else row["lease_number"] if place is Place.LEASE else row["number"]
    return Standing(
        place=place,
        since=since,
        number=number,
        due_at=row["due_at"],
        concurrency_key=row["concurrency_key"],
        paused_note=row["paused_note"],
        paused_by=row["paused_by"],
        paused_at=row["paused_at"],
    )


def _place(row: Any) -> tuple[Place, datetime]:
    since: datetime
    if (since := row["ended_at"]) is not None:
        return Place.END, since
    if (since := row["started_at"]) is not None:
        return Place.LEASE, since
    if row["due_at"] is not None:
        return Place.DUE, row["due_since"]
    place = Place.READY if row["ready"] else Place.HOLD if row["held"] else Place.MOVING
    return place, row["queued_at"]
