"""A job as its reader may see it: record, bodies opened, progress, and why it waits."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from gateway.endpoint import Call
from gateway.v1.view import Bodies, ErrorView, JobView, ProgressView, WaitingView, job_view
from storage.postgres.database import Connection
from storage.postgres.ledger import record as ledger
from storage.postgres.node.node import list_nodes
from storage.valkey.client import ReplyError
from waypost import errors
from waypost.access.model import Permission
from waypost.errors import WaypostError
from waypost.job.decision import is_end, waiting_reason
from waypost.job.model import JobError, JobState
from waypost.job.record import AttemptRecord, JobRecord
from waypost.node.model import NodeRecord
from waypost.route.model import NodeView as RoutingView
from waypost.secret import DataKey

MAX_NODES = 10_000  # looked at for one answer

_error = msgspec.json.Decoder(JobError)
_progress = msgspec.json.Decoder(tuple[float, str])


async def read_job(call: Call, job_id: UUID) -> JobRecord:
    """The record, with bodies if the caller may operate; raises 404."""
    bodies = call.may(Permission.OPERATE_ENVIRONMENT)
    async with call.services.reading(call.environment) as connection:
        record = await ledger.read_job(connection, call.environment.id, job_id, bodies=bodies)
    if record is None:
        raise errors.not_found("job")
    return record


async def view_of(call: Call, record: JobRecord) -> JobView:
    """The whole read shape of one job."""
    bodies = await open_bodies(call, record) if record.bodies else None
    progress = await progress_of(call, record) if record.state is JobState.RUNNING else None
    waiting = None
    if not is_end(record.state) and record.state is not JobState.RUNNING:
        waiting = await waiting_of(call, record)
    return job_view(record, bodies, progress=progress, waiting=waiting)


async def open_bodies(call: Call, record: JobRecord) -> Bodies:
    """Payload, result and error in plain; large ones from the bucket; None for what retention erased."""
    key = await call.services.environment_keys.data_key(record.environment_id)
    payload = await _open(call, key, record, "payload", record.payload, record.payload_object)
    result = await _open(call, key, record, "result", record.result, record.result_object)
    error = open_error(key, record.id, record.error_number, record.error) or _view(record.implied_error)
    return Bodies(payload or b"", result, error)


async def _open(
    call: Call, key: DataKey, record: JobRecord, name: str, sealed: bytes | None, in_bucket: str | None
) -> bytes | None:
    if in_bucket is not None:
        sealed = await _object(call, record, in_bucket)
    return None if not sealed else key.open(f"job:{record.id}:{name}", sealed)


async def _object(call: Call, record: JobRecord, name: str) -> bytes | None:
    """The object; None when retention has deleted it and is about to forget its name."""
    try:
        return await call.services.objects.get(record.environment_id, name)
    except WaypostError as error:
        if error.category is errors.Category.NOT_FOUND and is_end(record.state):
            return None
        raise


def open_error(key: DataKey, job_id: UUID, number: int, sealed: bytes | None) -> ErrorView | None:
    """The error of one attempt, None when there is none."""
    return None if sealed is None else _view(_error.decode(key.open(f"job:{job_id}:error:{number}", sealed)))


def _view(error: JobError | None) -> ErrorView | None:
    return None if error is None else ErrorView(error.code, error.message, error.retryable, error.details)


async def errors_of(call: Call, attempts: Sequence[AttemptRecord]) -> list[ErrorView | None]:
    """The errors of these attempts, in order."""
    key = await call.services.environment_keys.data_key(call.environment.id)
    return [
        open_error(key, attempt.job_id, attempt.number, attempt.error) or _view(attempt.implied_error)
        for attempt in attempts
    ]


async def progress_of(call: Call, record: JobRecord) -> ProgressView | None:
    """The last progress that a relay left in Valkey; None when there is none, or Valkey is away."""
    try:
        kept = await call.services.valkey.execute("GET", f"wp:progress:{record.id}", timeout_seconds=0.5)
        return None if kept is None else ProgressView(*_progress.decode(kept))
    except (WaypostError, ReplyError, msgspec.MsgspecError):
        return None


# --- why it waits -----------------------------------------------------------------------------------------------------


async def waiting_of(call: Call, record: JobRecord) -> WaitingView | None:
    """Why the job is not running now, from what routing itself uses; None when it runs or has ended meanwhile."""
    services, environment = call.services, call.environment
    async with services.reading(environment) as connection:
        standing = await ledger.read_standing(connection, environment.id, record.id)
        if standing is None:
            return None
        nodes = await connected_nodes(connection, environment.id)
    reason = waiting_reason(
        standing,
        environment_status=environment.status,
        nodes=[routing_view(node) for node in nodes],
        function=record.function,
        selectors=record.selectors,
    )
    return None if reason is None else WaitingView(reason.reason.value, reason.detail, reason.since, reason.nodes)


async def connected_nodes(connection: Connection, environment_id: UUID) -> list[NodeRecord]:
    """All connected nodes of an environment, up to MAX_NODES."""
    found: list[NodeRecord] = []
    after = None
    while len(found) < MAX_NODES:
        some = await list_nodes(connection, environment_id, before=after, limit=1_000)
        found += some
        if len(some) < 1_000:
            break
        after = some[-1].id
    return found


def routing_view(node: NodeRecord) -> RoutingView:
    """A node's record as routing sees nodes."""
    functions: dict[str, Any] = {function["name"]: function["max_in_flight"] for function in node.functions}
    return RoutingView(node.id, node.tags, functions, node.in_flight, node.max_in_flight, node.draining)
