"""All endpoints of the gateway, and the application made of them."""

import msgspec

from gateway import openapi, service
from gateway.console import Console
from gateway.edge import Edge
from gateway.endpoint import Endpoint, application
from gateway.engine import token
from gateway.hooks import door
from gateway.services import Services
from gateway.v1 import (
    artifact,
    audit,
    delivery,
    environment,
    event,
    function,
    invitation,
    job,
    key,
    life,
    live,
    log,
    member,
    node,
    organization,
    person,
    project,
    replay,
    retention,
    series,
    session,
    subscription,
    trigger,
    usage,
    whoami,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *organization.ENDPOINTS,
    *invitation.ENDPOINTS,
    *session.ENDPOINTS,
    *person.ENDPOINTS,
    *project.ENDPOINTS,
    *environment.ENDPOINTS,
    *life.ENDPOINTS,
    *key.ENDPOINTS,
    *member.ENDPOINTS,
    *whoami.ENDPOINTS,
    *audit.ENDPOINTS,
    *job.ENDPOINTS,
    *log.ENDPOINTS,
    *replay.ENDPOINTS,
    *retention.ENDPOINTS,
    *artifact.ENDPOINTS,
    *event.ENDPOINTS,
    *function.ENDPOINTS,
    *series.ENDPOINTS,
    *node.ENDPOINTS,
    *trigger.ENDPOINTS,
    *usage.ENDPOINTS,
    *subscription.ENDPOINTS,
    *delivery.ENDPOINTS,
    *live.ENDPOINTS,
    *door.ENDPOINTS,
    *token.ENDPOINTS,
    *service.ENDPOINTS,
    *openapi.ENDPOINTS,
)


def edge(services: Services, *, hot: bool = True) -> Edge:
    """The whole ASGI application; raises RuntimeError when a route declares no permission."""
    services.document = msgspec.json.encode(openapi.document(ENDPOINTS, services.public_url))
    services.denials.learn(ENDPOINTS)
    return Edge(services, Console(application(services, ENDPOINTS)), ENDPOINTS, hot=hot)
