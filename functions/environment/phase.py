"""A phase of an environment's life as steps: in order, one run at a time, each recorded with what it did.

A step that makes or drops something in PostgreSQL is `done` in the same transaction. Killed anywhere and run again, a
phase ends in the same place. Refuses: a step of a phase that the environment has left meanwhile (it was overtaken by
another request, or is gone).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

import msgspec

from functions.environment.reserve import SigningKeys
from jobs.platform import Later, describe
from jobs.wake import ACCESS_CHANNEL, EnvironmentChanged, EnvironmentClosed, encode, environment_channel
from storage.objects.admin import ObjectAdmin
from storage.postgres.database import Connection, Database
from storage.postgres.environment import provision as schema
from storage.postgres.tenancy import environment as environments
from storage.secrets import EnvironmentKeys
from storage.valkey.client import Valkey
from waypost.tenancy.model import Environment, Phase, Status, StepState

GRACE_SECONDS = 60.0  # of running jobs when their environment is deleted (decision 21)


class EnvironmentPorts(msgspec.Struct, frozen=True):
    """What a phase works with: the worker's database and the provisioner's, keys, S3's administrator, Valkey.

    `grace_seconds` is how long running jobs of an environment that is deleted may go on.
    """

    database: Database
    provisioner: Database
    keys: EnvironmentKeys
    objects: ObjectAdmin
    valkey: Valkey
    grace_seconds: float = GRACE_SECONDS
    signing_keys: SigningKeys = SigningKeys()


# A step gets the connection of the provisioner on which the environment's lock is held. True: there is more of it to
# do, in another transaction. `Later`: what it waits for has not happened.
Step = Callable[[Environment, Connection, EnvironmentPorts], Awaitable[bool | None]]


class PhasePlan(msgspec.Struct, frozen=True):
    """The steps of a phase by name, in order, and the states in which they are done."""

    phase: Phase
    statuses: Collection[Status]
    steps: Mapping[str, Step]


async def run_phase(plan: PhasePlan, environment_id: UUID, ports: EnvironmentPorts) -> None:
    """Do what is left of the phase. An environment that is not in it is left alone.

    Raises whatever a step raises, after recording it: run it again later.
    """
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, environment_id)
        standing = await environments.read_standing(connection, environment_id)
        steps = await environments.read_steps(connection, environment_id)
    if environment is None or not _stands(plan, standing):
        return
    left = [step.name for step in steps if step.state is not StepState.DONE]
    if not left:
        return
    await _mark(ports, plan, environment_id, left[0], StepState.RUNNING)
    for name, following in zip(left, [*left[1:], None], strict=True):
        if not await _run(plan, name, following, environment, ports):
            return


def _stands(plan: PhasePlan, standing: tuple[Status, Phase] | None) -> bool:
    return standing is not None and standing[1] is plan.phase and standing[0] in plan.statuses


async def _run(
    plan: PhasePlan, name: str, following: str | None, environment: Environment, ports: EnvironmentPorts
) -> bool:
    """Do one step, and mark it and the following one in the transaction that did it: a commit a step. False when the
    environment has left the phase."""
    more: bool | None = True
    try:
        while more:
            async with ports.provisioner.unit() as connection:
                await schema.lock(connection, environment.id)
                if not _stands(plan, await environments.read_standing(connection, environment.id)):
                    return False
                more = await plan.steps[name](environment, connection, ports)
                if not more:
                    await environments.mark_step(connection, environment.id, name, StepState.DONE, phase=plan.phase)
                    if following is not None:
                        await environments.mark_step(
                            connection, environment.id, following, StepState.RUNNING, phase=plan.phase
                        )
    except Later:
        raise
    except Exception as error:
        await _mark(ports, plan, environment.id, name, StepState.FAILED, describe(error))
        raise
    return True


async def _mark(
    ports: EnvironmentPorts,
    plan: PhasePlan,
    environment_id: UUID,
    name: str,
    state: StepState,
    error: str | None = None,
) -> None:
    async with ports.database.unit() as connection:
        await environments.mark_step(connection, environment_id, name, state, error, plan.phase)


def tell_changed(ports: EnvironmentPorts, environment_id: UUID) -> None:
    """Gateways and relays look at the environment again."""
    ports.valkey.publish(ACCESS_CHANNEL, encode(EnvironmentChanged(environment_id)))
    ports.valkey.publish(environment_channel(environment_id), encode(EnvironmentClosed()))
