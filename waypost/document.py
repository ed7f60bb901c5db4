"""JSON from outside, read strictly: one value, no repeated key, no NaN, no lone surrogate, nested at most 64 deep.

`msgspec` reads fast and checks types, but lets repeated keys pass and looks little at what it keeps raw; this module
closes those gaps. It knows no field of any document. Faults of the text itself are 400 `malformed_json`; JSON that may
not be is 422.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import msgspec

from waypost.errors import Category, Problem, WaypostError, invalid

MAX_DEPTH = 64  # native contract §1

T = TypeVar("T")

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<high>))|u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class _RepeatedKeyError(Exception):
    pass


class _ConstantError(Exception):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        raise _RepeatedKeyError


def _constant(text: str) -> NoReturn:
    raise _ConstantError(text)


# Numbers stay text: nothing is computed, and Python's limit of 4,300 digits does not apply.
_SCANNER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=str, parse_int=str, parse_constant=_constant)
_TREE = json.JSONDecoder(object_pairs_hook=list, parse_float=str, parse_int=str, parse_constant=str)


def verify(text: bytes, depth: int = MAX_DEPTH) -> None:
    """Return if `text` is one strict JSON value nested at most `depth` deep; else raise the WaypostError that says why.

    Costs about 1.5 µs for a small document and 10 ms for a mebibyte of small objects.
    """
    if text.count(b"{") + text.count(b"[") > depth and _deeper_than(text, depth):
        raise too_deep(depth)
    try:
        decoded = text.decode()
        _SCANNER.decode(decoded)
    except UnicodeDecodeError as error:
        raise malformed(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise malformed(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise too_deep(depth) from None
    except _ConstantError as error:
        raise invalid("invalid_number", f"{error} is not a JSON number; send null or a string instead.") from None
    except _RepeatedKeyError:
        raise _repeated(decoded) from None
    if b"\\u" in text and (position := _lone_surrogate(text)) is not None:
        raise malformed(f"the escape at byte {position} is half of a surrogate pair, which is no character")


def malformed(reason: str) -> WaypostError:
    """400: the text is not JSON."""
    return WaypostError("malformed_json", f"The body is not JSON: {reason}.", Category.MALFORMED)


def too_deep(depth: int) -> WaypostError:
    """422: nested deeper than any honest document."""
    return invalid("json_too_deep", f"JSON may be nested {depth} deep at most; send a flatter document.")


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _deeper_than(text: bytes, depth: int) -> bool:
    """Whether brackets nest deeper, by taking away the innermost pairs, all at once, as often as allowed."""
    brackets = _STRING.sub(b"", text).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(depth):
        less = brackets.replace(b"[]", b"")
        if len(less) == len(brackets):
            return len(brackets) > depth  # unbalanced: a flat one is left to the parser, which says where
        brackets = less
    return bool(brackets)


def _lone_surrogate(text: bytes) -> int | None:
    for match in _ESCAPE.finditer(text):
        if match["high"] is not None or match["low"] is not None:
            return match.start()
    return None


def _repeated(text: str) -> WaypostError:
    problems = [
        Problem(path, "duplicate_key", f"The key {path.rsplit('/', 1)[1]!r} is given more than once; send it once.")
        for path in _repeated_keys(_TREE.decode(text), "")
    ]
    return invalid("duplicate_key", problems[0].message, problems[0].path, *problems[1:100])


def _repeated_keys(value: Any, path: str) -> Iterator[str]:
    """Pointers of the repeated keys below `value`, where objects are lists of (key, value) tuples."""
    if not isinstance(value, list):
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        is_member = isinstance(item, tuple)
        below = path + pointer(item[0] if is_member else index)
        if is_member and item[0] in seen:
            yield below
        elif is_member:
            seen.add(item[0])
        yield from _repeated_keys(item[1] if is_member else item, below)


# --- typed reading of small bodies ----------------------------------------------------------------------------------

_AT = re.compile(r" - at `(key in )?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_FIELD = re.compile(r"field `(.*)`")


def read(text: bytes, kind: type[T]) -> T:
    """Decode strictly into a msgspec type. Raises WaypostError: 400 for bad JSON, 422 with a pointer otherwise."""
    verify(text)
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        problem = explain(error)
        raise invalid(problem.code, problem.message, problem.path) from None


def explain(error: msgspec.ValidationError, prefix: str = "") -> Problem:
    """msgspec's complaint as a problem: its path as a JSON Pointer below `prefix`, and a stable code."""
    words = str(error)
    at = _AT.search(words)
    message = words[: at.start()] if at else words
    path = prefix + pointer(*(name or index for name, index in _STEP.findall(at[2]) if name or index)) if at else prefix
    field = _FIELD.search(message)
    if field and "unknown field" in message:
        return Problem(path + pointer(field[1]), "unknown_field", f"There is no field {field[1]!r} here; remove it.")
    if field and "missing required" in message:
        return Problem(path + pointer(field[1]), "missing_field", f"The field {field[1]!r} is required; send it.")
    code = "wrong_type" if ", got `" in message else "out_of_range" if "range" in message else "invalid_value"
    return Problem(path, code, f"{message.replace('`', '')}.")
