"""How a handler's end becomes an answer: a result, or an error with the retry decision as data."""

import traceback
from typing import Any

import msgspec
from waypost_contracts.waypost_frame_pb2 import Failure

from waypost_sdk import exact
from waypost_sdk.errors import NonRetryable, WaypostError

MAX_TRACEBACK_CHARACTERS = 4_000
MAX_MESSAGE_CHARACTERS = 2_000


def encode_result(answer: Any) -> bytes | Failure:
    """JSON text of what a handler returned, or why there is none. Trying again would not help: not retryable."""
    try:
        return exact.encode(answer)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Failure(code="result_not_json", message=f"The result cannot be written as JSON: {error}")


def of_exception(error: BaseException) -> Failure:
    """An exception of a handler: `NonRetryable` says so itself, every other one may be tried again."""
    if isinstance(error, NonRetryable):
        return Failure(code=error.code, message=_cut(error.message), retryable=False, details=_details(error.details))
    kind = type(error).__name__
    text = str(error)
    details = {"type": kind, "traceback": _trace(error)}
    return Failure(
        code="function_failed",
        message=_cut(f"{kind}: {text}" if text else kind),
        retryable=True,
        details=_details(details),
    )


def of_payload(error: msgspec.MsgspecError) -> Failure:
    """The payload does not fit the handler's type; it never will."""
    return Failure(code="invalid_payload", message=_cut(str(error)), retryable=False)


def of_fetching(error: BaseException) -> Failure:
    """The payload is an artifact that could not be had; the platform's own word on whether that may change."""
    if isinstance(error, WaypostError):
        return Failure(code=error.code, message=_cut(error.detail), retryable=error.retryable)
    return of_exception(error)


def canceled() -> Failure:
    return Failure(code="canceled", message="The handler stopped because the job was canceled.", retryable=False)


def timed_out() -> Failure:
    return Failure(code="timed_out", message="The handler was stopped at the end of its time.", retryable=True)


def unknown_function(name: str) -> Failure:
    return Failure(code="function_not_served", message=f"This node does not serve {name}.", retryable=True)


def _trace(error: BaseException) -> str:
    frames = traceback.format_exception(error)
    text = "".join(frames)
    return text if len(text) <= MAX_TRACEBACK_CHARACTERS else "…" + text[-MAX_TRACEBACK_CHARACTERS:]


def _details(details: Any) -> bytes:
    if details is None:
        return b""
    try:
        return exact.encode(details)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return exact.encode({"repr": _cut(repr(details))})


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[:MAX_MESSAGE_CHARACTERS] + "…"
