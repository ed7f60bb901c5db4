"""From a body to an acknowledged job: the flow that the hot path and the Litestar route share (decision 12d).

Parse, admit, resolve the route, seal the payload, keep it (large ones in the bucket first, decision 18), commit in a
group, answer. Nothing is answered before the commit.
"""

from uuid import UUID

import msgspec

from gateway.admission import Admitted
from gateway.endpoint import Call
from gateway.exchange import Answer
from gateway.idempotency import REPLAYED, key_of, request_hash, reused
from gateway.v1.view import JobReference, created_view, encode
from storage.postgres.artifact.change import hold_payload
from storage.postgres.ledger.record import read_job
from waypost import errors
from waypost.ids import new_id
from waypost.job.decision import not_taking
from waypost.job.model import MAX_INLINE_BYTES, Accepted, JobSpec, JobState, Request, Submission
from waypost.job.specification import parse_bulk, parse_submission
from waypost.job.submission import payload_key, payload_place, submission_of
from waypost.limit.decision import payload_over_limit
from waypost.limit.model import PAYLOAD_BYTES, STORED_BYTES, WAITING_JOBS
from waypost.tenancy.model import Status

ACCEPTED = 202


async def prepare(
    call: Call,
    spec: JobSpec,
    *,
    idempotency_key: str | None = None,
    hashed: bytes | None = None,
    replay_of: UUID | None = None,
    trigger_id: UUID | None = None,
    scope: str = "jobs",
) -> Submission:
    """A specification as the ledger takes it: with an id and a route, sealed. A large payload is in the bucket now."""
    services, environment = call.services, call.environment
    job_id, size = new_id(), len(spec.payload)
    route = await services.ledger.resolve_route(environment.id, spec.function, spec.selectors)
    payload, payload_object = None, None
    if spec.payload:
        limits = call.place.limits
        if size > limits[PAYLOAD_BYTES]:
            raise payload_over_limit(size, limits[PAYLOAD_BYTES])
        await hold_payload(services.database, environment.id, spec.payload, job_id)
        if size > MAX_INLINE_BYTES:
            await services.admission.store(environment, limits[STORED_BYTES], size)
        key = await services.environment_keys.data_key(environment.id)
        payload = key.seal(payload_place(job_id), spec.payload)
        if size > MAX_INLINE_BYTES:
            payload_object = payload_key(job_id, size)
            await services.objects.put(environment.id, payload_object, payload)
            payload = None
    return submission_of(
        spec,
        job_id,
        environment.id,
        route,
        call.principal.actor,
        payload=payload,
        payload_object=payload_object,
        traceparent=call.exchange.traceparent,
        replay_of=replay_of,
        trigger_id=trigger_id,
        idempotency_key=idempotency_key,
        request_hash=hashed,
        idempotency_scope=scope,
    )


async def admit(call: Call, count: int = 1) -> Admitted:
    """To be entered while `count` more jobs are kept in the environment; raises 409 `environment_not_ready`, 429."""
    await call.services.allowances.take_submissions(call.exchange, call.place, count)
    return await call.services.admission.check(call.environment, call.place.limits[WAITING_JOBS], count)


def hash_of(spec: JobSpec, scope: str = "jobs") -> bytes:
    """What makes two submissions the same, alone or in bulk: everything that was asked for, however it was spaced."""
    rest = msgspec.json.encode(msgspec.structs.replace(spec, payload=b""), order="deterministic")
    return request_hash(scope, spec.payload, rest)


async def submit(call: Call, spec: JobSpec, scope: str = "jobs", replay_of: UUID | None = None) -> Answer:
    """Keep one job and answer it as it was created; a repeat of its Idempotency-Key gets the first answer again."""
    key = key_of(call.exchange)
    hashed = hash_of(spec, scope) if key is not None else None
    with await admit(call):
        submission = await prepare(call, spec, idempotency_key=key, hashed=hashed, replay_of=replay_of, scope=scope)
        accepted = await call.services.committer.submit(submission)
    if accepted.conflict:
        await discard(call, submission)
        raise not_taking(Status.DELETING) if accepted.closed else reused()
    return await _answer(call, spec, submission, accepted)


async def _answer(call: Call, spec: JobSpec, submission: Submission, accepted: Accepted) -> Answer:
    submitted_by, traceparent = submission.submitted_by, submission.traceparent
    headers: list[tuple[bytes, bytes]] = [(b"location", location(call, accepted.id))]
    if accepted.replayed:
        await discard(call, submission)
        headers.append(REPLAYED)
        async with call.services.reading(call.environment) as connection:
            first = await read_job(connection, call.environment.id, accepted.id, bodies=False)
        if first is not None:  # else retention has taken it: what was sent again says the same
            submitted_by, traceparent = first.submitted_by, first.traceparent
    view = created_view(accepted.id, spec, submission.policy, submitted_by, traceparent, submission.replay_of)
    return Answer(ACCEPTED, encode(view), headers)


async def discard(call: Call, submission: Submission) -> None:
    """The object of a submission that was not kept. Best effort: the sweeper removes orphans after a day."""
    if submission.payload_object is not None:
        try:
            await call.services.objects.delete(submission.environment_id, submission.payload_object)
        except errors.WaypostError:
            return


def location(call: Call, job_id: UUID) -> bytes:
    """The job's path."""
    return f"{call.place.path}/jobs/{job_id}".encode()


async def submit_one(call: Call) -> Answer:
    """`POST E/jobs`."""
    return await submit(call, parse_submission(await call.exchange.body()))


class BulkAnswer(msgspec.Struct):
    items: list[JobReference]


async def submit_bulk(call: Call) -> Answer:
    """`POST E/jobs/bulk`: all or nothing, in order.

    Each item can carry a key of its own; the Idempotency-Key header stands for the whole request.
    """
    body = await call.exchange.body()
    items, key = parse_bulk(body), key_of(call.exchange)
    with await admit(call, len(items)):
        batch = [
            await prepare(call, spec, idempotency_key=own, hashed=hash_of(spec) if own is not None else None)
            for spec, own in items
        ]
        whole = Request(call.environment.id, key, request_hash("jobs.bulk", body)) if key is not None else None
        accepted = await call.services.committer.submit_bulk(batch, whole) if batch else []
    refused = [index for index, one in enumerate(accepted) if one.conflict]
    if refused:
        for submission in batch:
            await discard(call, submission)
        if accepted[refused[0]].closed:
            raise not_taking(Status.DELETING)
        conflict = reused()
        if whole is not None and len(refused) == len(accepted):
            raise conflict
        conflict.problems = tuple(
            errors.Problem(f"/jobs/{index}/idempotency_key", conflict.code, "This key was used with another job.")
            for index in refused
        )
        raise conflict
    for submission, one in zip(batch, accepted, strict=True):
        if one.replayed:
            await discard(call, submission)
    headers = [REPLAYED] if accepted and all(one.replayed for one in accepted) else []
    return Answer(ACCEPTED, encode(BulkAnswer([JobReference(one.id, JobState.QUEUED) for one in accepted])), headers)
