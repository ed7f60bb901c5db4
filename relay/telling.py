"""Says what happened, to whoever listens: states, progress, log lines. Messages can be lost; what must not be is a row.

Progress and logs are gathered for a moment (a node may report a thousand times a second): the last progress of a job is
published and kept in Valkey for readers, log lines are published and kept in control.job_log, sealed, at most 64 KiB an
attempt.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

import msgspec
import structlog

from jobs import wake
from relay.attempt import Attempt
from storage.postgres.database import Database
from storage.postgres.fleet import watch
from storage.valkey.client import Valkey
from waypost.errors import WaypostError
from waypost.job.model import JobState

FLUSH_SECONDS = 0.1
STORE_EVERY = 10  # flushes between two stores of log lines: a chunk a second
PROGRESS_SECONDS = 3_600  # how long the last progress is readable after it was made
MAX_LOG_BYTES = 64 << 10
MAX_LINE_CHARACTERS = 8_000
MAX_LEVEL_CHARACTERS = 20
MAX_MESSAGE_CHARACTERS = 1_000

LogRow = tuple[UUID, UUID, int, int, bytes]
OnReturned = Callable[[UUID, tuple[int, int], str | None], None]

_log = structlog.get_logger("relay.telling")


def progress_key(job_id: UUID) -> str:
    """Where the last progress of a running job is kept: JSON `[fraction, message]`."""
    return f"wp:progress:{job_id}"


class Publisher:
    """The `Telling` of a relay. `on_returned` and `on_slot` are the claimer's ears."""

    def __init__(
        self, valkey: Valkey, database: Database, on_returned: OnReturned, on_slot: Callable[[], None]
    ) -> None:
        self._valkey, self._database = valkey, database
        self.returned, self.slot_freed = on_returned, on_slot
        self._progress: dict[Attempt, tuple[float, str]] = {}
        self._logged: dict[Attempt, None] = {}
        self._rows: list[LogRow] = []

    def states(self, changes: list[tuple[UUID, UUID, JobState, int]]) -> None:
        for channel, payload in wake.states(changes):
            self._valkey.publish(channel, payload)

    def progress(self, attempt: Attempt, fraction: float, message: str) -> None:
        """`fraction` is cut to 0 … 1; what is no number counts as 0."""
        fraction = min(1.0, max(0.0, fraction)) if fraction == fraction else 0.0
        self._progress[attempt] = (fraction, message[:MAX_MESSAGE_CHARACTERS])

    def log(self, attempt: Attempt, at_ms: int, level: str, message: str) -> None:
        """Publish the line and keep it, unless the attempt has used up its 64 KiB."""
        level, message = level[:MAX_LEVEL_CHARACTERS], message[:MAX_LINE_CHARACTERS]
        attempt.log_bytes += len(message.encode()) + 40
        if attempt.log_bytes > MAX_LOG_BYTES:
            return
        line = wake.LogLine(attempt.job_id, attempt.number, at_ms, level, message)
        self._valkey.publish(wake.jobs_channel(attempt.environment_id), wake.encode(line))
        attempt.lines.append((at_ms, level, message))
        self._logged[attempt] = None

    def ended(self, attempt: Attempt) -> None:
        """The attempt is decided: its lines become rows with the next flush."""
        self._progress.pop(attempt, None)
        if attempt.lines:
            self._rows.append(self._chunk(attempt))
        self._logged.pop(attempt, None)

    async def run(self) -> None:
        """Flush for ever; when cancelled, what is left is stored by `flush`."""
        turn = 0
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            turn += 1
            self._publish_progress()
            if self._rows or turn % STORE_EVERY == 0:
                await self.flush()

    async def flush(self) -> None:
        """Store every line that is not stored yet. Without a database they are kept for the next time."""
        self._rows += [self._chunk(attempt) for attempt in self._logged if attempt.lines]
        self._logged.clear()
        rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            await watch.keep_logs(self._database, rows)
        except Exception as error:  # noqa: BLE001 - whatever the database says, it is told again
            _log.warning("log.delayed", chunks=len(rows), error=str(error))
            self._rows = rows + self._rows

    def _chunk(self, attempt: Attempt) -> LogRow:
        lines = [{"at": at_ms, "level": level, "message": message} for at_ms, level, message in attempt.lines]
        attempt.lines = []
        sequence = attempt.log_sequence
        attempt.log_sequence += 1
        place = f"job:{attempt.job_id}:log:{attempt.number}:{sequence}"
        sealed = attempt.data_key.seal(place, msgspec.json.encode(lines))
        return attempt.environment_id, attempt.job_id, attempt.number, sequence, sealed

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
