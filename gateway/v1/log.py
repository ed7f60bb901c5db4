"""What the attempts of a job said: by range, page by page, and as it comes (native contract §3.2)."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from msgspec import Struct

from gateway.endpoint import Call, E, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer
from gateway.page import Page, cursor_after, page_of
from gateway.reading import read_job
from gateway.v1.job import whole_number
from storage.postgres.ledger.record import read_job as read_record
from storage.postgres.log import log as rows
from waypost import clock, errors
from waypost.access.model import Permission
from waypost.errors import Category, WaypostError
from waypost.job.decision import is_end
from waypost.job.record import AttemptLog, JobRecord, LogPiece, log_place
from waypost.secret import DataKey

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
MAX_ANSWER_BYTES = 4 << 20
MAX_PIECES = 64  # looked at for one answer
MAX_WAIT_SECONDS = 30
LOOK_SECONDS = 0.5
SETTLES = timedelta(seconds=3)  # after a job's end, whatever its relay still had to keep is kept, or lost


class LogView(Struct, frozen=True):
    """One line; lines of an attempt are numbered from 0."""

    at: datetime
    attempt: int
    level: str
    message: str
    line: int


class AttemptLogView(Struct, frozen=True):
    """`truncated`: some of what the attempt said is not kept, `dropped_lines` of it."""

    attempt: int
    lines: int
    bytes: int
    dropped_lines: int
    truncated: bool


class LogPage(Struct):
    """`next_cursor`: there is more now. `follow_cursor`: there may be more later; null when nothing more will come."""

    items: list[LogView]
    next_cursor: str | None
    follow_cursor: str | None
    complete: bool
    attempts: list[AttemptLogView]


class _Line(Struct):
    at: int
    level: str
    message: str


class _Asked(Struct, frozen=True):
    """`start` is (attempt, line); a negative line counts from the attempt's end."""

    attempt: int | None
    start: tuple[int, int]
    limit: int
    wait_seconds: float
    page: Page


_decode = msgspec.json.Decoder(list[_Line]).decode


@endpoint(
    "GET",
    E + "/jobs/{job}/logs",
    summary="What the attempts of a job logged, in order",
    permission=Permission.OPERATE_ENVIRONMENT,
    query=(
        Parameter("attempt", "Only of this attempt (its number).", int),
        Parameter("from", "Of that attempt, from this line on; -100: the last 100. Lines are numbered from 0.", int),
        Parameter("limit", f"How many lines, 1 to {MAX_LIMIT:,} (default {DEFAULT_LIMIT:,}).", int),
        Parameter("cursor", "`next_cursor` or `follow_cursor` of the answer before."),
        Parameter("wait_seconds", f"When there is nothing more, wait so long for it, 0 to {MAX_WAIT_SECONDS}.", float),
    ),
    answer=LogPage,
)
async def read_logs(call: Call) -> Answer:
    """Lines are kept within about a second of being said; a page holds at most 4 MiB."""
    job_id = call.identifier("job", "job")
    asked = _asked(call, job_id)
    record = await read_job(call, job_id)
    until = clock.monotonic() + asked.wait_seconds
    while True:
        page = await _page(call, record, asked)
        if page.items or page.complete or call.services.stopping or clock.monotonic() >= until:
            return ok(page)
        await asyncio.sleep(min(LOOK_SECONDS, max(0.0, until - clock.monotonic())))
        async with call.services.reading(call.environment) as connection:
            found = await read_record(connection, call.environment.id, job_id, bodies=False)
        if found is None:
            raise errors.not_found("job")
        record = found


def _asked(call: Call, job_id: UUID) -> _Asked:
    """The query; raises 422."""
    query = call.query
    attempt = whole_number(query, "attempt", 1, 1_000)
    limit = whole_number(query, "limit", 1, MAX_LIMIT)
    start = whole_number(query, "from", -(2**31), 2**31 - 1)
    if start is not None and attempt is None:
        raise errors.invalid("invalid_parameter", "from is a line of an attempt: name the attempt, too.", "/from")
    page = page_of({"cursor": query.get("cursor", [""])}, "logs", job_id, attempt)
    if page.after is not None:
        where = page.after.int >> 64, page.after.int & (2**64 - 1)
        if not (0 <= where[0] <= 1_000 and where[1] < 2**31):
            raise errors.invalid("invalid_cursor", "This cursor is not of this list.", "/cursor")
    else:
        where = attempt or 0, start or 0
    return _Asked(attempt, where, limit or DEFAULT_LIMIT, _wait_seconds(query), page)


def _wait_seconds(query: dict[str, list[str]]) -> float:
    try:
        seconds = float(query.get("wait_seconds", ["0"])[0])
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise errors.invalid("invalid_parameter", f"wait_seconds is from 0 to {MAX_WAIT_SECONDS}.", "/wait_seconds")
    return seconds


async def _page(call: Call, record: JobRecord, asked: _Asked) -> LogPage:
    """What there is now. How the logs stand is read first: what they say is there, the pieces then hold."""
    async with call.services.reading(call.environment) as connection:
        standings = await rows.read_standings(connection, call.environment.id, record.id)
        start = _place(asked, standings)
        pieces = await rows.read_pieces(connection, call.environment.id, record.id, asked.attempt, start, MAX_PIECES)
    key = await call.services.environment_keys.data_key(call.environment.id)
    reader = _Reader(call, record.id, key, start, asked.limit)
    for piece in pieces:
        if reader.full:
            break
        await reader.take(piece)
    more = reader.full or len(pieces) == MAX_PIECES
    complete = not more and _is_over(record, standings, asked.attempt)
    cursor = None if complete else cursor_after(asked.page, UUID(int=reader.at[0] << 64 | reader.at[1]))
    return LogPage(reader.lines, cursor if more else None, cursor, complete, [_view(one) for one in standings])


def _place(asked: _Asked, standings: Sequence[AttemptLog]) -> tuple[int, int]:
    number, line = asked.start
    if line < 0:
        line = max(0, sum(one.lines for one in standings if one.number == number) + line)
    return number, line


def _is_over(record: JobRecord, standings: Sequence[AttemptLog], attempt: int | None) -> bool:
    """Whether nothing more will come: of the attempt, or of the job."""
    standing = {one.number: one for one in standings}
    if attempt is not None and attempt in standing and standing[attempt].closed:
        return True
    if attempt is not None and attempt < record.number and record.started_at is not None:
        return clock.now() - record.started_at > SETTLES
    if not is_end(record.state) or record.finished_at is None:
        return False
    last = standing.get(record.number)
    return (last is not None and last.closed) or clock.now() - record.finished_at > SETTLES


def _view(one: AttemptLog) -> AttemptLogView:
    return AttemptLogView(one.number, one.lines, one.bytes, one.dropped_lines, one.dropped_lines > 0)


class _Reader:
    """Takes lines from pieces in order, each once: a piece may begin before the line that is next."""

    def __init__(self, call: Call, job_id: UUID, key: DataKey, start: tuple[int, int], limit: int) -> None:
        self._call, self._job_id, self._key, self._limit = call, job_id, key, limit
        self._bytes = 0
        self.at = start  # the next line
        self.lines: list[LogView] = []

    @property
    def full(self) -> bool:
        return len(self.lines) >= self._limit or self._bytes >= MAX_ANSWER_BYTES

    async def take(self, piece: LogPiece) -> None:
        number, first = piece.number, piece.first_line
        for offset, line in enumerate(await self._open(piece)):
            place = number, first + offset
            if place < self.at:
                continue
            if self.full:
                return
            at = datetime.fromtimestamp(line.at / 1000, UTC)
            self.lines.append(LogView(at, number, line.level, line.message, place[1]))
            self._bytes += len(line.message) + 100
            self.at = number, place[1] + 1

    async def _open(self, piece: LogPiece) -> list[_Line]:
        sealed, in_bucket = piece.lines, piece.object_key is not None
        if piece.object_key is not None:
            try:
                sealed = await self._call.services.objects.get(self._call.environment.id, piece.object_key)
            except WaypostError as error:
                if error.category is Category.NOT_FOUND:  # retention has taken it just now
                    self.at = max(self.at, (piece.number, piece.first_line + piece.line_count))
                    return []
                raise
        place = log_place(self._job_id, piece.number, piece.first_line, in_bucket=in_bucket)
        return _decode(self._key.open(place, sealed or b""))


ENDPOINTS: list[Endpoint] = [read_logs]
