"""`environment.suspend`: the environment's own login is closed and its sessions end. Its status changed before.

Nodes stay connected and get no work; what they run may finish. Jobs that wait go on waiting. Refuses: an environment
that was resumed or deleted meanwhile.
"""

from functions.environment.phase import EnvironmentPorts, PhasePlan, Step, run_phase, tell_changed
from storage.postgres.database import Connection
from storage.postgres.environment import login
from storage.postgres.platform.job import PlatformJob
from waypost.tenancy.model import SUSPEND_STEPS, Environment, Phase, Status


async def suspend(job: PlatformJob, ports: EnvironmentPorts) -> None:
    """Do what is left of suspending `job.environment_id`. Raises whatever a step raises: run it again later."""
    if job.environment_id is not None:
        tell_changed(ports, job.environment_id)  # also when the gateway died after its commit
        await run_phase(PLAN, job.environment_id, ports)


async def _login(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await login.set_login(connection, environment.id, open_=False)


async def _sessions(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await login.end_sessions(connection, environment.id)


STEPS: dict[str, Step] = {"login": _login, "sessions": _sessions}
if tuple(STEPS) != SUSPEND_STEPS:
    raise RuntimeError("the steps that exist are not those that environments are suspended with")
PLAN = PhasePlan(Phase.SUSPEND, (Status.SUSPENDED,), STEPS)
