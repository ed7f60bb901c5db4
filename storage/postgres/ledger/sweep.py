"""What time does to jobs: due ones are queued, late ones expire, those of dead relays are tried again.

Every step is safe to run in any number of processes at once: rows are locked with SKIP LOCKED, or the fence of a
settlement lets one of them through (decision 14). Postgres' clock alone decides (decision 16).
"""

import random
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Database
from storage.postgres.ledger.cancel import cancel_waiting
from storage.postgres.ledger.hold import Line
from storage.postgres.ledger.settlement import settle_end, settle_retry
from storage.postgres.ledger.statement import run
from waypost.ids import new_id
from waypost.job.decision import after_failure
from waypost.job.model import CANCEL_GRACE, End, Ending, JobState, Outcome, Policy, Retrying, Settled
from waypost.job.specification import parse_policy

# A relay ends canceled jobs itself; the sweeper only those of relays that did not, a while later.
CANCEL_MARGIN_SECONDS = 5.0

Queue = tuple[UUID, int, int]  # environment, route, rank
Change = tuple[UUID, UUID, JobState, int]  # environment, job, state, number


class Swept(msgspec.Struct, frozen=True):
    """What a sweep did: `woken` queues got work, `lines` of concurrency may move, `changes` are to be told."""

    count: int = 0
    woken: tuple[Queue, ...] = ()
    lines: tuple[Line, ...] = ()
    changes: tuple[Change, ...] = ()


async def promote_due(database: Database, limit: int) -> Swept:
    """Queue up to `limit` jobs whose time has come."""
    async with database.hot() as connection:
        rows = await run(connection, "promote_due", limit)
    return Swept(
        count=sum(row["jobs"] for row in rows),
        woken=tuple((r["environment_id"], r["route"], r["rank"]) for r in rows if r["concurrency_key"] is None),
        lines=_lines(rows),
    )


async def next_due_seconds(database: Database) -> float | None:
    """How long until the next job is due (negative: late), None when no job waits for its time."""
    async with database.hot() as connection:
        rows = await run(connection, "next_due")
    seconds: float | None = rows[0][0]
    return seconds


async def expire(database: Database, limit: int) -> Swept:
    """End up to `limit` jobs of each kind of waiting that were not started in time."""
    async with database.hot() as connection:
        rows = await run(connection, "expire", limit)
    changes = tuple((r["environment_id"], r["job_id"], JobState.EXPIRED, r["number"]) for r in rows)
    return Swept(len(rows), lines=_lines(rows), changes=changes)


async def sweep_lost(database: Database, limit: int, *, thorough: bool = False) -> Swept:
    """End sessions that ran out and take up to `limit` leases of each: tried again at once, or dead letters.

    `thorough` looks at every lease: also those that an ended session took more than a minute after its end.
    """
    async with database.hot() as connection:
        sessions = {row["id"] for row in await run(connection, "lapsed_sessions")}
        if thorough:
            sessions |= {row["id"] for row in await run(connection, "orphaned_sessions")}
        lapsed = {s: await run(connection, "lapsed_leases", s, limit) for s in sorted(sessions)}
    swept = Swept()
    for session, leases in lapsed.items():
        if leases:
            swept = merged((swept, await _take_away(database, session, leases)))
    return swept


async def _take_away(database: Database, session: int, leases: list[Any]) -> Swept:
    decisions = [
        (lease, after_failure(_policy(lease), lease["number"], Outcome.LOST, True, _chance())) for lease in leases
    ]
    endings = [Ending(r["job_id"], r["attempt_id"], e, Outcome.LOST) for r, e in decisions if isinstance(e, End)]
    retries = [
        Retrying(r["job_id"], r["attempt_id"], Outcome.LOST, delay, new_id())
        for r, delay in decisions
        if not isinstance(delay, End)
    ]
    ended = await settle_end(database, session, endings)
    retried = await settle_retry(database, session, retries)
    states = {ending.job_id: ending.end.state for ending in endings}
    return Swept(
        count=len(ended) + len(retried),
        woken=tuple(
            {(s.environment_id, s.route, s.rank) for s in retried if not s.canceled and s.concurrency_key is None}
        ),
        lines=_freed(ended + retried),
        changes=tuple(
            [(s.environment_id, s.job_id, states[s.job_id], s.number) for s in ended]
            + [(s.environment_id, s.job_id, _after(s), s.number) for s in retried]
        ),
    )


async def sweep_canceled(database: Database, limit: int) -> Swept:
    """End jobs whose relay did not end them after the grace of a cancel; forget requests for jobs that do not run."""
    grace = CANCEL_GRACE.total_seconds() + CANCEL_MARGIN_SECONDS
    async with database.hot() as connection:
        rows = await run(connection, "overdue_cancels", grace, limit)
    swept = Swept()
    for row in rows:
        job_id, environment_id = row["job_id"], row["environment_id"]
        if row["session"] is not None:
            ending = Ending(job_id, row["attempt_id"], End.CANCELED, Outcome.CANCELED)
            ended = await settle_end(database, row["session"], [ending])
            changes = tuple((s.environment_id, s.job_id, JobState.CANCELED, s.number) for s in ended)
            swept = merged((swept, Swept(len(ended), lines=_freed(ended), changes=changes)))
            continue
        waited = await cancel_waiting(database, environment_id, job_id)
        await _forget_request(database, job_id)
        if waited is not None:
            lines = ((environment_id, waited.concurrency_key),) if waited.concurrency_key else ()
            change = (environment_id, job_id, JobState.CANCELED, waited.number)
            swept = merged((swept, Swept(1, lines=lines, changes=(change,))))
    return swept


async def _forget_request(database: Database, job_id: UUID) -> None:
    """Only while the job does not run: a claim between look and delete keeps its request."""
    async with database.hot() as connection:
        await connection.execute(
            "delete from control.cancel_request c where job_id = $1 and exists"
            " (select from control.job_end e where e.environment_id = c.environment_id and e.job_id = c.job_id)",
            job_id,
        )


def merged(parts: Iterable[Swept]) -> Swept:
    """Several sweeps as one."""
    found = list(parts)
    return Swept(
        count=sum(part.count for part in found),
        woken=tuple({queue for part in found for queue in part.woken}),
        lines=tuple({line for part in found for line in part.lines}),
        changes=tuple(change for part in found for change in part.changes),
    )


def _after(settled: Settled) -> JobState:
    return JobState.CANCELED if settled.canceled else JobState.RETRYING


def _policy(lease: Any) -> Policy:
    return parse_policy(lease["policy"])


def _chance() -> float:
    return random.random()  # noqa: S311 (spreads retries, no secret)


def _lines(rows: Iterable[Any]) -> tuple[Line, ...]:
    return tuple({(r["environment_id"], r["concurrency_key"]) for r in rows if r["concurrency_key"] is not None})


def _freed(settled: Iterable[Settled]) -> tuple[Line, ...]:
    return tuple({(s.environment_id, s.concurrency_key) for s in settled if s.concurrency_key is not None})
