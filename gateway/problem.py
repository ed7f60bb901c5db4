"""Errors as HTTP answers: one table of statuses, one renderer per surface, chosen by the path (decision 36).

So unknown routes, wrong methods and oversize bodies speak the dialect of the surface that was addressed.
"""

import math
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from gateway.exchange import Answer, Exchange
from waypost.errors import Category, WaypostError
from waypost.telemetry.log import get_logger

STATUS: dict[Category, int] = {
    Category.MALFORMED: 400,
    Category.UNAUTHENTICATED: 401,
    Category.FORBIDDEN: 403,
    Category.NOT_FOUND: 404,
    Category.METHOD: 405,
    Category.SLOW: 408,
    Category.CONFLICT: 409,
    Category.PRECONDITION: 412,
    Category.TOO_LARGE: 413,
    Category.MEDIA_TYPE: 415,
    Category.RANGE: 416,
    Category.INVALID: 422,
    Category.LIMITED: 429,
    Category.INTERNAL: 500,
    Category.NOT_AVAILABLE: 501,
    Category.UNAVAILABLE: 503,
    Category.TIMEOUT: 504,
}
_CLOSE = frozenset({Category.SLOW})  # the rest of the body is not waited for

# Words of RFC 6749 §5.2, where our category has one.
_OAUTH = {
    Category.UNAUTHENTICATED: "invalid_client",
    Category.METHOD: "method_not_allowed",
    Category.LIMITED: "temporarily_unavailable",
    Category.UNAVAILABLE: "temporarily_unavailable",
    Category.INTERNAL: "server_error",
}
# Codes of the data-plane contract §0.3, where ours is another word.
_ENGINE = {
    Category.UNAUTHENTICATED: "UNAUTHORIZED",
    Category.FORBIDDEN: "FORBIDDEN",
    Category.NOT_FOUND: "NOT_FOUND",
    Category.MALFORMED: "BAD_REQUEST",
    Category.TOO_LARGE: "BAD_REQUEST",
    Category.INTERNAL: "SERVER_ERROR",
    Category.NOT_AVAILABLE: "NOT_IMPLEMENTED",
}
TOKEN_PATHS = frozenset({"/api/oauth/token"})

_log = get_logger("gateway")


def answer_for(exchange: Exchange, error: Exception) -> Answer:
    """The answer to a request that failed, in its surface's dialect. What is not ours to show is logged instead."""
    known = _as_waypost(exchange, error)
    headers: list[tuple[bytes, bytes]] = []
    if known.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(known.retry_after_seconds)))
    if known.category is Category.METHOD:
        headers.append((b"allow", known.extra.get("allow", "").encode()))
    if known.category is Category.RANGE:
        headers.append((b"content-range", b"bytes */%d" % known.extra.get("size_bytes", 0)))
    if known.category in _CLOSE:
        headers.append((b"connection", b"close"))
    if exchange.path in TOKEN_PATHS:
        return _oauth(known, headers)
    if exchange.path.startswith("/api/"):
        return _engine(exchange, known, headers)
    return _native(exchange, known, headers)


def _as_waypost(exchange: Exchange, error: Exception) -> WaypostError:
    if isinstance(error, WaypostError):
        return error
    if isinstance(error, NotFoundException):
        return WaypostError("not_found", f"There is no {exchange.path} here.", Category.NOT_FOUND)
    if isinstance(error, MethodNotAllowedException):
        allow = (error.headers or {}).get("allow", "")
        text = f"{exchange.method} is not allowed here; use {allow}."
        return WaypostError("method_not_allowed", text, Category.METHOD, extra={"allow": allow})
    if isinstance(error, HTTPException) and error.status_code < 500:
        return WaypostError("bad_request", error.detail, Category.MALFORMED)
    _log.error(
        "request.failed", method=exchange.method, path=exchange.path, request_id=exchange.request_id, exc_info=error
    )
    return WaypostError(
        "internal_error",
        f"Something failed here; the log has it under the request id {exchange.request_id}.",
        Category.INTERNAL,
        retryable=True,
    )


def _title(status: int) -> str:
    return HTTPStatus(status).phrase


def _native(exchange: Exchange, error: WaypostError, headers: list[tuple[bytes, bytes]]) -> Answer:
    """`application/problem+json` (RFC 9457) as the native contract §1 says."""
    status = STATUS[error.category]
    document: dict[str, Any] = {
        "type": f"urn:waypost:error:{error.code}",
        "title": _title(status),
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "request_id": exchange.request_id,
        "retryable": error.retryable,
        "errors": error.problems,
    }
    document.update({name: value for name, value in error.extra.items() if name not in document})
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="waypost"'))
    return Answer(status, msgspec.json.encode(document), headers, b"application/problem+json")


def _engine(exchange: Exchange, error: WaypostError, headers: list[tuple[bytes, bytes]]) -> Answer:
    """The data plane's shape (data-plane contract §0.2)."""
    status = STATUS[error.category]
    code = _ENGINE.get(error.category, error.code.upper())
    properties: dict[str, Any] = {"errorCode": code}
    if error.retryable:
        properties["retryable"] = True
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "detail": f"{code}: {error.detail}",
        "instance": exchange.path.removeprefix("/api"),
        "properties": properties,
    }
    if status >= 500:
        document["ticket"] = exchange.request_id
    return Answer(status, msgspec.json.encode(document), headers, b"application/problem+json")


def _oauth(error: WaypostError, headers: list[tuple[bytes, bytes]]) -> Answer:
    """Flat `{"error", "error_description"}` (data-plane contract §6.3)."""
    status = STATUS[error.category]
    status = 400 if status == 422 else status
    word = error.code if error.code in ("unsupported_grant_type", "access_denied") else _OAUTH.get(error.category)
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="waypost"'))
    headers.append((b"cache-control", b"no-store"))
    document = {"error": word or "invalid_request", "error_description": error.detail}
    return Answer(status, msgspec.json.encode(document), headers)
