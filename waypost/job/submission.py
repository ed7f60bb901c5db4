"""From a specification to what the ledger takes and who is told, the same for a request, a schedule, a replay. Pure.

Refuses: to resolve a route, and to seal or put anything; who calls has done that.
"""

from collections.abc import Iterable
from typing import TypedDict, Unpack
from uuid import UUID

import msgspec

from waypost.job.model import Accepted, JobSpec, Submission
from waypost.job.specification import policy_text

_encode = msgspec.json.Encoder().encode


class Origin(TypedDict, total=False):
    """What a submission has beside its specification, under the names and with the defaults of `Submission`."""

    payload: bytes | None
    payload_object: str | None
    traceparent: str | None
    replay_of: UUID | None
    trigger_id: UUID | None
    idempotency_key: str | None
    request_hash: bytes | None
    idempotency_scope: str


def submission_of(
    spec: JobSpec, job_id: UUID, environment_id: UUID, route: int, submitted_by: str, **origin: Unpack[Origin]
) -> Submission:
    """The job that the specification asks for. Its payload is what `origin` says, sealed: never the specification's."""
    policy = spec.policy
    return Submission(
        id=job_id,
        environment_id=environment_id,
        route=route,
        rank=spec.rank,
        submitted_by=submitted_by,
        policy=policy_text(policy),
        labels=_encode(spec.labels).decode() if spec.labels else None,
        run_at=spec.run_at,
        delay_seconds=spec.delay_seconds,
        expires_in_seconds=policy.expires_in_seconds,
        concurrency_key=policy.concurrency.key if policy.concurrency else None,
        concurrency_limit=policy.concurrency.limit if policy.concurrency else None,
        **origin,
    )


def startable(kept: Iterable[tuple[Submission, Accepted]]) -> tuple[list[tuple[UUID, int, int]], set[tuple[UUID, str]]]:
    """Where what was kept waits for no delay: queues as (environment, route, rank), for relays to look there, and lines
    of concurrency keys as (environment, key), to be moved."""
    places: list[tuple[UUID, int, int]] = []
    lines: set[tuple[UUID, str]] = set()
    for one, answer in kept:
        if answer.replayed or answer.conflict or one.delay_seconds:
            continue
        if one.concurrency_key is not None:
            lines.add((one.environment_id, one.concurrency_key))
        else:
            places.append((one.environment_id, one.route, one.rank))
    return places, lines


def payload_place(job_id: UUID) -> str:
    """Where a job's payload lies, as its associated data."""
    return f"job:{job_id}:payload"


def payload_key(job_id: UUID, size_bytes: int) -> str:
    """The object of a payload that is too large for its row; usage is metered by the size, which is that in plain."""
    return f"jobs/{job_id}/payload.{size_bytes}"
