"""Environments: creation, reading, life (native contract §2)."""

from typing import Literal

import msgspec

from gateway.audit import tenancy
from gateway.endpoint import PAGE, PROJECT, Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.form import given, location
from gateway.v1.view import EnvironmentView, environment_view, page_view
from jobs.platform import nudge
from storage.postgres.database import Connection
from storage.postgres.retention.turn import sweep_soon
from storage.postgres.tenancy.environment import list_environments, read_environment, read_steps
from storage.postgres.tenancy.organization import read_limits
from waypost import errors
from waypost.access.model import Permission
from waypost.tenancy import change, operation
from waypost.tenancy.model import Environment, EnvironmentStep, Posture


class NewEnvironment(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    slug: str | None = None
    posture: Literal["dev", "staging", "prod"] = "dev"
    backend: str = "postgres"


class EnvironmentChange(msgspec.Struct, forbid_unknown_fields=True):
    """Whatever is left out stays. Of `limits` and `retention` (days) only those named change; null takes one back to
    what the organization's environments may have, and to the operator's days, which no value can exceed."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    slug: str | msgspec.UnsetType = msgspec.UNSET
    posture: Literal["dev", "staging", "prod"] | msgspec.UnsetType = msgspec.UNSET
    limits: dict[str, int | None] | msgspec.UnsetType = msgspec.UNSET
    retention: dict[str, int | None] | msgspec.UnsetType = msgspec.UNSET


class EnvironmentPage(msgspec.Struct):
    items: list[EnvironmentView]
    next_cursor: str | None


@endpoint(
    "POST",
    PROJECT + "/environments",
    summary="Create an environment; it becomes ready by a platform job",
    permission=Permission.MANAGE_PROJECT,
    body=NewEnvironment,
    answer=EnvironmentView,
    status=202,
    idempotent=True,
    example={"name": "Development", "slug": "dev", "posture": "dev"},
)
async def create_environment(call: Call) -> Answer:
    new, project = await call.read(NewEnvironment), call.project

    async def work(connection: Connection) -> Answer:
        made, _ = await operation.create_environment(
            tenancy(connection, call),
            call.services.kek,
            project,
            actor=call.principal.actor,
            name=new.name,
            slug=new.slug,
            posture=Posture(new.posture),
            backend=new.backend,
            request_id=call.exchange.request_id,
            default_limits=call.services.default_limits,
        )
        headers = [
            location(project.organization_id, "projects", project.id, "environments", made.id),
            (b"etag", etag(made.row_version)),
        ]
        view = _view(call, made, await read_steps(connection, made.id))
        return ok(view, 202, headers)

    answer = await once(call, project.organization_id, f"environments.create:{project.id}", work)
    nudge(call.services.valkey)
    call.services.tenancy_changed(project.id)
    return answer


@endpoint(
    "GET",
    PROJECT + "/environments",
    summary="The project's environments, newest first",
    permission=Permission.VIEW_PROJECT,
    query=PAGE,
    answer=EnvironmentPage,
)
async def read_environments(call: Call) -> Answer:
    page = page_of(call.query, "environments", call.project.id)
    async with call.services.database.unit() as connection:
        found = await list_environments(connection, call.project.id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda environment: environment.id)
    return ok(page_view([_view(call, environment) for environment in shown], cursor))


def _view(call: Call, environment: Environment, steps: list[EnvironmentStep] | None = None) -> EnvironmentView:
    limits = call.services.limits_of(call.place.organization, environment)
    return environment_view(environment, limits, call.services.retention_of(environment), steps)


@endpoint(
    "GET",
    E,
    summary="One environment, with the steps of its provisioning and its limits",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=EnvironmentView,
)
async def read_one_environment(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        environment = await read_environment(connection, call.environment.id)  # not the cached one: steps move fast
        if environment is None:
            raise errors.not_found("environment")
        steps = await read_steps(connection, environment.id)
    if environment != call.environment:
        call.services.places.forget(environment.id)
    view = _view(call, environment, steps)
    return ok(view, headers=tagged(etag(environment.row_version)))


@endpoint(
    "PATCH",
    E,
    summary="Change an environment's name, slug, posture, limits or retention",
    permission=Permission.MANAGE_ENVIRONMENT,
    body=EnvironmentChange,
    answer=EnvironmentView,
    matched=True,
    example={"posture": "staging", "limits": {"waiting_jobs": 100_000}, "retention": {"payload_days": 3}},
)
async def patch_environment(call: Call) -> Answer:
    asked = await call.read(EnvironmentChange)
    async with call.services.database.unit() as connection:
        unit = tenancy(connection, call)
        environment = await unit.lock_environment(call.environment.id)
        if environment is None:
            raise errors.not_found("environment")
        check_match(call.exchange, etag(environment.row_version))
        (organization_limits,) = await read_limits(connection, [environment.organization_id])
        changed = await change.change_environment(
            unit,
            environment,
            actor=call.principal.actor,
            default_limits=call.services.default_limits,
            organization_limits=organization_limits,
            name=given(asked.name),
            slug=given(asked.slug),
            posture=None if asked.posture is msgspec.UNSET else Posture(asked.posture),
            limits=given(asked.limits),
            retention=given(asked.retention),
            operator_days=call.services.operator_days,
            request_id=call.exchange.request_id,
        )
        if changed.retention != environment.retention:
            await sweep_soon(connection, changed.id)
        steps = await read_steps(connection, changed.id)
    call.services.tenancy_changed(changed.id)
    if changed.retention != environment.retention:
        nudge(call.services.valkey)
    view = _view(call, changed, steps)
    return ok(view, headers=tagged(etag(changed.row_version)))


ENDPOINTS: list[Endpoint] = [patch_environment, create_environment, read_environments, read_one_environment]
