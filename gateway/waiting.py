"""`?wait_seconds`: a submission that is answered with the finished job if it ends in time."""

from uuid import UUID

import msgspec

from gateway.endpoint import Call, ok
from gateway.exchange import Answer
from gateway.feed import Listener, changes_of
from gateway.reading import read_job, view_of
from gateway.submission import submit_one
from waypost.clock import monotonic
from waypost.job.decision import is_end
from waypost.job.record import JobRecord

POLL_SECONDS = 2.0  # the net under lost messages


class _Id(msgspec.Struct):
    id: UUID


async def wait_for_end(call: Call, seconds: float) -> Answer:
    """Submit, then wait: 200 with the finished job, else the 202 that a plain submission gets."""
    deadline = monotonic() + seconds
    async with call.services.feed.listen(call.environment.id) as listener:
        accepted = await submit_one(call)
        job_id = msgspec.json.decode(accepted.body, type=_Id).id
        record = await _ended(call, listener, job_id, deadline)
    if record is None:
        return accepted
    return ok(await view_of(call, record), 200, accepted.headers)


async def _ended(call: Call, listener: Listener, job_id: UUID, deadline: float) -> JobRecord | None:
    """The record once the job has ended; None at the deadline, or when the gateway stops."""
    look = True  # a repeat of an Idempotency-Key can be of a job that has ended long ago
    looked = monotonic()
    while not listener.closed:
        if look or monotonic() - looked >= POLL_SECONDS:
            looked = monotonic()
            record = await read_job(call, job_id)
            if is_end(record.state):
                return record
        left = deadline - monotonic()
        if left <= 0:
            return None
        look = changes_of(await listener.take(min(left, POLL_SECONDS)), job_id) or listener.missed
        listener.missed = False
    return None
