"""Two runs of a job, compared: what was asked, what came of it, how long it took. Pure.

Numbers are compared exactly, as numbers: 12.50 is 12.5, and 9007199254740993 is not 9007199254740992. Whatever every
run has of its own (ids, instants, nodes) makes no difference; times are told beside.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from waypost_sdk.model import Attempt, Job

# Of a job, in this order; the rest is each run's own.
COMPARED = (
    "function", "tags", "priority", "timeout_seconds", "expires_in_seconds", "retry", "concurrency", "labels",
    "payload", "state", "result", "error",
)  # fmt: skip


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place where they differ: a JSON Pointer that begins with the field. `kind` is `changed`, `added` (only in
    the second) or `removed` (only in the first)."""

    path: str
    kind: str
    a: Any = msgspec.UNSET
    b: Any = msgspec.UNSET


class Timing(msgspec.Struct, frozen=True):
    """Of one run, in seconds; None where it did not come so far."""

    queue_seconds: float | None  # from its making to its first start
    run_seconds: float | None  # in attempts, all of them
    total_seconds: float | None  # from its making to its end
    attempts: int


class JobDiff(msgspec.Struct, frozen=True):
    """What two runs have in common, and what not. `same`: nothing is in `differences`."""

    a: str
    b: str
    same: bool
    differences: list[Difference]
    timing: dict[str, Timing]


def compare(a: Job, b: Job, attempts_of_a: list[Attempt], attempts_of_b: list[Attempt]) -> JobDiff:
    """Compare two jobs as they are now, with their attempts."""
    one, other = _document(a), _document(b)
    found = [difference for name in COMPARED for difference in differences(one[name], other[name], f"/{name}")]
    timing = {"a": _timing(a, attempts_of_a), "b": _timing(b, attempts_of_b)}
    return JobDiff(a.id, b.id, not found, found, timing)


def differences(a: Any, b: Any, path: str) -> Iterator[Difference]:
    """Where two JSON values differ, in order."""
    if isinstance(a, dict) and isinstance(b, dict):
        yield from _of_objects(a, b, path)
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            here = f"{path}/{index}"
            if index >= len(a):
                yield Difference(here, "added", b=b[index])
            elif index >= len(b):
                yield Difference(here, "removed", a=a[index])
            else:
                yield from differences(a[index], b[index], here)
    elif _kind(a) is not _kind(b) or a != b:
        yield Difference(path, "changed", a, b)


def _of_objects(a: Mapping[str, Any], b: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for name in (*a, *(name for name in b if name not in a)):
        here = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in b:
            yield Difference(here, "removed", a=a[name])
        elif name not in a:
            yield Difference(here, "added", b=b[name])
        else:
            yield from differences(a[name], b[name], here)


def _kind(value: Any) -> type:
    """True is no number, and every number is one kind."""
    return Decimal if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else type(value)


def _document(job: Job) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(job, name), builtin_types=(datetime, Decimal)) for name in COMPARED}


def _timing(job: Job, attempts: list[Attempt]) -> Timing:
    first = min((one.started_at for one in attempts if one.started_at), default=None)
    spans = [_seconds(one.started_at, one.finished_at) for one in attempts]
    runs = [span for span in spans if span is not None]
    return Timing(
        _seconds(job.created_at, first),
        round(sum(runs), 6) if runs else None,
        _seconds(job.created_at, job.finished_at),
        len(attempts),
    )


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else round((until - since).total_seconds(), 6)
