"""A declared node function: its name, its types, its limit. Everything that can be wrong is found at the declaration.

What it refuses: names that the platform would refuse, and handlers that cannot be called as `handler(job, payload)`.
"""

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from waypost_sdk import exact
from waypost_sdk.errors import DeclarationError

MAX_NAME_CHARACTERS = 100
MAX_RESULT_BYTES = 1 << 20
DEFAULT_MAX_IN_FLIGHT = 100  # async functions: they cost memory only
MOST_IN_FLIGHT = 10_000
DEFAULT_MAX_THREADS = 16  # plain functions: each running one holds a thread

Handler = Callable[..., Any]
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_UNTYPED = (Any, object, inspect.Parameter.empty)


class Function:
    """One node function. `call(job, payload)` is the handler; `decode` and `encode` translate from and to JSON text."""

    __slots__ = (
        "call",
        "capture_output",
        "decode",
        "input_type",
        "is_async",
        "max_in_flight",
        "name",
        "output_type",
        "running",
    )

    def __init__(self, name: str, handler: Handler, max_in_flight: int | None, *, capture_output: bool = False) -> None:
        """Raises DeclarationError when `name`, the signature or the limit cannot work."""
        self.name = _checked_name(name)
        self.is_async = _is_async(handler)
        default = DEFAULT_MAX_IN_FLIGHT if self.is_async else DEFAULT_MAX_THREADS
        self.max_in_flight = checked_limit(max_in_flight, default, name)
        takes_payload, self.input_type, self.output_type = _signature(name, handler)
        self.call: Handler = handler if takes_payload else _without_payload(handler)
        self.decode: Callable[[bytes], Any] = _decoder(name, self.input_type)
        self.capture_output = capture_output  # what it prints goes into the job's log
        self.running = 0

    def describe(self) -> dict[str, Any]:
        """What the join says about it (native contract §7): name, limit, and JSON schemas where it is typed."""
        about: dict[str, Any] = {"name": self.name, "max_in_flight": self.max_in_flight}
        for key, kind in (("input_schema", self.input_type), ("output_schema", self.output_type)):
            if schema := _schema(kind):
                about[key] = schema
        return about


def checked_limit(given: int | None, default: int, name: str) -> int:
    """`given`, or the default for None; raises DeclarationError for what is not an integer from 1 to 10,000."""
    limit = default if given is None else given
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_IN_FLIGHT:
        raise DeclarationError(
            "bad_declaration", f"max_in_flight of {name} must be an integer from 1 to {MOST_IN_FLIGHT}, not {given!r}."
        )
    return limit


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
        raise DeclarationError(
            "bad_declaration",
            f"{name!r} cannot name a function: dotted lower-case words (image.thumbnail), at most "
            f"{MAX_NAME_CHARACTERS} characters.",
        )
    return name


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004 -- an object with an async __call__ is meant


def _signature(name: str, handler: Handler) -> tuple[bool, Any, Any]:
    """Whether the handler takes a payload, the type of it, and the type of the answer (Any where nothing is said)."""
    try:
        signature = inspect.signature(handler)
        hints = typing.get_type_hints(handler if inspect.isroutine(handler) else type(handler).__call__)
    except (TypeError, ValueError, NameError) as error:
        raise DeclarationError("bad_declaration", f"The types of {name} cannot be read: {error}") from error
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    needed = [parameter for parameter in signature.parameters.values() if _is_needed(parameter)]
    if not positional or any(parameter not in positional[:2] for parameter in needed):
        raise DeclarationError("bad_declaration", f"{name} must take (job, payload), or (job) alone.")
    answer = hints.get("return", Any)
    takes_payload = len(positional) > 1
    return takes_payload, hints.get(positional[1].name, Any) if takes_payload else Any, answer


def _is_needed(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not variadic


def _without_payload(handler: Handler) -> Handler:
    return lambda job, _payload: handler(job)


def _decoder(name: str, kind: Any) -> Callable[[bytes], Any]:
    try:
        decode = exact.decoder(Any if kind in _UNTYPED else kind).decode
    except TypeError as error:
        raise DeclarationError(
            "bad_declaration", f"The payload type of {name} is not one JSON can fill: {error}"
        ) from error
    return lambda text: decode(text or b"null")


def _schema(kind: Any) -> dict[str, Any] | None:
    if kind in _UNTYPED or kind is type(None):
        return None
    try:
        return msgspec.json.schema(kind)
    except (TypeError, msgspec.ValidationError):  # a field of a custom type: the function works, it only has no schema
        return None
