"""What an endpoint declares, and how declarations become Litestar routes.

Every endpoint names the permission that it needs, or says why anybody may ask; a route without either stops the start.
The same declarations make the OpenAPI document. Handlers are plain functions of a `Call`.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from gateway.exchange import MAX_BODY_BYTES, Answer, Exchange, exchange_of
from gateway.place import Place
from waypost import document, errors
from waypost.access.decision import organization_where, require
from waypost.access.model import Permission, Principal
from waypost.ids import parse_id
from waypost.job.decision import not_taking
from waypost.tenancy.model import Environment, Project, Status

if TYPE_CHECKING:
    from gateway.services import Services

ORG = "/v1/orgs/{org}"
PROJECT = ORG + "/projects/{project}"
E = PROJECT + "/environments/{environment}"

T = TypeVar("T")
_PARAMETER = re.compile(r"\{(\w+)\}")


class Call:
    """One request to one endpoint, after authentication and permission. `place` is as deep as the path."""

    def __init__(
        self,
        services: "Services",
        exchange: Exchange,
        parameters: Mapping[str, str],
        principal: Principal | None = None,
        place: Place | None = None,
        query: dict[str, list[str]] | None = None,
    ) -> None:
        self.services = services
        self.exchange = exchange
        self.parameters = parameters
        self._principal = principal
        self._place = place
        self.query: dict[str, list[str]] = query or {}

    @property
    def principal(self) -> Principal:
        if self._principal is None:
            raise RuntimeError("a public endpoint has no principal")
        return self._principal

    @property
    def place(self) -> Place:
        if self._place is None:
            raise RuntimeError("this endpoint's path names no place")
        return self._place

    @property
    def project(self) -> Project:
        if self.place.project is None:
            raise RuntimeError("this endpoint's path names no project")
        return self.place.project

    @property
    def environment(self) -> Environment:
        if self.place.environment is None:
            raise RuntimeError("this endpoint's path names no environment")
        return self.place.environment

    def may(self, permission: Permission) -> bool:
        """Whether the caller has a further permission here."""
        try:
            require(self.principal, permission, self.place.scope)
        except errors.WaypostError:
            return False
        return True

    def identifier(self, name: str, what: str) -> UUID:
        """A path parameter that must be an id; 404 when it is none, as for an id that nothing has."""
        found = parse_id(self.parameters[name])
        if found is None:
            raise errors.not_found(what)
        return found

    async def read(self, kind: type[T]) -> T:
        """The body as a msgspec type, strictly; an empty body reads as `{}`."""
        body = await self.exchange.body()
        return document.read(body if body.strip() else b"{}", kind)


Run = Callable[[Call], Awaitable[ASGIApp]]


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter. A name that ends in `.` is a family: `label.` takes `label.KEY=VALUE`."""

    name: str
    meaning: str
    kind: Any = str
    repeatable: bool = False


PAGE = (
    Parameter("limit", "How many items, 1 to 200 (default 50).", int),
    Parameter("cursor", "`next_cursor` of the page before."),
)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. It needs `permission`; or `personal` says why any valid credential is enough, and
    `public` why none is needed."""

    method: str
    path: str
    run: Run
    summary: str
    permission: Permission | None = None
    personal: str = ""
    public: str = ""
    body: Any = None
    answer: Any = None
    status: int = 200
    also: Mapping[int, str] = {}  # further answers
    also_answer: Any = None  # what those are, if not `answer`
    query: tuple[Parameter, ...] = ()
    any_query: bool = False  # the query is its sender's own: it is not looked at here
    idempotent: bool = False  # takes Idempotency-Key
    matched: bool = False  # takes If-Match
    example: Any = None  # of the body
    kind: str = "application/json"
    body_kind: str = "application/json"
    body_limit: int = MAX_BODY_BYTES  # larger ones are streamed by the endpoint itself
    nodes: bool = False  # also for a node of the environment, with its token
    head: bool = False  # a GET that answers HEAD too

    @property
    def guarded(self) -> bool:
        """Whether it declares exactly one of what it needs and why it needs nothing."""
        return sum(map(bool, (self.permission, self.personal, self.public))) == 1

    @property
    def pattern(self) -> re.Pattern[str]:
        """What matches its paths."""
        return re.compile(_PARAMETER.sub("[^/]+", self.path))

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)

    @property
    def name(self) -> str:
        """A stable name for metrics and OpenAPI, of method and path."""
        words = [word.strip("{}") for word in self.path.replace(E, "/environment").split("/") if word]
        return "_".join([self.method.lower(), *words]).replace("-", "_").replace(".", "_")


def endpoint(method: str, path: str, **declared: Any) -> Callable[[Run], Endpoint]:
    """Declare the decorated function as the endpoint of `method` and `path`."""
    return lambda run: Endpoint(method=method, path=path, run=run, **declared)


async def admit(services: "Services", declared: Endpoint, exchange: Exchange, parameters: Mapping[str, str]) -> Call:
    """Authenticate, limit, find the place, ask for the permission, check the query; raises what the caller may see."""
    query = {} if declared.any_query else read_query(exchange.query, declared.query)
    if declared.public:
        return Call(services, exchange, parameters, query=query)
    principal = await services.authenticate(exchange, nodes=declared.nodes)
    if declared.permission is None:
        return Call(services, exchange, parameters, principal, query=query)
    place = await find_place(services, principal, parameters, declared.permission)
    exchange.scope = place.scope
    require(principal, declared.permission, place.scope)
    refuse_closing(declared, place)
    return Call(services, exchange, parameters, principal, place, query)


def refuse_closing(declared: Endpoint, place: Place) -> None:
    """Raises 409 `environment_not_ready` for a change in an environment that is being deleted: it could outlive it."""
    environment = place.environment
    if environment is None or environment.status is not Status.DELETING:
        return
    if declared.method != "GET" and declared.path != E:
        raise not_taking(environment.status)


async def find_place(
    services: "Services", principal: Principal, parameters: Mapping[str, str], permission: Permission
) -> Place:
    """What the path addresses; a path that names no organization is about the caller's first with that permission."""
    organization = parameters.get("org") or str(organization_where(principal, permission))
    path = (organization, parameters.get("project"), parameters.get("environment"))
    return await services.places.find(path, principal)


def read_query(text: bytes, declared: Iterable[Parameter]) -> dict[str, list[str]]:
    """Parameters by name, each with its values in order; 422 for one that is not declared or given twice."""
    if not text:
        return {}
    known = {parameter.name: parameter for parameter in declared}
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=100, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise errors.invalid("invalid_parameter", "The query string cannot be read.") from None
    for name, value in pairs:
        family = name.split(".", 1)[0] + "." if "." in name else name
        parameter = known.get(family)
        if parameter is None:
            raise errors.invalid("unknown_parameter", f"There is no parameter {name!r} here; remove it.", f"/{name}")
        if name in found and not parameter.repeatable:
            raise errors.invalid("repeated_parameter", f"The parameter {name!r} is given more than once.", f"/{name}")
        found.setdefault(name, []).append(value)
    return found


def bind(services: "Services", declared: Endpoint) -> HTTPRouteHandler:
    """The Litestar handler of an endpoint."""

    name = declared.name

    async def handle(request: Request[Any, Any, Any]) -> ASGIApp:
        exchange = exchange_of(request.scope)
        exchange.name = name
        call = await admit(services, declared, exchange, request.path_params)
        return await declared.run(call)

    declare = HTTPRouteHandler(
        path=_PARAMETER.sub(r"{\1:str}", declared.path),
        http_method=["GET", "HEAD"] if declared.head else declared.method,  # type: ignore[arg-type]  # checked by Litestar
        status_code=200,  # unused: handlers answer whole ASGI answers, and 204 would forbid that
        opt={"endpoint": declared},
        name=name,
    )
    return declare(handle)


def application(services: "Services", endpoints: Iterable[Endpoint]) -> Litestar:
    """The Litestar application of these endpoints. Errors are not handled in it: the edge renders them."""
    declared = list(endpoints)
    app = Litestar(
        route_handlers=[bind(services, one) for one in (*options_of(declared), *declared)],
        openapi_config=None,
        logging_config=None,
        exception_handlers={Exception: _pass_on},
        request_max_body_size=None,  # the exchange reads bodies, with its own cap
    )
    check_permissions(app)
    return app


def options_of(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """An OPTIONS endpoint for every path, which answers with the methods it has."""
    methods: dict[str, list[str]] = {}
    for declared in endpoints:
        methods.setdefault(declared.path, []).extend([declared.method, "HEAD"] if declared.head else [declared.method])
    return [_options(path, sorted([*some, "OPTIONS"])) for path, some in methods.items()]


def _options(path: str, methods: list[str]) -> Endpoint:
    async def run(_: Call) -> Answer:
        return Answer(204, headers=[(b"allow", ", ".join(methods).encode())])

    return Endpoint(
        method="OPTIONS", path=path, run=run, summary="Methods", public="says which methods there are", status=204
    )


def check_permissions(app: Litestar) -> None:
    """Raises RuntimeError naming every route of the application that does not declare a permission, or why none."""
    bare = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", None) or [getattr(route, "route_handler", None)]:
            declared = getattr(handler, "opt", {}).get("endpoint")
            if not isinstance(declared, Endpoint) or not declared.guarded:
                bare.append(f"{route.path} ({handler})")
    if bare:
        raise RuntimeError(f"routes without a declared permission: {', '.join(bare)}")


def _pass_on(request: Request[Any, Any, Any], error: Exception) -> Any:
    raise error


# --- answers ----------------------------------------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode


def ok(value: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
    """A JSON answer."""
    return Answer(status, _encode(value), list(headers))


def nothing() -> Answer:
    """204."""
    return Answer(204)
