"""Endpoints about this server itself: alive, ready."""

import msgspec

from gateway.endpoint import Call, Endpoint, endpoint, ok
from gateway.exchange import Answer
from waypost.telemetry.internal import OK


class Health(msgspec.Struct):
    status: str


class Readiness(msgspec.Struct):
    status: str
    dependencies: dict[str, str]


@endpoint("GET", "/healthz", summary="Whether this process is alive", public="asked by load balancers", answer=Health)
async def healthz(_: Call) -> Answer:
    return ok(Health("alive"))


@endpoint(
    "GET",
    "/readyz",
    summary="Whether requests can be served, with each dependency's state",
    public="asked by load balancers",
    answer=Readiness,
    also={503: "A dependency is away."},
)
async def readyz(call: Call) -> Answer:
    """Ready means that PostgreSQL is there: without the others most requests are still answered."""
    states = await call.services.readiness()
    ready = states["postgres"] == OK and not call.services.stopping
    return ok(Readiness("ready" if ready else "not_ready", states), 200 if ready else 503)


ENDPOINTS: list[Endpoint] = [healthz, readyz]
