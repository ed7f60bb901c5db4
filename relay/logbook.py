"""What attempts say, gathered for a moment and kept in rows, sealed (decision 18).

A chunk an attempt and second, with how its log stands; the last one when the attempt is decided, at once. A relay that
is killed loses what was said in its last second, as long as the database answers. Bounded: `log_bytes` of the
environment an attempt, and what this process holds; lines beyond are counted, so that the reader is told. An attempt
that says nothing costs nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice
from uuid import UUID

import msgspec
import structlog

from relay.attempt import Attempt
from storage.postgres.database import Database
from storage.postgres.log.log import Chunk, Standing, keep_logs, read_limits
from waypost.clock import monotonic
from waypost.job.record import log_place
from waypost.limit.decision import in_force
from waypost.limit.model import LOG_BYTES

MAX_LINE_CHARACTERS = 8_000
MAX_LEVEL_CHARACTERS = 20
LINE_BYTES = 40  # that a line takes beside its message
CHUNK_BYTES = 64 << 10
MAX_PENDING_BYTES = 1 << 20  # of one attempt, between two flushes
MAX_HELD_BYTES = 32 << 20  # of all, also while there is no database
BATCH = 500  # attempts a commit
FRESH_SECONDS = 5.0

_log = structlog.get_logger("relay.logbook")
_encode = msgspec.json.Encoder().encode


class Said:
    """The log of one attempt: what is not in a row yet, and the sums from its beginning."""

    __slots__ = ("bytes", "closed", "dropped", "full", "lines", "pending", "pending_bytes")

    def __init__(self) -> None:
        self.pending: list[tuple[int, str, str]] = []  # at_ms, level, message
        self.pending_bytes = 0
        self.lines = self.bytes = self.dropped = 0
        self.full = False  # its limit is reached
        self.closed = False


class Logbook:
    """The logs of a relay's attempts. `urgent`: an attempt was decided, its last lines are to be kept now."""

    def __init__(self, database: Database, default_limits: Mapping[str, int]) -> None:
        self._database, self._defaults = database, default_limits
        self._limits: dict[UUID, tuple[float, int]] = {}
        self._told: dict[Attempt, None] = {}
        self._chunks: list[Chunk] = []
        self._standings: dict[tuple[UUID, int], Standing] = {}
        self._held = 0  # bytes
        self.urgent = False

    def add(self, attempt: Attempt, at_ms: int, level: str, message: str) -> bool:
        """Note a line; False when it is only counted: too much was said for now."""
        said: Said = attempt.log
        if said is None:
            said = attempt.log = Said()
        self._told[attempt] = None
        size = _size(message)
        if said.full or said.pending_bytes + size > MAX_PENDING_BYTES or self._held + size > MAX_HELD_BYTES:
            said.dropped += 1
            return False
        said.pending.append((at_ms, level, message))
        said.pending_bytes += size
        self._held += size
        return True

    def close(self, attempt: Attempt) -> None:
        """The attempt is decided."""
        if attempt.log is not None:
            attempt.log.closed = True
            self._told[attempt] = None
            self.urgent = True

    async def flush(self) -> None:
        """Keep everything that was said. Without a database it is held for the next time."""
        self.urgent = False
        try:
            while self._told:
                told = list(islice(self._told, BATCH))
                await self._learn({attempt.environment_id for attempt in told})
                for attempt in told:
                    self._told.pop(attempt, None)
                    self._write(attempt)
                await self._keep()
                await asyncio.sleep(0)
            await self._keep()
        except Exception as error:  # noqa: BLE001 - whatever the database says, it is told again
            _log.warning("log.delayed", chunks=len(self._chunks), error=str(error))

    async def _keep(self) -> None:
        """Also what the database did not take before; when it does not take it now, nothing is forgotten."""
        chunks, standings = list(self._chunks), dict(self._standings)
        if not standings:
            return
        await keep_logs(self._database, chunks, list(standings.values()))
        del self._chunks[: len(chunks)]
        self._held -= sum(len(chunk.lines) for chunk in chunks)
        for key, standing in standings.items():
            if self._standings.get(key) is standing:
                del self._standings[key]

    def _write(self, attempt: Attempt) -> None:
        """Turn what is pending into sealed chunks, as far as the environment's limit goes."""
        said: Said = attempt.log
        limit = self._limits.get(attempt.environment_id, (0.0, self._defaults[LOG_BYTES]))[1]
        pending, said.pending = said.pending, []
        self._held -= said.pending_bytes
        said.pending_bytes = 0
        lines: list[dict[str, object]] = []
        size = 0
        for at_ms, level, message in pending:
            more = _size(message)
            if said.full or said.bytes + more > limit:
                said.full = True  # the first line that does not fit is the end
                said.dropped += 1
                continue
            lines.append({"at": at_ms, "level": level, "message": message})
            said.bytes += more
            size += more
            if size >= CHUNK_BYTES:
                self._seal(attempt, lines)
                lines, size = [], 0
        if lines:
            self._seal(attempt, lines)
        self._standings[attempt.job_id, attempt.number] = Standing(
            attempt.environment_id, attempt.job_id, attempt.number, said.lines, said.bytes, said.dropped, said.closed
        )

    def _seal(self, attempt: Attempt, lines: Sequence[dict[str, object]]) -> None:
        said: Said = attempt.log
        place = log_place(attempt.job_id, attempt.number, said.lines)
        sealed = attempt.data_key.seal(place, _encode(lines))
        self._chunks.append(Chunk(attempt.environment_id, attempt.job_id, attempt.number, said.lines, sealed))
        self._held += len(sealed)
        said.lines += len(lines)

    async def _learn(self, environment_ids: set[UUID]) -> None:
        """The limits of these environments, at most `FRESH_SECONDS` old."""
        now = monotonic()
        unknown = [one for one in environment_ids if self._limits.get(one, (0.0, 0))[0] < now]
        if not unknown:
            return
        found = await read_limits(self._database, unknown)
        if len(self._limits) > 10_000:
            self._limits.clear()
        for one in unknown:
            above, own = found.get(one, ({}, {}))
            self._limits[one] = (now + FRESH_SECONDS, in_force(self._defaults, above, own)[LOG_BYTES])


def _size(message: str) -> int:
    return len(message.encode(errors="replace")) + LINE_BYTES
