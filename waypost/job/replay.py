"""Running ended jobs again: what one replay is made of, and bulk replays (native contract §3.2).

A bulk replay is a list of ended jobs, fixed when it was asked for, of which each becomes one new job or is skipped for
a reason. Pure.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from waypost.errors import WaypostError, conflict, invalid
from waypost.ids import parse_id
from waypost.job.decision import is_end
from waypost.job.model import End, JobSpec, JobState
from waypost.job.record import JobFilter, JobRecord
from waypost.job.specification import Overrides, parse_policy, replayed

REPLAY = "job.replay"  # kind of the platform job
MAX_REPLAY = 10_000  # jobs of one bulk replay
MAX_SKIPS = 100  # that are told one by one
MAX_VALUES = 50  # of one filter
ENDS = tuple(end.state for end in End)


class ReplayState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"  # every job is decided
    CANCELED = "canceled"
    FAILED = "failed"  # given up; `error` says why


class Skip(msgspec.Struct, frozen=True):
    """A job that could not be replayed."""

    job_id: UUID
    code: str
    message: str


class BulkReplay(msgspec.Struct, frozen=True, kw_only=True):
    """One bulk replay. `overrides` is sealed under `replay:<id>:overrides`, None when there are none."""

    id: UUID
    environment_id: UUID
    state: ReplayState
    matched: int
    position: int
    replayed: int
    skipped: int
    skips: list[Skip]
    selection: msgspec.Raw
    overrides: bytes | None
    error: str | None
    created_by: str
    traceparent: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def overrides_place(replay_id: UUID) -> str:
    """Where the overrides of a bulk replay lie, as their associated data."""
    return f"replay:{replay_id}:overrides"


def respecified(record: JobRecord, payload: bytes, overrides: Overrides) -> JobSpec:
    """What the replay of an ended job asks for; `payload` is in plain. Raises 409 `job_not_ended`, `payload_erased`."""
    if not is_end(record.state):
        raise not_ended(record.state)
    if record.has_payload and not payload and "payload" not in overrides.given:
        raise conflict(
            "payload_erased",
            "This job's payload was erased when its time was over. To run it again, give a payload in the overrides.",
        )
    before = JobSpec(
        function=record.function,
        payload=payload,
        selectors=record.selectors,
        priority=record.priority,
        policy=parse_policy(record.policy),
        labels=record.labels,
    )
    return replayed(before, overrides)


def not_ended(state: JobState) -> WaypostError:
    return conflict("job_not_ended", "Only a job that has ended can be replayed; this one has not.", state=state.value)


def ended_filter(
    *,
    states: list[str],
    functions: list[str],
    labels: list[str],
    triggers: list[str],
    created_after: datetime | None,
    created_before: datetime | None,
) -> JobFilter:
    """Which ended jobs are meant: values of one field are alternatives. Raises 422 at the field."""
    for name, values in (("state", states), ("function", functions), ("label", labels), ("trigger_id", triggers)):
        if len(values) > MAX_VALUES:
            raise invalid("too_many_values", f"At most {MAX_VALUES} values of {name}.", f"/{name}")
    if not states:
        raise invalid("required_field", "Name the states of the jobs to replay, or their ids.", "/state")
    words = ", ".join(ENDS)
    if wrong := sorted(set(states) - set(ENDS)):
        raise invalid("invalid_state", f"Only ended jobs are replayed; {wrong[0][:50]!r} is none of {words}.", "/state")
    pairs: dict[str, tuple[str, ...]] = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals:
            raise invalid("invalid_label", "A label is given as KEY=VALUE.", "/label")
        pairs[key] = (*pairs.get(key, ()), value)
    ids = [parse_id(text) for text in triggers]
    if None in ids:
        raise invalid("invalid_id", "A trigger_id is a UUID.", "/trigger_id")
    for name, instant in (("created_after", created_after), ("created_before", created_before)):
        if instant is not None and instant.tzinfo is None:
            raise invalid("invalid_instant", f"{name} needs an offset such as Z.", f"/{name}")
    return JobFilter(
        states=tuple(sorted(map(JobState, set(states)))),
        functions=tuple(sorted(set(functions))),
        labels={key: tuple(sorted(set(values))) for key, values in sorted(pairs.items())},
        trigger_ids=tuple(one for one in ids if one is not None),
        created_after=created_after,
        created_before=created_before,
    )
