"""The outermost layer: request ids, body caps, the hot path, errors, and what is counted.

Submissions of single jobs (`POST E/jobs`) and webhooks, both without a query string, are answered here, without
Litestar: a typed handler costs about 140 µs a request, this about 50 (decision 12d). They run the same code as the
Litestar route, so their answers are the same byte for byte. Everything else goes on to the application.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from litestar.types import ASGIApp

from gateway import metric
from gateway.endpoint import Call, Endpoint, find_place
from gateway.exchange import MAX_BODY_BYTES, Answer, ClientGone, Exchange, Receive, Send
from gateway.hooks.door import HOOKS, RECEIVE, receive
from gateway.problem import answer_for
from gateway.submission import submit_one
from gateway.v1.job import SUBMIT
from waypost.access.decision import require
from waypost.access.model import Permission
from waypost.clock import monotonic
from waypost.telemetry.log import get_logger

if TYPE_CHECKING:
    from gateway.services import Services

_log = get_logger("gateway.edge")
_LONG_DIGITS = len(str(MAX_BODY_BYTES))
_NAME = SUBMIT.name
_PERMISSION = Permission.OPERATE_ENVIRONMENT  # as SUBMIT declares
_HOOK = re.compile(rb"/hooks/[^/]+")
_SUBMISSION = re.compile(rb"/v1/orgs/[^/]+/projects/[^/]+/environments/[^/]+/jobs")


class Edge:
    """The ASGI application of gateway.http. `hot` False sends submissions through Litestar too, for comparison."""

    def __init__(
        self, services: "Services", application: ASGIApp, endpoints: Iterable[Endpoint] = (), *, hot: bool = True
    ) -> None:
        self._services, self._application, self._hot = services, application, hot
        self._caps = [(d.method, d.pattern, d.body_limit) for d in endpoints if d.body_limit != MAX_BODY_BYTES]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = monotonic()
        exchange = Exchange(scope, receive)
        self._services.began()
        try:
            exchange.refuse_oversize(self._cap(exchange))
            scope["waypost"] = exchange
            await self._application(scope, receive, send)
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - the one place where errors become answers
            await self._fail(exchange, error, send)
        finally:
            self._services.ended()
            self._services.calls.note(exchange)
            metric.count(exchange, monotonic() - began)

    def _cap(self, exchange: Exchange) -> int:
        """The most bytes that the body may have; looked up only for one that says it is long."""
        if len(exchange.headers.get(b"content-length", b"")) >= _LONG_DIGITS:
            for method, path, cap in self._caps:
                if method == exchange.method and path.fullmatch(exchange.path):
                    return cap
        return MAX_BODY_BYTES

    def takes(self, url: bytes) -> bool:
        """Whether `direct` answers a POST of this path: it is `E/jobs` or `/hooks/{trigger}`."""
        return self._hot and (_SUBMISSION.fullmatch(url) is not None or _HOOK.fullmatch(url) is not None)

    async def direct(self, exchange: Exchange) -> Answer:
        """The answer to a plain submission or webhook whose body is here; never raises."""
        began = monotonic()
        exchange.name = _NAME
        self._services.began()
        try:
            if exchange.path.startswith(HOOKS):
                exchange.name = RECEIVE.name
                answer = await receive(self._services, exchange, exchange.path.removeprefix(HOOKS))
            else:
                answer = await submit_one(await self._admit(exchange))
        except Exception as error:  # noqa: BLE001 - as for every request
            self._services.denials.refused(exchange, error)
            answer = answer_for(exchange, error)
        finally:
            self._services.ended()
        exchange.status = answer.status
        self._services.calls.note(exchange)
        metric.count(exchange, monotonic() - began)
        return answer

    async def _admit(self, exchange: Exchange) -> Call:
        services = self._services
        parts = exchange.path.split("/")
        parameters = {"org": parts[3], "project": parts[5], "environment": parts[7]}
        principal = await services.authenticate(exchange)
        place = await find_place(services, principal, parameters, _PERMISSION)
        exchange.scope = place.scope
        require(principal, _PERMISSION, place.scope)
        return Call(services, exchange, parameters, principal, place)

    async def _fail(self, exchange: Exchange, error: Exception, send: Send) -> None:
        if exchange.started:  # a stream: all that can be done is to end it
            _log.error("stream.failed", path=exchange.path, request_id=exchange.request_id, exc_info=error)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._services.denials.refused(exchange, error)
        answer = answer_for(exchange, error)
        if answer.status == 413:
            await exchange.send_early(answer, send)
        else:
            await exchange.send(answer, send)
