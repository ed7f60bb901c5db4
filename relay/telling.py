"""Says what happened, to whoever listens: states, progress, log lines. Messages can be lost; what must not be is a row.

Progress and logs are gathered for a moment (a node may report a thousand times a second): the last progress of a job is
published and kept in Valkey for readers, log lines are published and kept by `relay.logbook`.
"""

import asyncio
from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec
import structlog

from jobs import wake
from relay.attempt import Attempt
from relay.logbook import MAX_LEVEL_CHARACTERS, MAX_LINE_CHARACTERS, Logbook
from relay.refusal import Refusals
from storage.postgres.database import Database
from storage.valkey.client import Valkey
from waypost.errors import WaypostError
from waypost.job.model import JobState

FLUSH_SECONDS = 0.1
STORE_EVERY = 10  # flushes between two stores of log lines: a chunk a second
PROGRESS_SECONDS = 3_600  # how long the last progress is readable after it was made
MAX_MESSAGE_CHARACTERS = 1_000

OnReturned = Callable[[UUID, tuple[int, int], str | None], None]

_log = structlog.get_logger("relay.telling")


def progress_key(job_id: UUID) -> str:
    """Where the last progress of a running job is kept: JSON `[fraction, message]`."""
    return f"wp:progress:{job_id}"


class Publisher:
    """The `Telling` of a relay. `on_returned` and `on_slot` are the claimer's ears."""

    def __init__(
        self,
        valkey: Valkey,
        database: Database,
        on_returned: OnReturned,
        on_slot: Callable[[], None],
        default_limits: Mapping[str, int],
    ) -> None:
        self._valkey = valkey
        self.returned, self.slot_freed = on_returned, on_slot
        self._progress: dict[Attempt, tuple[float, str]] = {}
        self._logs = Logbook(database, default_limits)
        self._refusals = Refusals(database)

    def states(self, changes: list[tuple[UUID, UUID, JobState, int]]) -> None:
        for channel, payload in wake.states(changes):
            self._valkey.publish(channel, payload)

    def progress(self, attempt: Attempt, fraction: float, message: str) -> None:
        """`fraction` is cut to 0 … 1; what is no number counts as 0."""
        fraction = min(1.0, max(0.0, fraction)) if fraction == fraction else 0.0
        self._progress[attempt] = (fraction, message[:MAX_MESSAGE_CHARACTERS])

    def log(self, attempt: Attempt, at_ms: int, level: str, message: str) -> None:
        """Publish the line and keep it, unless there is too much of them for now."""
        level, message = level[:MAX_LEVEL_CHARACTERS], message[:MAX_LINE_CHARACTERS]
        if self._logs.add(attempt, at_ms, level, message):
            line = wake.LogLine(attempt.job_id, attempt.number, at_ms, level, message)
            self._valkey.publish(wake.jobs_channel(attempt.environment_id), wake.encode(line))

    def ended(self, attempt: Attempt) -> None:
        """The attempt is decided: its last lines become rows with the next flush."""
        self._progress.pop(attempt, None)
        self._logs.close(attempt)

    def refused(self, environment_id: UUID, job_id: bytes, attempt_id: int, *, result: bool) -> None:
        """An answer came too late: noted at its attempt with one of the next flushes."""
        self._refusals.add(environment_id, job_id, attempt_id, result=result)

    async def run(self) -> None:
        """Flush for ever; when cancelled, what is left is stored by `flush`."""
        turn = 0
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            turn += 1
            self._publish_progress()
            if turn % STORE_EVERY == 0:
                await self.flush()
            elif self._logs.urgent:
                await self._logs.flush()

    async def flush(self) -> None:
        """Keep every line that is not in a row yet, and what was refused."""
        await self._logs.flush()
        await self._refusals.flush()

    def _publish_progress(self) -> None:
        said, self._progress = self._progress, {}
        for attempt, (fraction, message) in said.items():
            body = wake.encode(wake.Progress(attempt.job_id, fraction, message))
            self._valkey.publish(wake.jobs_channel(attempt.environment_id), body)
        if said and self._valkey.connected:
            task = asyncio.create_task(self._keep_progress(said))
            task.add_done_callback(lambda done: done.exception())

    async def _keep_progress(self, said: dict[Attempt, tuple[float, str]]) -> None:
        try:
            for attempt, value in said.items():
                key, body = progress_key(attempt.job_id), msgspec.json.encode(value)
                await self._valkey.execute("SET", key, body, "EX", str(PROGRESS_SECONDS))
        except WaypostError as error:
            _log.debug("progress.lost", error=error.code)
