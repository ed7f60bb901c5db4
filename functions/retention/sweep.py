"""`retention.sweep`: everything of one environment whose time is over, by its own days where they are fewer.

What the operator's days say of bodies and jobs is done for all environments at once (`jobs.retention`); here go shorter
days, logs, firings, deliveries, bulk replays and artifacts. Every bite is a commit of its own and finds by itself what
is left, so a kill costs nothing and a second run finds nothing. By the operator's days the audit goes with its batches
(`jobs.audit`).
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from storage.objects.artifact import ArtifactObjects
from storage.postgres.artifact.garbage import collect
from storage.postgres.audit import sweep as audit
from storage.postgres.database import Database
from storage.postgres.platform.job import PlatformJob
from storage.postgres.retention import artifact, job, record, turn
from storage.postgres.retention.preview import instant_now
from storage.postgres.tenancy.environment import read_environment
from waypost.ids import NIL
from waypost.retention.decision import in_force
from waypost.retention.model import ARTIFACTS, AUDIT, DELIVERIES, FIRINGS, JOBS, LOGS, PAYLOADS, Retention
from waypost.tenancy.model import Environment, Status

REPLAYS = "replays"

Page = Callable[[UUID], Awaitable[tuple[int, UUID | None]]]


class SweepPorts(msgspec.Struct, frozen=True):
    """What a sweep works with; `days` are the operator's."""

    database: Database
    objects: ArtifactObjects
    days: Mapping[str, int]


async def sweep(platform_job: PlatformJob, ports: SweepPorts) -> None:
    """Sweep the environment that is the job's subject. Raises `unavailable` when S3 is away: then it comes again."""
    environment_id, database = platform_job.subject, ports.database
    done: Mapping[str, int] | None = None
    while True:
        async with database.unit() as connection:
            environment = await read_environment(connection, environment_id)
            now = await instant_now(connection)
        if environment is None or environment.status not in (Status.READY, Status.SUSPENDED):
            return
        if done == environment.retention:
            return  # else its days were changed meanwhile
        done = environment.retention
        days = in_force(ports.days, done)
        removed = await _sweep(ports, environment, days, now)
        async with database.unit() as connection:
            await turn.mark_swept(connection, environment_id, {name: count for name, count in removed.items() if count})


async def _sweep(ports: SweepPorts, environment: Environment, days: Retention, now: datetime) -> dict[str, int]:
    """How much went, by kind."""
    environment_id = environment.id
    database, before = ports.database, {name: now - timedelta(days=count) for name, count in days.days.items()}

    def artifacts(after: UUID) -> Awaitable[tuple[int, UUID | None]]:
        return artifact.delete_artifacts(database, environment_id, before[ARTIFACTS], after)

    removed = {
        LOGS: await _pages(_bound(job.delete_logs, ports, environment_id, before[LOGS])),
        FIRINGS: await _bites(record.delete_firings, database, environment_id, before[FIRINGS]),
        DELIVERIES: await _bites(record.delete_deliveries, database, environment_id, before[DELIVERIES]),
        REPLAYS: await _bites(record.delete_replays, database, environment_id, before[JOBS]),
        ARTIFACTS: await _pages(artifacts),
    }
    if days[PAYLOADS] < ports.days[PAYLOADS]:
        removed[PAYLOADS] = await _bodies(ports, environment_id, before[PAYLOADS])
    if days[JOBS] < ports.days[JOBS]:
        removed[JOBS] = await _pages(_bound(job.delete_jobs, ports, environment_id, before[JOBS]))
    if days[AUDIT] < ports.days[AUDIT]:
        removed[AUDIT] = await _audit(database, environment, days[AUDIT])
    while await collect(database, ports.objects, environment_id):
        pass
    return removed


def _bound(work: Any, ports: SweepPorts, environment_id: UUID, before: datetime) -> Page:
    return lambda after: work(ports.database, ports.objects, environment_id, before, after)


async def _pages(work: Page) -> int:
    total, after = 0, NIL
    while True:
        count, following = await work(after)
        total += count
        if following is None:
            return total
        after = following


async def _bites(
    work: Callable[[Database, UUID, datetime], Awaitable[int]],
    database: Database,
    environment_id: UUID,
    before: datetime,
) -> int:
    total = 0
    while True:
        count = await work(database, environment_id, before)
        total += count
        if count < record.LIMIT:
            return total


async def _audit(database: Database, environment: Environment, keep_days: int) -> int:
    total = 0
    while count := await audit.sweep_entries(database, environment, keep_days):
        total += count
    return total


async def _bodies(ports: SweepPorts, environment_id: UUID, before: datetime) -> int:
    total = 0
    while (count := await job.erase_bodies(ports.database, ports.objects, environment_id, before)) is not None:
        total += count
    return total
