"""What attempts say until it is in rows: bounded, counted when it is too much, kept while the database is away."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from waypost_contracts.waypost_frame_pb2 import LogLine, Started

from relay import logbook
from relay.attempt import Attempt
from relay.logbook import Logbook
from storage.postgres.log.log import Chunk, Standing
from tests.relay.fake_node import FakeNode
from tests.relay.ground import Environment, until
from waypost.ids import new_id
from waypost.job.model import Policy
from waypost.job.record import log_place
from waypost.limit.decision import defaults
from waypost.secret import DataKey

KEY = DataKey(bytes(32))
ENVIRONMENT = new_id()


class Rows:
    """In place of the database: what it was told, and whether it is there."""

    def __init__(self, limit: int) -> None:
        self.limit, self.away = limit, False
        self.chunks: dict[tuple[UUID, int], Chunk] = {}
        self.standings: dict[UUID, Standing] = {}

    async def keep(self, _database: Any, chunks: list[Chunk], standings: list[Standing]) -> None:
        if self.away:
            raise OSError("away")
        for chunk in chunks:
            assert self.chunks.setdefault((chunk.job_id, chunk.first_line), chunk) == chunk
        self.standings |= {standing.job_id: standing for standing in standings}

    async def limits(self, _database: Any, ids: list[UUID]) -> dict[UUID, tuple[dict[str, int], dict[str, int]]]:
        return {one: ({}, {"log_bytes": self.limit}) for one in ids}

    def lines(self, attempt: Attempt) -> list[str]:
        """Of all its chunks, in order; they leave no gap."""
        found: list[str] = []
        for (job, first), chunk in sorted(self.chunks.items(), key=lambda pair: pair[0][1]):
            if job == attempt.job_id:
                assert first == len(found)
                found += [line["message"] for line in json.loads(KEY.open(log_place(job, 1, first), chunk.lines))]
        return found


def an_attempt() -> Attempt:
    return Attempt(
        id=1, job_id=new_id(), environment_id=ENVIRONMENT, route=1, rank=1, number=1, function="f", policy=Policy(),
        data_key=KEY, node=None,
    )  # fmt: skip


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    made = Rows(limit=4 << 20)
    monkeypatch.setattr(logbook, "keep_logs", made.keep)
    monkeypatch.setattr(logbook, "read_limits", made.limits)
    return made


@pytest.fixture
def book() -> Logbook:
    return Logbook(None, defaults({}))  # type: ignore[arg-type]  # nobody asks it


async def test_a_silent_attempt_costs_nothing(book: Logbook, rows: Rows) -> None:
    """No object, no row, no flush that is due."""
    attempt = an_attempt()
    book.close(attempt)
    assert (attempt.log, book.urgent) == (None, False)
    await book.flush()
    assert rows.standings == {}


async def test_lines_are_numbered_over_all_chunks(book: Logbook, rows: Rows) -> None:
    """A chunk a flush, more when there is much; the last one says that nothing more will come."""
    attempt = an_attempt()
    for number in range(3):
        assert book.add(attempt, 1, "info", f"{number}")
    await book.flush()
    assert not rows.standings[attempt.job_id].closed
    for number in range(3, 200):
        book.add(attempt, 1, "info", f"{number}" + "x" * 1_000)
    book.close(attempt)
    assert book.urgent
    await book.flush()
    assert [line.rstrip("x") for line in rows.lines(attempt)] == [str(number) for number in range(200)]
    assert len(rows.chunks) == 5  # 64 KiB or so each
    standing = rows.standings[attempt.job_id]
    assert (standing.lines, standing.dropped_lines, standing.closed) == (200, 0, True)


async def test_what_is_beyond_the_environments_limit_is_counted(book: Logbook, rows: Rows) -> None:
    """The first line that does not fit is the end, so what is kept has no gap; another attempt has its own limit."""
    rows.limit = 1_000
    attempt, other = an_attempt(), an_attempt()
    for number in range(10):
        book.add(attempt, 1, "info", "x" * 300 if number == 3 else "y" * 200)
    await book.flush()
    assert book.add(attempt, 1, "info", "more") is False
    book.add(other, 1, "info", "other")
    await book.flush()
    assert rows.lines(attempt) == ["y" * 200] * 3
    standing = rows.standings[attempt.job_id]
    assert (standing.lines, standing.bytes, standing.dropped_lines) == (3, 720, 8)
    assert rows.lines(other) == ["other"]


async def test_without_a_database_lines_are_held_up_to_a_bound(
    book: Logbook, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost below it, nothing is doubled, and what is above it is counted."""
    monkeypatch.setattr(logbook, "MAX_HELD_BYTES", 5_000)
    attempt = an_attempt()
    rows.away = True
    taken = 0
    for number in range(20):
        taken += book.add(attempt, 1, "info", f"{number}" + "x" * 500)
        await book.flush()
    assert 5 < taken < 20
    rows.away = False
    book.close(attempt)
    await book.flush()
    await book.flush()
    assert [line.rstrip("x") for line in rows.lines(attempt)] == [str(number) for number in range(taken)]
    assert rows.standings[attempt.job_id].dropped_lines == 20 - taken
    assert book.add(an_attempt(), 1, "info", "z" * 4_000), "there is room again"


async def test_one_attempt_cannot_fill_a_relay_between_two_flushes(book: Logbook, rows: Rows) -> None:
    """A mebibyte of it is held; the rest is counted, others go on."""
    loud, quiet = an_attempt(), an_attempt()
    taken = sum(book.add(loud, 1, "info", "x" * 8_000) for _ in range(200))
    assert taken == (1 << 20) // 8_040
    assert book.add(quiet, 1, "info", "hush")
    await book.flush()
    assert rows.standings[loud.job_id].dropped_lines == 200 - taken
    assert rows.lines(quiet) == ["hush"]


async def test_a_killed_relay_loses_at_most_its_last_second(start_relay: Any, environment: Environment) -> None:
    """What was said before is in rows, and readable, though nobody closed the log."""
    relay = await start_relay()
    token = environment.token(await environment.credential())
    node = await FakeNode(relay.address, token, None).join(functions=["f"])
    [job] = await environment.submit("f")
    attempt = (await asyncio.wait_for(node.assigned.get(), 10)).attempt_id
    said = [LogLine(attempt_id=attempt, at_ms=5, level="info", message=f"line {n}") for n in range(3)]
    await node.frame(started=[Started(attempt_id=attempt)], log=said)

    async def stored() -> Any:
        return await environment.ground.admin.fetchrow("select * from control.attempt_log where job_id = $1", job)

    standing = await until(stored)
    relay.kill()
    assert (standing["lines"], standing["closed"]) == (3, False)
    rows = await environment.ground.admin.fetch("select * from control.job_log where job_id = $1", job)
    opened = [environment.data_key.open(log_place(job, 1, row["sequence"]), row["lines"]) for row in rows]
    assert [line["message"] for chunk in opened for line in json.loads(chunk)] == ["line 0", "line 1", "line 2"]
