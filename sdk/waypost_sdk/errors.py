"""Every error that the SDK raises: one root, data to decide on, one class for each kind of refusal.

The platform's own words (`code`, `detail`) are kept; nothing is rephrased. How an error becomes an exit code is said in
`waypost_sdk.command.failure`, not here.
"""

from collections.abc import Mapping
from typing import Any


class WaypostError(Exception):
    """Something was refused or could not be done.

    `status` is the HTTP status, 0 where there was no answer; `code` is stable snake_case; `detail` one sentence;
    `request_id` finds the request in the platform's logs; `retryable` says whether the same request may succeed later;
    `problems` are the faults of a document: `{"path": JSON Pointer, "code", "message"}`.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 0,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
        problems: tuple[dict[str, Any], ...] = (),
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.problems = problems


class MalformedError(WaypostError):
    """400: the platform could not read the request."""


class CredentialsError(WaypostError):
    """401: no credential, or one that is unknown, expired or revoked."""


class ForbiddenError(WaypostError):
    """403: the credential is known, but lacks the permission that `detail` names."""


class NotFoundError(WaypostError):
    """404: there is no such thing, or it belongs to another tenant."""


class ConflictError(WaypostError):
    """409 or 412: the state of the thing does not allow it (`job_already_ended`, `idempotency_conflict` …)."""


class TooLargeError(WaypostError):
    """413: the body is over a limit."""


class InvalidError(WaypostError):
    """422: readable, but not allowed; `problems` says where."""


class LimitedError(WaypostError):
    """429: too many requests, or too many waiting jobs; `retry_after_seconds` where known."""


class ServerError(WaypostError):
    """5xx: the platform failed."""


class UnavailableError(ServerError):
    """503, or no connection at all: the platform, or a server that it needs, is away."""


class NotAvailableError(ServerError):
    """405 or 501: this version of the platform does not have it, or keeps its name for later."""


class ConfigurationError(WaypostError):
    """An address, a key or a name is missing or cannot be right; `detail` says which and how to set it."""


class MissingCredentialError(ConfigurationError, CredentialsError):
    """A key or a node credential is configured nowhere."""


class DeclarationError(ConfigurationError):
    """A node function was declared in a way that cannot work; raised at the declaration."""


class NodeRefusedError(WaypostError):
    """The relay does not want this node: its credential, or a tag or function that the credential does not allow."""


class WaitTimeoutError(WaypostError):
    """`wait` gave up; the job goes on. `detail` holds its last state."""


class NonRetryable(Exception):  # noqa: N818 -- the contract's name (native contract §8)
    """Raised by a node function: this job has failed, and trying again would not help.

    `code` is yours (snake_case), `details` anything that JSON can hold; all three are kept with the job.
    """

    def __init__(self, code: str, message: str = "", details: Any = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.details = details


_BY_STATUS: dict[int, type[WaypostError]] = {
    400: MalformedError,
    401: CredentialsError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: TooLargeError,
    422: InvalidError,
    429: LimitedError,
    405: NotAvailableError,
    501: NotAvailableError,
    503: UnavailableError,
}
_RETRYABLE_STATUS = frozenset({429, 502, 503})


def from_answer(status: int, headers: Mapping[str, str], document: Any) -> WaypostError:
    """The error for an HTTP answer of 400 and above; `document` is its decoded body, whatever that was."""
    problem: dict[str, Any] = document if isinstance(document, dict) else {}
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else WaypostError)
    return kind(
        str(problem.get("code") or f"http_{status}"),
        str(problem.get("detail") or problem.get("title") or f"The platform answered {status}."),
        status=status,
        request_id=problem.get("request_id") or headers.get("x-request-id"),
        retryable=bool(problem.get("retryable", status in _RETRYABLE_STATUS)),
        retry_after_seconds=_seconds(headers.get("retry-after")),
        problems=tuple(entry for entry in problem.get("errors") or () if isinstance(entry, dict)),
    )


def unreachable(where: str, cause: object) -> UnavailableError:
    """The error for a connection that could not be made or was cut."""
    return UnavailableError("connection_failed", f"{where} cannot be reached: {cause}", retryable=True)


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:  # an HTTP date: our platform never sends one
        return None
