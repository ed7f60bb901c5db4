"""A specification as it is written by its submitter, and every rule of native contract §3.1 about it.

A form is typed but not yet judged; `faults` judges it. What a field must be is said once, in `EXPECTED`.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from waypost import clock
from waypost.document import pointer
from waypost.errors import Problem
from waypost.job.model import (
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT_SECONDS,
    FUNCTION_PATTERN,
    HIGHEST_PRIORITY,
    MAX_ATTEMPTS,
    MAX_BACKOFF_FACTOR,
    MAX_BACKOFF_SECONDS,
    MAX_BULK,
    MAX_CONCURRENCY_KEY_CHARACTERS,
    MAX_CONCURRENCY_LIMIT,
    MAX_DELAY,
    MAX_EXPIRES_SECONDS,
    MAX_FUNCTION_CHARACTERS,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    MAX_PAYLOAD_BYTES,
    MAX_SELECTORS,
    MAX_TIMEOUT_SECONDS,
    Concurrency,
    RetryPolicy,
)
from waypost.route.selector import SelectorError, parse_selector

KEPT_FOR_LATER = frozenset({"prefer", "route_key", "ordering_key"})
FIRST_YEAR = 1970  # earlier instants are mistakes, and some cannot be expressed in UTC

EXPECTED = {
    "function": f"a name such as image.thumbnail: at most {MAX_FUNCTION_CHARACTERS} of a-z, 0-9, _ and .",
    "payload": f"JSON of at most {MAX_PAYLOAD_BYTES} bytes",
    "tags": f'a list of at most {MAX_SELECTORS} selectors such as "gpu" or "mem_gb>=16"',
    "priority": f"an integer from 0 to {HIGHEST_PRIORITY} ({HIGHEST_PRIORITY} is first)",
    "run_at": f"an RFC 3339 instant with a time zone, at most {MAX_DELAY.days} days ahead",
    "delay_seconds": f"a number from 0 to {int(MAX_DELAY.total_seconds())}",
    "timeout_seconds": f"an integer from 1 to {MAX_TIMEOUT_SECONDS}",
    "expires_in_seconds": f"an integer from 1 to {MAX_EXPIRES_SECONDS}",
    "retry": "an object with max_attempts, backoff, initial_seconds, factor, max_seconds, jitter, each optional",
    "max_attempts": f"an integer from 1 to {MAX_ATTEMPTS}",
    "backoff": '"exponential", "fixed" or "none"',
    "initial_seconds": f"a number from 0 to {MAX_BACKOFF_SECONDS:.0f}, and not above max_seconds",
    "factor": f"a number from 1 to {MAX_BACKOFF_FACTOR:.0f}",
    "max_seconds": f"a number from 0 to {MAX_BACKOFF_SECONDS:.0f}",
    "jitter": "a share from 0 to 1",
    "concurrency": "an object with key and limit",
    "key": f"1 to {MAX_CONCURRENCY_KEY_CHARACTERS} characters, without NUL",
    "limit": f"an integer from 1 to {MAX_CONCURRENCY_LIMIT}",
    "labels": f"an object of at most {MAX_LABELS} strings, each of at most {MAX_LABEL_CHARACTERS} characters",
    "idempotency_key": f"1 to {MAX_IDEMPOTENCY_KEY_CHARACTERS} characters, none of them a control character",
    "jobs": f"a list of at most {MAX_BULK} job specifications",
    "overrides": "an object with the fields of a job that shall differ",
}

_FUNCTION = re.compile(FUNCTION_PATTERN)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DEFAULT_INITIAL_SECONDS = RetryPolicy().initial_seconds


class JobForm(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a submission. `function` is required; it has a default so that one shape serves overrides as well."""

    function: str = ""
    payload: msgspec.Raw = msgspec.Raw()
    tags: list[str] = []
    priority: int = DEFAULT_PRIORITY
    run_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    delay_seconds: float | None = None
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    expires_in_seconds: int | None = None
    retry: RetryPolicy | None = None
    concurrency: Concurrency | None = None
    labels: dict[str, str] = {}


class BulkItem(JobForm, forbid_unknown_fields=True):
    idempotency_key: str | None = None


class BulkForm(msgspec.Struct, forbid_unknown_fields=True):
    jobs: list[BulkItem]


@lru_cache(maxsize=4096)
def is_function(name: str) -> bool:
    """Whether `name` can be a function's."""
    return len(name) <= MAX_FUNCTION_CHARACTERS and _FUNCTION.fullmatch(name) is not None


def is_idempotency_key(text: str) -> bool:
    """Whether `text` can be an idempotency key, in a header or a bulk item."""
    return 0 < len(text) <= MAX_IDEMPOTENCY_KEY_CHARACTERS and _CONTROL.search(text) is None


def faults(form: JobForm, path: str = "", *, needs_function: bool = True) -> Iterator[Problem]:
    """Every rule that the form breaks; nothing for a sound one (about 1 µs when its fields are the defaults)."""
    if needs_function and not is_function(form.function):
        yield fault("function", path, "invalid_value", form.function)
    if not 0 <= form.priority <= HIGHEST_PRIORITY:
        yield fault("priority", path, "out_of_range", form.priority)
    if not 1 <= form.timeout_seconds <= MAX_TIMEOUT_SECONDS:
        yield fault("timeout_seconds", path, "out_of_range", form.timeout_seconds)
    if form.expires_in_seconds is not None and not 1 <= form.expires_in_seconds <= MAX_EXPIRES_SECONDS:
        yield fault("expires_in_seconds", path, "out_of_range", form.expires_in_seconds)
    if form.run_at is not None or form.delay_seconds is not None:
        yield from _time_faults(form, path)
    if form.tags:
        yield from _tag_faults(form.tags, path)
    if form.labels:
        yield from _label_faults(form.labels, path)
    if form.retry is not None:
        yield from _retry_faults(form.retry, f"{path}/retry")
    if form.concurrency is not None:
        yield from _concurrency_faults(form.concurrency, f"{path}/concurrency")
    if len(memoryview(form.payload)) > MAX_PAYLOAD_BYTES:
        yield too_large(len(memoryview(form.payload)), path)
    if isinstance(form, BulkItem) and form.idempotency_key is not None and not is_idempotency_key(form.idempotency_key):
        yield fault("idempotency_key", path, "invalid_value", form.idempotency_key)


def fault(name: str, path: str, code: str, given: Any) -> Problem:
    """A field that is not what it must be, with the beginning of what was given."""
    shown = repr(given)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    return Problem(path + pointer(name), code, f"{name} must be {EXPECTED[name]}; this is {shown}.")


def too_large(size: int, path: str) -> Problem:
    return Problem(
        f"{path}/payload",
        "payload_too_large",
        f"The payload has {size} bytes and may have {MAX_PAYLOAD_BYTES}. Upload it as an artifact and name the artifact"
        " in the payload; the SDK does so by itself.",
    )


def _time_faults(form: JobForm, path: str) -> Iterator[Problem]:
    run_at, delay = form.run_at, form.delay_seconds
    if run_at is not None and delay is not None:
        message = "run_at and delay_seconds exclude each other; send one of them."
        yield Problem(f"{path}/delay_seconds", "exclusive_fields", message)
    if run_at is not None and (run_at.year < FIRST_YEAR or run_at - clock.now() > MAX_DELAY):
        yield fault("run_at", path, "out_of_range", run_at.isoformat())
    if delay is not None and not 0 <= delay <= MAX_DELAY.total_seconds():
        yield fault("delay_seconds", path, "out_of_range", delay)


def _tag_faults(tags: list[str], path: str) -> Iterator[Problem]:
    if len(tags) > MAX_SELECTORS:
        yield Problem(f"{path}/tags", "too_many", f"There are {len(tags)} selectors; send at most {MAX_SELECTORS}.")
        return
    for index, text in enumerate(tags):
        try:
            parse_selector(text)
        except SelectorError as error:
            message = f"The selector {text[:60]!r} does not parse at character {error.position}: {error.message}."
            yield Problem(f"{path}/tags/{index}", "invalid_selector", message)


def _label_faults(labels: dict[str, str], path: str) -> Iterator[Problem]:
    if len(labels) > MAX_LABELS:
        yield Problem(f"{path}/labels", "too_many", f"There are {len(labels)} labels; send at most {MAX_LABELS}.")
        return
    for name, value in labels.items():
        at = f"{path}/labels{pointer(name)}"
        if not name or len(name) > MAX_LABEL_CHARACTERS or len(value) > MAX_LABEL_CHARACTERS:
            message = f"A label's name has 1 to {MAX_LABEL_CHARACTERS} characters, its value at most as many."
            yield Problem(at[:400], "too_long" if name else "invalid_value", message)
        elif "\0" in name or "\0" in value:  # the database keeps labels as jsonb, which cannot hold it
            yield Problem(at, "invalid_value", "A label cannot hold the character NUL; leave it out.")


def _retry_faults(retry: RetryPolicy, path: str) -> Iterator[Problem]:
    if not 1 <= retry.max_attempts <= MAX_ATTEMPTS:
        yield fault("max_attempts", path, "out_of_range", retry.max_attempts)
    initial_fits = 0 <= retry.initial_seconds <= MAX_BACKOFF_SECONDS
    # The default under a smaller max_seconds is cut to it; a number that was asked for is not changed in silence.
    if not initial_fits or (retry.initial_seconds > max(retry.max_seconds, _DEFAULT_INITIAL_SECONDS)):
        yield fault("initial_seconds", path, "out_of_range", retry.initial_seconds)
    if not 1 <= retry.factor <= MAX_BACKOFF_FACTOR:
        yield fault("factor", path, "out_of_range", retry.factor)
    if not 0 <= retry.max_seconds <= MAX_BACKOFF_SECONDS:
        yield fault("max_seconds", path, "out_of_range", retry.max_seconds)
    if not 0 <= retry.jitter <= 1:
        yield fault("jitter", path, "out_of_range", retry.jitter)


def _concurrency_faults(concurrency: Concurrency, path: str) -> Iterator[Problem]:
    key = concurrency.key
    if not 0 < len(key) <= MAX_CONCURRENCY_KEY_CHARACTERS or "\0" in key:
        yield fault("key", path, "invalid_value", key)
    if not 1 <= concurrency.limit <= MAX_CONCURRENCY_LIMIT:
        yield fault("limit", path, "out_of_range", concurrency.limit)
