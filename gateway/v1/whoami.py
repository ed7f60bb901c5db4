"""Who a credential speaks for, what it may do in a place, and why."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from gateway.endpoint import Call, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer
from gateway.place import Path, Place
from storage.postgres.access.membership import Named, names_of
from storage.postgres.person.person import read_person
from waypost import errors
from waypost.access.explanation import Explained, Names, explain, standing
from waypost.access.model import Grant, Principal, PrincipalKind


class NamedView(Struct, frozen=True):
    id: UUID
    slug: str
    name: str


class RoleView(Struct, frozen=True):
    """A role and where it counts: in the smallest of the three that is named."""

    role: str
    organization: NamedView
    project: NamedView | None
    environment: NamedView | None


class PlaceView(Struct, frozen=True):
    """A place, and in `because` which role counts there and why that one."""

    organization_id: UUID
    project_id: UUID | None
    environment_id: UUID | None
    because: str


class WhoAmIView(Struct, frozen=True, kw_only=True):
    """`kind` is organization_key, environment_key or person; `place` and `permissions` are of the place asked about."""

    kind: str
    id: UUID
    name: str
    actor: str
    email: str | UnsetType = UNSET  # of a person
    public_id: str  # of the key, or of the session
    session_id: UUID | UnsetType = UNSET  # of a person
    expires_at: datetime | None
    roles: list[RoleView]
    place: PlaceView | None
    permissions: list[Explained]


@endpoint(
    "GET",
    "/v1/whoami",
    summary="Who this credential speaks for, and what it may do and why",
    personal="it says nothing but who asks",
    query=(
        Parameter("org", "Say what may be done in this organization (id or slug)."),
        Parameter("project", "… in this project of it."),
        Parameter("environment", "… in this environment of that."),
    ),
    answer=WhoAmIView,
    also={404: "There is no such place, or this credential may not see it."},
)
async def whoami(call: Call) -> Answer:
    """Without `org`, a credential with a single role is told of the place where it has that."""
    principal = call.principal
    asked = _asked(call)
    async with call.services.database.unit() as connection:
        names = await names_of(connection, principal.grants)
        person = await read_person(connection, principal.id) if principal.kind is PrincipalKind.PERSON else None
    path = asked or _only(principal, names)
    place = None if path is None else await call.services.places.find(path, principal)
    view = WhoAmIView(
        kind=principal.kind.value,
        id=principal.id,
        name=principal.name,
        actor=principal.actor,
        email=UNSET if person is None else person.email,
        public_id=principal.public_id,
        session_id=principal.session_id or UNSET,
        expires_at=principal.expires_at,
        roles=[_role(grant, names) for grant in principal.grants if grant.place in names],
        place=None if place is None else _place(principal, place),
        permissions=[] if place is None else explain(principal, place.scope, _called(place)),
    )
    return ok(view)


def _asked(call: Call) -> Path | None:
    """The place that the query names; raises 422 for a part without what it is part of."""
    org, project, environment = (call.query.get(name, [""])[-1] or None for name in ("org", "project", "environment"))
    if (project and not org) or (environment and not project):
        raise errors.invalid("invalid_parameter", "project needs org, and environment needs project.", "/org")
    return (org, project, environment) if org else None


def _only(principal: Principal, names: Mapping[UUID, Named]) -> Path | None:
    """The path by ids of the one place in which the caller has a role."""
    if len(principal.grants) != 1 or principal.grants[0].place not in names:
        return None
    above = [principal.grants[0].place]
    while (parent := names[above[0]].parent) is not None:
        above.insert(0, parent)
    organization, project, environment, *_ = (*map(str, above), None, None)
    return str(organization), project, environment


def _called(place: Place) -> Names:
    project, environment = place.project, place.environment
    return Names(place.organization.slug, project.slug if project else None, environment.slug if environment else None)


def _place(principal: Principal, place: Place) -> PlaceView:
    scope = place.scope
    because = standing(principal, scope, _called(place))
    return PlaceView(scope.organization_id, scope.project_id, scope.environment_id, because)


def _role(grant: Grant, names: Mapping[UUID, Named]) -> RoleView:
    project = grant.project_id or (names[grant.environment_id].parent if grant.environment_id else None)
    parts = (grant.organization_id, project, grant.environment_id)
    organization, *below = (None if i is None else NamedView(i, names[i].slug, names[i].name) for i in parts)
    return RoleView(grant.role.value, organization, *below)  # type: ignore[arg-type]  # the first is always there


ENDPOINTS: list[Endpoint] = [whoami]
