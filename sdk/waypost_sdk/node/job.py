"""What a handler gets as `job`: who it is, how long it has, and a way to say how it goes.

Everything here may be used from async functions and from plain ones in their threads. It refuses nothing after the end:
progress and log lines of a job that has ended are dropped.
"""

import asyncio
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from waypost_sdk.node.artifact import Access, JobArtifacts
    from waypost_sdk.node.function import Function
    from waypost_sdk.node.outbox import Outbox

MAX_MESSAGE_CHARACTERS = 8_000
LEVELS = ("debug", "info", "warning", "error")


class _Done:
    """Already done; may be awaited, need not be."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield  # makes this a generator


_DONE = _Done()


class RunningJob:
    """One attempt at a job on this node. Handlers get it as their first argument; nobody else makes one."""

    __slots__ = (
        "_access",
        "_job_id",
        "_outbox",
        "_task",
        "attempt_id",
        "canceled",
        "deadline_at",
        "function",
        "number",
        "tags",
        "timed_out",
        "traceparent",
    )

    def __init__(
        self,
        attempt_id: int,
        job_id: bytes,
        function: "Function",
        outbox: "Outbox",
        *,
        number: int = 1,
        deadline_ms: int = 0,
        tags: tuple[str, ...] = (),
        traceparent: str = "",
        access: "Access | None" = None,
    ) -> None:
        self.attempt_id = attempt_id  # the fence; changes with every try
        self._job_id = job_id
        self._outbox = outbox
        self._access = access
        self._task: asyncio.Task[None] | None = None
        self.function = function
        self.number = number  # 1 for the first try
        self.deadline_at = time.monotonic() + deadline_ms / 1000 if deadline_ms > 0 else float("inf")
        self.tags = tags  # those of this node
        self.traceparent = traceparent  # W3C trace context, "" when the submitter sent none
        self.canceled = False  # True once somebody canceled the job, or its time is up
        self.timed_out = False

    @property
    def id(self) -> str:
        """The job's id, the same for every attempt."""
        return str(UUID(bytes=self._job_id))

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt at this job: give it to whatever must happen once. It is the job's id."""
        return self.id

    @property
    def remaining_seconds(self) -> float:
        """Seconds until this attempt counts as timed out; negative after it."""
        return self.deadline_at - time.monotonic()

    @property
    def deadline(self) -> datetime | None:
        """When this attempt counts as timed out, UTC, by this machine's clock; None without a limit."""
        left = self.remaining_seconds
        return None if left == float("inf") else datetime.now(UTC) + timedelta(seconds=left)

    @property
    def artifacts(self) -> "JobArtifacts[Any]":
        """Put and get artifacts of any size: `await job.artifacts.put(…)` in async functions, without `await` in plain
        ones. What is put is noted with this job."""
        if self._access is None:
            raise RuntimeError("this job runs on no node")
        return self._access.of(self.id, is_async=self.function.is_async)

    def progress(self, fraction: float, message: str = "") -> _Done:
        """Tell how far it is, 0.0 … 1.0. Sent soon; only the newest counts. `await` is allowed, not needed.

        Raises ValueError for a fraction outside 0 … 1.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress is a fraction from 0.0 to 1.0, not {fraction!r}")
        self._outbox.progress(self.attempt_id, float(fraction), message[:MAX_MESSAGE_CHARACTERS])
        return _DONE

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Add a line to the job's log; `fields` are appended as `key=value`. Raises ValueError for an unknown level."""
        if level not in LEVELS:
            raise ValueError(f"level is one of {', '.join(LEVELS)}, not {level!r}")
        text = str(message) + _appended(fields)
        self._outbox.log(self.attempt_id, time.time_ns() // 1_000_000, level, text[:MAX_MESSAGE_CHARACTERS])

    def _print(self, stream: str, line: str) -> None:
        """A line that the handler printed."""
        self._outbox.log(self.attempt_id, time.time_ns() // 1_000_000, stream, line)


def _appended(fields: Mapping[str, Any]) -> str:
    return "".join(f" {key}={value}" for key, value in fields.items())
