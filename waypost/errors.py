"""The one root of our errors: a stable code, a category, and whether a retry may help.

An error is raised where the fact is known, with its whole sentence; each edge has one module that renders it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec


class Category(StrEnum):
    """What kind of refusal it is; the edges map it to an HTTP or gRPC status."""

    MALFORMED = "malformed"  # 400: cannot be read
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403
    NOT_FOUND = "not_found"  # 404, also for what belongs to another tenant
    METHOD = "method"  # 405
    SLOW = "slow"  # 408: the request did not arrive in time
    CONFLICT = "conflict"  # 409
    PRECONDITION = "precondition"  # 412
    TOO_LARGE = "too_large"  # 413
    MEDIA_TYPE = "media_type"  # 415
    RANGE = "range"  # 416: no byte of what there is
    INVALID = "invalid"  # 422: can be read, but may not be
    LIMITED = "limited"  # 429
    INTERNAL = "internal"  # 500
    NOT_AVAILABLE = "not_available"  # 501: kept for later
    UNAVAILABLE = "unavailable"  # 503: a server that we need is away
    TIMEOUT = "timeout"  # 504


class Problem(msgspec.Struct, frozen=True):
    """One fault of a document: where (JSON Pointer, RFC 6901), which, and in words."""

    path: str
    code: str
    message: str


class WaypostError(Exception):
    """An error that a caller may see.

    `code` is stable snake_case; `detail` one sentence that says what to do; `retry_after_seconds` where we know it;
    `extra` goes into the answer as further members and never holds a secret.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        category: Category,
        *,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
        problems: Sequence[Problem] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.category = category
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.problems = tuple(problems)
        self.extra = dict(extra or {})
        # Somebody was refused for who they are: the audit keeps it. See `not_yours`.
        self.is_denial = category in (Category.UNAUTHENTICATED, Category.FORBIDDEN)


def invalid(code: str, detail: str, path: str = "", *more: Problem) -> WaypostError:
    """A 422 with one problem at `path` (or several)."""
    first = Problem(path, code, detail)
    return WaypostError(code, detail, Category.INVALID, problems=(first, *more))


def not_found(what: str) -> WaypostError:
    """A 404 that does not tell whether the thing exists elsewhere."""
    return WaypostError("not_found", f"There is no such {what}, or this credential may not see it.", Category.NOT_FOUND)


def not_yours(what: str) -> WaypostError:
    """The same 404, to the letter, for what is outside of the caller's reach: the audit keeps it as a denial."""
    error = not_found(what)
    error.is_denial = True
    return error


def forbidden(permission: str, detail: str | None = None) -> WaypostError:
    """A 403 that names the missing permission."""
    text = detail or f"This credential lacks the permission {permission}."
    return WaypostError("forbidden", text, Category.FORBIDDEN, extra={"permission": permission})


def conflict(code: str, detail: str, **extra: Any) -> WaypostError:
    return WaypostError(code, detail, Category.CONFLICT, extra=extra)


def unavailable(what: str) -> WaypostError:
    """A 503: a server that we need is away; the same request may be sent again."""
    return WaypostError(
        "unavailable",
        f"{what} cannot be reached just now; nothing was kept. Repeat the request with the same Idempotency-Key.",
        Category.UNAVAILABLE,
        retryable=True,
        retry_after_seconds=1,
    )


DISK_FULL = "disk_full"


def no_room(what: str) -> WaypostError:
    """A 503: the disk of a server that we need is full. `reason` tells it from one that is away."""
    return WaypostError(
        "unavailable",
        f"The disk of {what} is full; nothing was kept. Repeat the request with the same Idempotency-Key when its"
        " operator has made room.",
        Category.UNAVAILABLE,
        retryable=True,
        retry_after_seconds=10,
        extra={"reason": DISK_FULL},
    )


def not_available(what: str) -> WaypostError:
    """A 501: a name that the contract keeps for later."""
    return WaypostError("not_available", f"{what} is not available in this version.", Category.NOT_AVAILABLE)
