"""The outermost layer: request ids, body caps, the hot path, errors, and what is counted.

Submissions of single jobs without a query string (`POST E/jobs`) are answered here, without Litestar: a typed handler
costs about 140 µs a request, this about 50 (decision 12d). They run the same code as the Litestar route, so their
answers are the same byte for byte. Everything else goes on to the application.
"""

from typing import TYPE_CHECKING, Any

from litestar import Litestar

from gateway import metric
from gateway.endpoint import Call, find_place
from gateway.exchange import ClientGone, Exchange, Receive, Send
from gateway.problem import answer_for
from gateway.v1.job import SUBMIT
from waypost.access.decision import require
from waypost.access.model import Permission
from waypost.clock import monotonic
from waypost.telemetry.log import get_logger

if TYPE_CHECKING:
    from gateway.services import Services

_log = get_logger("gateway.edge")
_NAME = SUBMIT.name
_PERMISSION = Permission.OPERATE_ENVIRONMENT  # as SUBMIT declares
_FIXED = ["", "orgs", "projects", "environments"]  # every other part of a submission's path


class Edge:
    """The ASGI application that Granian serves. `hot` False sends submissions through Litestar too, for comparison."""

    def __init__(self, services: "Services", application: Litestar, *, hot: bool = True) -> None:
        self._services, self._application, self._hot = services, application, hot

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = monotonic()
        exchange = Exchange(scope, receive)
        self._services.began()
        try:
            exchange.refuse_oversize()
            if self._hot and (parts := _submission(exchange)) is not None:
                await exchange.send(await self._submit(exchange, parts), send)
            else:
                scope["waypost"] = exchange
                await self._application(scope, receive, send)
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - the one place where errors become answers
            await self._fail(exchange, error, send)
        finally:
            self._services.ended()
            metric.count(exchange, monotonic() - began)

    async def _submit(self, exchange: Exchange, parts: tuple[str, str, str]) -> Any:
        services = self._services
        exchange.name = _NAME
        parameters = dict(zip(("org", "project", "environment"), parts, strict=True))
        principal = await services.authenticate(exchange)
        place = await find_place(services, principal, parameters, _PERMISSION)
        require(principal, _PERMISSION, place.scope)
        return await SUBMIT.run(Call(services, exchange, parameters, principal, place))

    async def _fail(self, exchange: Exchange, error: Exception, send: Send) -> None:
        if exchange.started:  # a stream: all that can be done is to end it
            _log.error("stream.failed", path=exchange.path, request_id=exchange.request_id, exc_info=error)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        answer = answer_for(exchange, error)
        if answer.status == 413:
            await exchange.send_early(answer, send)
        else:
            await exchange.send(answer, send)


def _submission(exchange: Exchange) -> tuple[str, str, str] | None:
    """The path's organization, project and environment when this is a plain submission of one job."""
    if exchange.method != "POST" or exchange.query or not exchange.path.endswith("/jobs"):
        return None
    parts = exchange.path.split("/")
    if len(parts) != 9 or parts[1] != "v1" or parts[:8:2] != _FIXED:
        return None
    if not (parts[3] and parts[5] and parts[7]):
        return None
    return parts[3], parts[5], parts[7]
