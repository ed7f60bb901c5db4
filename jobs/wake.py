"""The messages that processes send each other over Valkey: what they are called, and their bytes.

Every one of them can be lost; each has another way to be found out (a slow poll, a cache that ages). So a message that
cannot be read is ignored, not an error. JSON arrays whose first member is the kind.
"""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from waypost.job.model import JobState

ACCESS_CHANNEL = "wp:access"
_encode = msgspec.json.Encoder().encode


def environment_channel(environment_id: UUID) -> str:
    """Where relays hear of work and orders for an environment."""
    return f"wp:env:{environment_id.hex}"


def jobs_channel(environment_id: UUID) -> str:
    """Where event streams hear of an environment's jobs."""
    return f"wp:jobs:{environment_id.hex}"


# --- environment channel ----------------------------------------------------------------------------------------------


class Wake(msgspec.Struct, frozen=True, array_like=True, tag="wake"):
    """Work came into these (route, rank) queues."""

    routes: tuple[tuple[int, int], ...]


class Rewind(msgspec.Struct, frozen=True, array_like=True, tag="rewind"):
    """Work came into these queues with old keys (a delay is over, a permit came free): it may stand before what was
    claimed last, so look from the beginning of the queue, not from its low mark."""

    routes: tuple[tuple[int, int], ...]


class CancelJob(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Somebody wants this running job canceled; the row in `cancel_request` says so too."""

    job_id: UUID


class DrainNode(msgspec.Struct, frozen=True, array_like=True, tag="drain"):
    node_id: UUID


class RevokeCredential(msgspec.Struct, frozen=True, array_like=True, tag="revoke"):
    """The streams of this node credential are to be cut."""

    credential_id: UUID


class FunctionChanged(msgspec.Struct, frozen=True, array_like=True, tag="function"):
    """The function was paused or resumed: read `function_pause` again."""

    name: str


class EnvironmentClosed(msgspec.Struct, frozen=True, array_like=True, tag="closed"):
    """The environment was suspended, resumed, is being deleted or is gone: look at its status."""


EnvironmentMessage = Wake | Rewind | CancelJob | DrainNode | RevokeCredential | FunctionChanged | EnvironmentClosed


# --- jobs channel -----------------------------------------------------------------------------------------------------


class States(msgspec.Struct, frozen=True, array_like=True, tag="state"):
    """Jobs that reached a state: (job, state, number of the attempt)."""

    changes: tuple[tuple[UUID, JobState, int], ...]


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    job_id: UUID
    fraction: float
    message: str


class LogLine(msgspec.Struct, frozen=True, array_like=True, tag="log"):
    """One line of an attempt's log; `at_ms` is the node's clock."""

    job_id: UUID
    number: int
    at_ms: int
    level: str
    message: str


JobMessage = States | Progress | LogLine


# --- access channel ---------------------------------------------------------------------------------------------------


class KeyChanged(msgspec.Struct, frozen=True, array_like=True, tag="key"):
    public_id: str


class CredentialChanged(msgspec.Struct, frozen=True, array_like=True, tag="credential"):
    credential_id: UUID


class EnvironmentChanged(msgspec.Struct, frozen=True, array_like=True, tag="environment"):
    environment_id: UUID


class PersonChanged(msgspec.Struct, frozen=True, array_like=True, tag="person"):
    """A person's roles, sessions or standing changed."""

    person_id: UUID


class TriggerChanged(msgspec.Struct, frozen=True, array_like=True, tag="trigger"):
    """A trigger was made, changed, paused, resumed or deleted, or has another secret."""

    trigger_id: UUID


AccessMessage = KeyChanged | CredentialChanged | EnvironmentChanged | PersonChanged | TriggerChanged

Message = EnvironmentMessage | JobMessage | AccessMessage

_environment: msgspec.json.Decoder[EnvironmentMessage] = msgspec.json.Decoder(EnvironmentMessage)
_job: msgspec.json.Decoder[JobMessage] = msgspec.json.Decoder(JobMessage)
_access: msgspec.json.Decoder[AccessMessage] = msgspec.json.Decoder(AccessMessage)


def encode(message: Message) -> bytes:
    """The bytes to publish."""
    return _encode(message)


def decode_environment(payload: bytes) -> EnvironmentMessage | None:
    """The message of an environment channel, None when it is none (of a later version, say)."""
    try:
        return _environment.decode(payload)
    except msgspec.MsgspecError:
        return None


def decode_job(payload: bytes) -> JobMessage | None:
    """The message of a jobs channel, None when it is none."""
    try:
        return _job.decode(payload)
    except msgspec.MsgspecError:
        return None


def decode_access(payload: bytes) -> AccessMessage | None:
    """The message of the access channel, None when it is none."""
    try:
        return _access.decode(payload)
    except msgspec.MsgspecError:
        return None


def wakes(places: Iterable[tuple[UUID, int, int]], *, rewind: bool = False) -> list[tuple[str, bytes]]:
    """(environment, route, rank) of work that came in → one publication an environment, each queue named once.

    `rewind`: the work may stand before what was claimed last, see `Rewind`.
    """
    kind = Rewind if rewind else Wake
    queues: dict[UUID, set[tuple[int, int]]] = {}
    for environment_id, route, rank in places:
        queues.setdefault(environment_id, set()).add((route, rank))
    return [(environment_channel(e), encode(kind(tuple(sorted(routes))))) for e, routes in queues.items()]


def states(changes: Iterable[tuple[UUID, UUID, JobState, int]]) -> list[tuple[str, bytes]]:
    """(environment, job, state, number) → one publication an environment, in order."""
    jobs: dict[UUID, list[tuple[UUID, JobState, int]]] = {}
    for environment_id, job_id, state, number in changes:
        jobs.setdefault(environment_id, []).append((job_id, state, number))
    return [(jobs_channel(e), encode(States(tuple(found)))) for e, found in jobs.items()]
