"""`environment.resume`: the environment's own login opens again. Its status changed with the request.

Refuses: an environment that was suspended again or deleted meanwhile.
"""

from functions.environment.phase import EnvironmentPorts, PhasePlan, Step, run_phase, tell_changed
from storage.postgres.database import Connection
from storage.postgres.environment import login
from storage.postgres.platform.job import PlatformJob
from storage.postgres.trigger.schedule import look_again
from waypost.tenancy.model import RESUME_STEPS, Environment, Phase, Status


async def resume(job: PlatformJob, ports: EnvironmentPorts) -> None:
    """Do what is left of resuming `job.environment_id`. Raises whatever a step raises: run it again later."""
    if job.environment_id is not None:
        tell_changed(ports, job.environment_id)  # also when the gateway died after its commit
        await run_phase(PLAN, job.environment_id, ports)
        async with ports.database.unit() as connection:
            await look_again(connection, job.environment_id)


async def _login(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await login.set_login(connection, environment.id, open_=True)


STEPS: dict[str, Step] = {"login": _login}
if tuple(STEPS) != RESUME_STEPS:
    raise RuntimeError("the steps that exist are not those that environments are resumed with")
PLAN = PhasePlan(Phase.RESUME, (Status.READY,), STEPS)
