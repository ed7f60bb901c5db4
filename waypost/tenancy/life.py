"""Suspending, resuming and deleting an environment: what happens at once, in the transaction of the request.

The status changes here, an audit entry is written here (a deletion's second one, at its end, says what went), and a
platform job is queued that does the rest (decision 21). Refuses: to touch anything but rows; whoever commits sends the
hint for the job, else the sweeper does.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from waypost import errors, ids
from waypost.tenancy.entry import about
from waypost.tenancy.model import DELETE_STEPS, RESUME_STEPS, SUSPEND_STEPS, Environment, Phase, Status
from waypost.tenancy.port import TenancyUnit

DELETABLE = (Status.PROVISIONING, Status.READY, Status.FAILED, Status.SUSPENDED)


class _Change(msgspec.Struct, frozen=True):
    phase: Phase
    to: Status
    among: tuple[Status, ...]
    steps: Sequence[str]


_SUSPEND = _Change(Phase.SUSPEND, Status.SUSPENDED, (Status.READY,), SUSPEND_STEPS)
_RESUME = _Change(Phase.RESUME, Status.READY, (Status.SUSPENDED,), RESUME_STEPS)
_DELETE = _Change(Phase.DELETE, Status.DELETING, DELETABLE, DELETE_STEPS)


async def suspend_environment(
    unit: TenancyUnit,
    environment: Environment,
    *,
    actor: str,
    request_id: str | None = None,
) -> UUID:
    """From `ready` to `suspended`: it takes no jobs and starts none; what runs may finish. Answers the platform job.

    Raises 409 `wrong_state` with the status that it is in, 404 when it is gone.
    """
    return await _change(unit, environment, _SUSPEND, actor, request_id)


async def resume_environment(
    unit: TenancyUnit,
    environment: Environment,
    *,
    actor: str,
    request_id: str | None = None,
) -> UUID:
    """From `suspended` to `ready`: jobs are taken and started again. Answers the platform job.

    Raises 409 `wrong_state` with the status that it is in, 404 when it is gone.
    """
    return await _change(unit, environment, _RESUME, actor, request_id)


async def delete_environment(
    unit: TenancyUnit,
    environment: Environment,
    *,
    actor: str,
    request_id: str | None = None,
) -> UUID:
    """To `deleting`, from whatever state it is in: it takes no jobs from now on, and at the end nothing of it is left.

    Answers the platform job; that of the deletion under way when there is one. Raises 404 when it is gone.
    """
    if await unit.begin_phase(environment.id, _DELETE.phase, _DELETE.to, among=_DELETE.among, steps=_DELETE.steps):
        await unit.add_removal(environment.id, actor, request_id)
        await unit.add_audit(about(environment, _DELETE.phase.kind, actor, request_id, {"stage": "requested"}))
        return await _queue(unit, environment, _DELETE)
    if await unit.status_of(environment.id) is not Status.DELETING:
        raise errors.not_found("environment")
    under_way = await unit.open_platform_job(_DELETE.phase.kind, environment.id)
    return under_way or await _queue(unit, environment, _DELETE)


async def _change(
    unit: TenancyUnit,
    environment: Environment,
    change: _Change,
    actor: str,
    request_id: str | None,
) -> UUID:
    if not await unit.begin_phase(environment.id, change.phase, change.to, among=change.among, steps=change.steps):
        raise _wrong_state(change, await unit.status_of(environment.id))
    await unit.add_audit(about(environment, change.phase.kind, actor, request_id))
    return await _queue(unit, environment, change)


async def _queue(unit: TenancyUnit, environment: Environment, change: _Change) -> UUID:
    """A deletion has the environment as its subject, so that at most one is open; each suspend and resume stands for
    itself, and one that was overtaken does nothing."""
    job_id = ids.new_id()
    subject = environment.id if change is _DELETE else job_id
    await unit.add_platform_job(job_id, change.phase.kind, environment.id, subject)
    return job_id


def _wrong_state(change: _Change, status: Status | None) -> errors.WaypostError:
    if status is None:
        return errors.not_found("environment")
    return errors.conflict(
        "wrong_state",
        f"The environment is {status}; only one that is {change.among[0]} can be {change.phase}"
        f"{'ed' if change.phase is Phase.SUSPEND else 'd'}.",
        environment_status=status.value,
    )
