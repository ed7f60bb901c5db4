"""What is wrong with a body that is no job specification: all of it, each fault with its place.

The slow path of `waypost.job.specification`: it reads a refused body again, member by member, so that one answer names
every fault. It accepts nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from waypost.document import MAX_DEPTH, MAX_PROBLEMS, malformed, pointer, verify
from waypost.errors import Category, Problem, WaypostError, invalid
from waypost.job.form import EXPECTED, KEPT_FOR_LATER, BulkItem, JobForm, fault, faults
from waypost.job.model import MAX_BULK, Concurrency, RetryPolicy

BULK_DEPTH = MAX_DEPTH + 2  # a job in a list in an object is as deep as it likes to be on its own
OVERRIDES_DEPTH = MAX_DEPTH + 1

_NESTED: Mapping[str, type[msgspec.Struct]] = {"retry": RetryPolicy, "concurrency": Concurrency}
_HINTS = {
    "idempotency_key": "Send it as the header Idempotency-Key.",
    "function": "A replay runs the same function; submit a new job for another one.",
}
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def of_submission(body: bytes) -> WaypostError:
    """The error of a single submission."""
    verify(body)
    return refusal(_job_problems(msgspec.Raw(body), JobForm, ""))


def of_bulk(body: bytes) -> WaypostError:
    """The error of a bulk submission; its pointers begin with `/jobs/<index>`."""
    verify(body, BULK_DEPTH)
    return refusal(_inside(body, "jobs", _bulk_problems))


def of_overrides(body: bytes) -> WaypostError:
    """The error of a replay's body."""
    verify(body, OVERRIDES_DEPTH)
    return refusal(_inside(body, "overrides", _override_problems))


def refusal(problems: Iterable[Problem]) -> WaypostError:
    """One error of all problems: its code is the first one's; 413 when a payload is too large."""
    found = list(problems)
    if not found:  # refused by the fast path for the text alone, of which `verify` finds nothing
        return malformed("it cannot be read")
    large = next((problem for problem in found if problem.code == "payload_too_large"), None)
    if large is not None:
        return WaypostError(large.code, large.message, Category.TOO_LARGE, problems=found[:MAX_PROBLEMS])
    first = found[0]
    more = f" ({len(found) - 1} more in errors.)" if len(found) > 1 else ""
    error = invalid(first.code, first.message + more, first.path)
    error.problems = tuple(found[:MAX_PROBLEMS])
    return error


def _inside(body: bytes, name: str, judge: Callable[[msgspec.Raw], list[Problem]]) -> list[Problem]:
    """Problems of the one member `name` that the body may have."""
    members = _members(msgspec.Raw(body))
    if members is None:
        return [Problem("", "wrong_type", f'The body must be an object: {{"{name}": …}}.')]
    problems = [_unknown(other, "", ()) for other in members if other != name][:MAX_PROBLEMS]
    if name in members:
        return problems + judge(members[name])
    if not problems and name == "jobs":
        problems.append(_missing(name, ""))
    return problems


def _bulk_problems(raw: msgspec.Raw) -> list[Problem]:
    try:
        jobs = _ITEMS.decode(raw)
    except msgspec.ValidationError:
        return [fault("jobs", "", "wrong_type", _shown(raw))]
    if len(jobs) > MAX_BULK:
        message = f"There are {len(jobs)} jobs; send at most {MAX_BULK} in one request."
        return [Problem("/jobs", "too_many", message)]
    problems: list[Problem] = []
    for index, job in enumerate(jobs):
        problems += _job_problems(job, BulkItem, f"/jobs/{index}")
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems


def _override_problems(raw: msgspec.Raw) -> list[Problem]:
    return _job_problems(raw, JobForm, "/overrides", without=("function",))


def _job_problems(raw: msgspec.Raw, kind: type[JobForm], path: str, *, without: tuple[str, ...] = ()) -> list[Problem]:
    members = _members(raw)
    if members is None:
        return [Problem(path, "wrong_type", "A job must be an object with at least a function.")]
    problems, values = _collect(members, kind, path, without)
    needs_function = "function" not in without
    if needs_function and "function" not in members:
        problems.append(_missing("function", path))
    form = kind(**values)  # what could not be read has its default here, which breaks no rule
    problems += faults(form, path, needs_function=needs_function and "function" in values)
    return problems


def _collect(
    members: Mapping[str, msgspec.Raw], kind: type[msgspec.Struct], path: str, without: tuple[str, ...] = ()
) -> tuple[list[Problem], dict[str, Any]]:
    """The members that have no field or the wrong type as problems, the others as values."""
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, raw in members.items():
        if len(problems) >= MAX_PROBLEMS:
            break
        if name in without or name not in kind.__struct_fields__:
            problems.append(_unknown(name, path, without))
            continue
        found, value = _field(name, raw, kind, path)
        problems += found
        if not found:
            values[name] = value
    return problems, values


def _field(name: str, raw: msgspec.Raw, kind: type[msgspec.Struct], path: str) -> tuple[list[Problem], Any]:
    nested = _NESTED.get(name)
    members = _members(raw) if nested is not None else None
    if nested is not None and members is not None:
        return _nested(members, nested, path + pointer(name))
    try:
        return [], _decoder(kind, name).decode(raw)
    except msgspec.ValidationError as error:
        code = "wrong_type" if ", got `" in str(error) else "out_of_range" if "range" in str(error) else "invalid_value"
        return [fault(name, path, code, _shown(raw))], None


def _nested(members: Mapping[str, msgspec.Raw], kind: type[msgspec.Struct], path: str) -> tuple[list[Problem], Any]:
    problems, values = _collect(members, kind, path)
    required = [field.name for field in msgspec.structs.fields(kind) if field.required and field.name not in members]
    problems += [_missing(name, path) for name in required]
    return problems, None if problems else kind(**values)


def _unknown(name: str, path: str, without: tuple[str, ...]) -> Problem:
    at = path + pointer(name)
    if name in KEPT_FOR_LATER:
        return Problem(at, "not_available", f"{name} is kept for a later version; remove it.")
    hint = _HINTS.get(name, "Remove it.") if name in without or name == "idempotency_key" else "Remove it."
    return Problem(at, "unknown_field", f"There is no field {name[:60]!r} here. {hint}")


def _missing(name: str, path: str) -> Problem:
    return Problem(path + pointer(name), "missing_field", f"{name} is required: {EXPECTED[name]}.")


def _members(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _MEMBERS.decode(raw)
    except msgspec.ValidationError:
        return None


@lru_cache(maxsize=64)
def _decoder(kind: type[msgspec.Struct], name: str) -> msgspec.json.Decoder[Any]:
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    return msgspec.json.Decoder(field.type)


class _Shown:
    """JSON text that is shown as it was written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _shown(raw: msgspec.Raw) -> _Shown:
    return _Shown(bytes(memoryview(raw)[:80]).decode(errors="replace"))
