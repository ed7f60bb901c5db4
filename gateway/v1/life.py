"""Suspending, resuming and deleting an environment: the status changes at once, a platform job does the rest."""

from collections.abc import Awaitable, Callable

from gateway.audit import tenancy
from gateway.endpoint import Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.precondition import check_match, etag
from gateway.v1.view import EnvironmentView, environment_view
from jobs.platform import nudge
from jobs.wake import EnvironmentChanged, EnvironmentClosed
from storage.postgres.database import Connection
from storage.postgres.tenancy.environment import lock_environment, read_environment, read_steps
from waypost import errors
from waypost.access.model import Permission
from waypost.tenancy import life

Change = Callable[..., Awaitable[object]]  # one of `life`, of the locked environment


async def _change(call: Call, scope: str, change: Change) -> Answer:
    """Make the change of what its sender has seen (If-Match), answer the environment as it is then, tell everybody."""
    services, environment_id = call.services, call.environment.id

    async def work(connection: Connection) -> Answer:
        environment = await lock_environment(connection, environment_id)
        if environment is None:
            raise errors.not_found("environment")
        check_match(call.exchange, etag(environment.row_version))
        await change(
            tenancy(connection, call), environment, actor=call.principal.actor, request_id=call.exchange.request_id
        )
        changed = await read_environment(connection, environment_id) or environment
        limits = services.limits_of(call.place.organization, changed)
        steps = await read_steps(connection, environment_id)
        view = environment_view(changed, limits, services.retention_of(changed), steps)
        return ok(view, 202, [(b"etag", etag(changed.row_version))])

    answer = await once(call, environment_id, scope, work)
    services.tell_access(EnvironmentChanged(environment_id))
    services.tell_environment(environment_id, EnvironmentClosed())
    nudge(services.valkey)
    return answer


@endpoint(
    "POST",
    E + "/suspend",
    summary="Take no jobs and start none until it is resumed; what runs may finish",
    permission=Permission.MANAGE_ENVIRONMENT,
    answer=EnvironmentView,
    status=202,
    idempotent=True,
    matched=True,
)
async def suspend_environment(call: Call) -> Answer:
    """Jobs that wait stay, nodes stay connected, the environment's own database login is closed."""
    return await _change(call, "environment.suspend", life.suspend_environment)


@endpoint(
    "POST",
    E + "/resume",
    summary="Take and start jobs again",
    permission=Permission.MANAGE_ENVIRONMENT,
    answer=EnvironmentView,
    status=202,
    idempotent=True,
    matched=True,
)
async def resume_environment(call: Call) -> Answer:
    """The environment's own database login opens again a moment later: see its steps."""
    return await _change(call, "environment.resume", life.resume_environment)


@endpoint(
    "DELETE",
    E,
    summary="Delete the environment and everything in it",
    permission=Permission.MANAGE_ENVIRONMENT,
    answer=EnvironmentView,
    status=202,
    matched=True,
)
async def delete_environment(call: Call) -> Answer:
    """It takes no jobs from now on; jobs that wait are canceled, jobs that run have a minute. `GET` shows the steps,
    and answers 404 when it is gone. One that is being deleted already is answered as it is."""
    return await _change(call, "environment.delete", life.delete_environment)


ENDPOINTS: list[Endpoint] = [suspend_environment, resume_environment, delete_environment]
