"""`job.replay`: the jobs of a bulk replay, batch by batch, each replayed once (native contract §3.2).

A batch's new jobs and the replay's position are one transaction that holds its row: a worker that is killed, or two at
once, replay no job twice. Objects are put before it; those of a batch that was not kept are swept as orphans. Waits for
room in the environment's queue by coming again. Refuses: to give up a whole replay for one job; that one is skipped,
with the reason.
"""

import asyncio
from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

from jobs.platform import Later
from jobs.wake import wakes
from storage.objects.store import ObjectStore
from storage.postgres.artifact.change import hold_payload
from storage.postgres.database import Connection, Database
from storage.postgres.ledger import record as records
from storage.postgres.ledger.ledger import Ledger
from storage.postgres.ledger.submission import submit_within
from storage.postgres.platform.job import PlatformJob
from storage.postgres.replay import replay as rows
from storage.postgres.tenancy.environment import read_environment
from storage.postgres.tenancy.organization import read_limits
from storage.postgres.tenancy.storage import stored_bytes
from storage.postgres.trigger.schedule import waiting_jobs
from storage.secrets import EnvironmentKeys
from storage.valkey.client import Valkey
from waypost.errors import Category, WaypostError
from waypost.ids import new_id
from waypost.job.decision import admit
from waypost.job.model import MAX_INLINE_BYTES, Accepted, JobSpec, Submission
from waypost.job.record import JobRecord
from waypost.job.replay import BulkReplay, ReplayState, Skip, overrides_place, respecified
from waypost.job.specification import Overrides, parse_overrides
from waypost.job.submission import payload_key, payload_place, startable, submission_of
from waypost.limit.decision import in_force, payload_over_limit, require_room
from waypost.limit.model import PAYLOAD_BYTES, STORED_BYTES, SUBMISSIONS, WAITING_JOBS, Limits
from waypost.secret import DataKey, SealError
from waypost.tenancy.model import Environment, Status

BATCH = 250
ROOM_SECONDS = 2.0  # until the queue is looked at again
CLOSED_SECONDS = 30.0  # until a suspended environment is

_GONE = Skip(UUID(int=0), "job_gone", "The job is no longer kept.")


class ReplayPorts(msgspec.Struct, frozen=True):
    """What a replay works with."""

    database: Database
    ledger: Ledger
    keys: EnvironmentKeys
    objects: ObjectStore
    valkey: Valkey
    default_limits: Mapping[str, int]


class _Batch(msgspec.Struct):
    """What the next jobs of a replay come to."""

    submissions: list[Submission]
    skips: list[Skip]


async def replay(job: PlatformJob, ports: ReplayPorts) -> None:
    """Replay what is left of `job.subject`; returns when all is decided, or somebody canceled it."""
    environment_id = job.environment_id or UUID(int=0)
    async with ports.database.unit() as connection:
        found = await rows.begin_replay(connection, environment_id, job.subject)
    if found is None:
        return
    overrides = await _overrides(found, ports)
    while await _one_batch(environment_id, job.subject, overrides, ports):
        pass


async def give_up(job: PlatformJob, reason: str, *, database: Database) -> None:
    """The platform job ended without success."""
    async with database.unit() as connection:
        await rows.finish_replay(connection, job.environment_id or UUID(int=0), job.subject, ReplayState.FAILED, reason)


async def _overrides(found: BulkReplay, ports: ReplayPorts) -> Overrides:
    if found.overrides is None:
        return Overrides(JobSpec(""))
    key = await ports.keys.data_key(found.environment_id)
    return parse_overrides(b'{"overrides":' + key.open(overrides_place(found.id), found.overrides) + b"}")


async def _one_batch(environment_id: UUID, replay_id: UUID, overrides: Overrides, ports: ReplayPorts) -> bool:
    """Replay the next jobs; False when there is nothing more to do."""
    async with ports.database.unit() as connection:
        found = await rows.read_replay(connection, environment_id, replay_id)
        if found is None or found.state is not ReplayState.RUNNING:
            return False
        ids = await rows.next_jobs(connection, found, BATCH)
        if not ids:
            await rows.finish_replay(connection, environment_id, replay_id, ReplayState.COMPLETED)
            return False
        environment, limits, waiting = await _room(connection, environment_id, ports.default_limits)
        stored = await stored_bytes(connection, environment_id)
    if environment is None or environment.status in (Status.DELETING, Status.DELETED):
        return False  # it goes with its environment
    _require_room(environment, limits, waiting, len(ids))
    batch = await _prepare(found, ids, overrides, limits, stored, ports)
    async with ports.database.hot() as connection, connection.transaction():
        if not await rows.hold_replay(connection, found):
            return True  # somebody else moved it on, or canceled it: look again
        accepted = await submit_within(connection, batch.submissions) if batch.submissions else []
        if any(answer.closed for answer in accepted):
            return False
        await rows.advance_replay(connection, found, len(batch.submissions), batch.skips)
    await _tell(zip(batch.submissions, accepted, strict=True), ports)
    await asyncio.sleep(len(batch.submissions) / limits[SUBMISSIONS])  # its rate holds for replays, too
    return True


async def _room(
    connection: Connection, environment_id: UUID, defaults: Mapping[str, int]
) -> tuple[Environment | None, Limits, int]:
    environment = await read_environment(connection, environment_id)
    if environment is None:
        return None, in_force(defaults, {}), 0
    (organization_limits,) = await read_limits(connection, [environment.organization_id])
    waiting = await waiting_jobs(connection, [environment_id])
    limits = in_force(defaults, organization_limits, environment.limits)
    return environment, limits, max(0, waiting.get(environment_id, 0))


def _require_room(environment: Environment, limits: Limits, waiting: int, count: int) -> None:
    """Raises Later while the environment takes no more."""
    try:
        admit(environment.status, waiting, limits[WAITING_JOBS], count)
    except WaypostError as error:
        raise Later(ROOM_SECONDS if error.category is Category.LIMITED else CLOSED_SECONDS) from error


# --- one job ----------------------------------------------------------------------------------------------------------


async def _prepare(
    found: BulkReplay, ids: list[UUID], overrides: Overrides, limits: Limits, stored: int, ports: ReplayPorts
) -> _Batch:
    async with ports.database.as_environment(found.environment_id) as connection:
        kept = await records.read_jobs(connection, found.environment_id, ids)
    by_id, key = {record.id: record for record in kept}, await ports.keys.data_key(found.environment_id)
    batch = _Batch([], [])
    for job_id in ids:
        record = by_id.get(job_id)
        if record is None:
            batch.skips.append(msgspec.structs.replace(_GONE, job_id=job_id))
            continue
        try:
            spec = respecified(record, await _payload(record, key, ports), overrides)
            submission, put = await _submission(found, record, spec, key, limits, stored, ports)
        except WaypostError as error:
            if error.category is Category.UNAVAILABLE:
                raise
            batch.skips.append(Skip(job_id, error.code, error.detail[:300]))
            continue
        batch.submissions.append(submission)
        stored += put
    return batch


async def _payload(record: JobRecord, key: DataKey, ports: ReplayPorts) -> bytes:
    """In plain; empty when it was erased, or there never was one."""
    sealed = record.payload
    if record.payload_object is not None:
        try:
            sealed = await ports.objects.get(record.environment_id, record.payload_object)
        except WaypostError as error:
            if error.category is not Category.NOT_FOUND:
                raise
            return b""
    try:
        return key.open(payload_place(record.id), sealed) if sealed else b""
    except SealError as error:
        raise WaypostError("payload_unreadable", str(error), Category.INTERNAL) from error


async def _submission(
    found: BulkReplay,
    record: JobRecord,
    spec: JobSpec,
    key: DataKey,
    limits: Limits,
    stored: int,
    ports: ReplayPorts,
) -> tuple[Submission, int]:
    """The new job, and how many bytes of it were put into the bucket."""
    size = len(spec.payload)
    if size > limits[PAYLOAD_BYTES]:
        raise payload_over_limit(size, limits[PAYLOAD_BYTES])
    job_id = new_id()
    await hold_payload(ports.database, found.environment_id, spec.payload, job_id)
    route = await ports.ledger.resolve_route(found.environment_id, spec.function, spec.selectors)
    sealed = key.seal(payload_place(job_id), spec.payload) if spec.payload else None
    in_bucket = None
    if sealed is not None and size > MAX_INLINE_BYTES:
        require_room(STORED_BYTES, limits[STORED_BYTES], stored, size)
        in_bucket = payload_key(job_id, size)
        await ports.objects.put(found.environment_id, in_bucket, sealed)
        sealed = None
    submission = submission_of(
        spec,
        job_id,
        found.environment_id,
        route,
        found.created_by,
        payload=sealed,
        payload_object=in_bucket,
        traceparent=found.traceparent,
        replay_of=record.id,
    )
    return submission, size if in_bucket else 0


async def _tell(kept: Iterable[tuple[Submission, Accepted]], ports: ReplayPorts) -> None:
    """Wake the relays, and let the lines of concurrency keys move."""
    places, lines = startable(kept)
    messages = wakes(places)
    if lines:
        messages += wakes(await ports.ledger.release_holds(lines), rewind=True)
    for channel, payload in messages:
        ports.valkey.publish(channel, payload)
