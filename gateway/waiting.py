"""`?wait_seconds`: a submission that is answered with the finished job if it ends in time."""

from uuid import UUID

import msgspec

from gateway.endpoint import Call, ok
from gateway.exchange import Answer
from gateway.feed import Listener, changes_of
from gateway.reading import read_job, view_of
from gateway.submission import submit_one
from waypost.clock import monotonic
from waypost.errors import WaypostError
from waypost.job.decision import is_end
from waypost.job.record import JobRecord

POLL_SECONDS = 2.0  # the net under lost messages


class _Id(msgspec.Struct):
    id: UUID


async def wait_for_end(call: Call, seconds: float) -> Answer:
    """Submit, then wait: 200 with the finished job, else 202 with the job as it is when the time is over."""
    deadline = monotonic() + seconds
    async with call.services.feed.listen(call.environment.id) as listener:
        accepted = await submit_one(call)
        job_id = msgspec.json.decode(accepted.body, type=_Id).id
        try:
            record = await _watched(call, listener, job_id, deadline)
            view = await view_of(call, record)
        except WaypostError:  # the job is kept: an error now would say that it is not
            return accepted
    return ok(view, 200 if is_end(record.state) else 202, accepted.headers)


async def _watched(call: Call, listener: Listener, job_id: UUID, deadline: float) -> JobRecord:
    """The record once the job has ended; at the deadline, or when the gateway stops, as it is then."""
    while True:
        record = await read_job(call, job_id)  # also first: a repeat can be of a job that has ended long ago
        if is_end(record.state) or listener.closed or monotonic() >= deadline:
            return record
        await _changed(listener, job_id, deadline)


async def _changed(listener: Listener, job_id: UUID, deadline: float) -> None:
    """Return when something of the job may have changed, or it is time to look anyway."""
    until = min(deadline, monotonic() + POLL_SECONDS)
    while not listener.closed and (left := until - monotonic()) > 0:
        changed = changes_of(await listener.take(left), job_id)
        missed, listener.missed = listener.missed, False
        if changed or missed:
            return
