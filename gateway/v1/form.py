"""What a submission looks like, for the API's description. `waypost.job.specification` is what reads and judges it."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from waypost.job.model import (
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT_SECONDS,
    FUNCTION_PATTERN,
    HIGHEST_PRIORITY,
    MAX_ATTEMPTS,
    MAX_BULK,
    MAX_FUNCTION_CHARACTERS,
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    MAX_SELECTORS,
    MAX_TIMEOUT_SECONDS,
    RetryPolicy,
)

_T = TypeVar("_T")

_RETRY = RetryPolicy()


class NewRetry(Struct, forbid_unknown_fields=True):
    max_attempts: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] = _RETRY.max_attempts
    backoff: Literal["exponential", "fixed", "none"] = "exponential"
    initial_seconds: Annotated[float, Meta(ge=0)] = _RETRY.initial_seconds
    factor: Annotated[float, Meta(ge=1)] = _RETRY.factor
    max_seconds: Annotated[float, Meta(ge=0)] = _RETRY.max_seconds
    jitter: Annotated[float, Meta(ge=0, le=1)] = _RETRY.jitter


class NewConcurrency(Struct, forbid_unknown_fields=True):
    """At most `limit` jobs of this key run at once in the environment."""

    key: Annotated[str, Meta(min_length=1)]
    limit: Annotated[int, Meta(ge=1)]


class NewJob(Struct, forbid_unknown_fields=True):
    """One job. Only `function` is required; the payload is any JSON up to 1 MiB, kept byte for byte."""

    function: Annotated[str, Meta(pattern=FUNCTION_PATTERN, max_length=MAX_FUNCTION_CHARACTERS)]
    payload: Any = None
    tags: Annotated[list[str], Meta(max_length=MAX_SELECTORS, description="Selectors; all must hold.")] = []
    priority: Annotated[int, Meta(ge=0, le=HIGHEST_PRIORITY, description="9 first")] = DEFAULT_PRIORITY
    run_at: datetime | None = None
    delay_seconds: Annotated[float, Meta(ge=0)] | None = None
    timeout_seconds: Annotated[int, Meta(ge=1, le=MAX_TIMEOUT_SECONDS)] = DEFAULT_TIMEOUT_SECONDS
    expires_in_seconds: Annotated[int, Meta(ge=1)] | None = None
    retry: NewRetry | None = None
    concurrency: NewConcurrency | None = None
    labels: Annotated[
        dict[str, Annotated[str, Meta(max_length=MAX_LABEL_CHARACTERS)]], Meta(max_length=MAX_LABELS)
    ] = {}


class NewBulkJob(NewJob, forbid_unknown_fields=True):
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class NewJobs(Struct, forbid_unknown_fields=True):
    jobs: Annotated[list[NewBulkJob], Meta(max_length=MAX_BULK)]


def given(value: _T | UnsetType) -> _T | None:
    """A field of a change: None when it was left out. (Given as null it is refused: no field may be null.)"""
    return None if value is UNSET else value


def location(*parts: object) -> tuple[bytes, bytes]:
    """The Location header of something below an organization: `location(org, "projects", project)`."""
    return b"location", ("/v1/orgs/" + "/".join(str(part) for part in parts)).encode()
