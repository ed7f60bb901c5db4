"""Timers: every step tells what it did, failures end nothing, a stop is heeded."""

import asyncio
from collections.abc import Iterable
from uuid import UUID

from jobs.timers import DUE_LEAST_SECONDS, DUE_MOST_SECONDS, LIMIT, Timers, run_timers
from jobs.wake import Rewind, States, decode_environment, decode_job
from storage.postgres.ledger.sweep import Swept
from waypost.errors import unavailable
from waypost.ids import new_id
from waypost.job.model import JobState

ENVIRONMENT, JOB = new_id(), new_id()
SWEPT = Swept(
    1, ((ENVIRONMENT, 7, 4),), ((ENVIRONMENT, "c"),), ((ENVIRONMENT, JOB, JobState.EXPIRED, 0),)
)  # fmt: skip


class FakeLedger:
    """Answers what it is told to, and counts the asking."""

    def __init__(self) -> None:
        self.swept = Swept()
        self.next_due: float | None = None
        self.away = 0
        self.broken = False
        self.asked: dict[str, int] = {}
        self.released: list[tuple[UUID, str]] = []
        self.recovered = asyncio.Event()

    def _ask(self, name: str) -> None:
        self.asked[name] = self.asked.get(name, 0) + 1

    async def promote_due(self, limit: int = 0) -> Swept:
        self._ask("due")
        if self.broken:
            self.broken = False
            raise RuntimeError("a faulty row")
        if self.away:
            self.away -= 1
            raise unavailable("PostgreSQL")
        self.recovered.set()
        return self.swept

    async def next_due_seconds(self) -> float | None:
        return self.next_due

    async def expire(self, limit: int = 0) -> Swept:
        self._ask("expire")
        return self.swept

    async def sweep_lost(self, limit: int = 0, *, thorough: bool = False) -> Swept:
        self._ask("thorough" if thorough else "lost")
        return self.swept

    async def sweep_canceled(self, limit: int = 0) -> Swept:
        self._ask("canceled")
        return self.swept

    async def release_holds(self, lines: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, int, int]]:
        self.released += lines
        return [(environment_id, 9, 0) for environment_id, _ in self.released]

    async def held_lines(self) -> list[tuple[UUID, str]]:
        return [(ENVIRONMENT, "held")]

    async def fold_counts(self, limit: int = 0) -> int:
        self._ask("fold")
        return 0

    async def forget_idempotency(self, limit: int = 0) -> int:
        self._ask("idempotency")
        return 0

    async def make_partitions(self) -> int:
        self._ask("partitions")
        return 0


class FakeValkey:
    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    def publish(self, channel: str, payload: bytes) -> None:
        self.published.append((channel, payload))


async def test_what_a_sweep_did_is_told_to_relays_and_readers() -> None:
    """Queues that got work are woken, ends are told, lines are moved and what they let in is woken too."""
    for step in ("due", "lost", "expiry", "cancels"):
        ledger, valkey = FakeLedger(), FakeValkey()
        ledger.swept = SWEPT
        await getattr(Timers(ledger, valkey), step)()
        messages = [decode_environment(payload) or decode_job(payload) for _, payload in valkey.published]
        assert messages == [Rewind(((7, 4),)), States(((JOB, JobState.EXPIRED, 0),)), Rewind(((9, 0),))], step
        assert ledger.released == [(ENVIRONMENT, "c")]


async def test_due_jobs_are_looked_for_when_the_next_one_is_due() -> None:
    """At most a quarter second from now, at least a little later, at once when there may be more."""
    ledger = FakeLedger()
    timers = Timers(ledger, FakeValkey())
    waits = {None: DUE_MOST_SECONDS, 3600.0: DUE_MOST_SECONDS, 0.1: 0.1, -5.0: DUE_LEAST_SECONDS}
    for ledger.next_due, seconds in waits.items():
        assert await timers.due() == seconds
    ledger.swept = Swept(LIMIT)
    assert await timers.due() == 0.0


async def test_the_first_look_for_lost_leases_is_thorough_and_then_one_a_minute() -> None:
    """A worker that starts finds what ended sessions left behind while no worker ran."""
    ledger = FakeLedger()
    timers = Timers(ledger, FakeValkey())
    for _ in range(61):
        await timers.lost()
    assert (ledger.asked["thorough"], ledger.asked["lost"]) == (2, 59)


async def test_a_line_whose_release_was_missed_moves_by_the_timer() -> None:
    """Every line that somebody waits in is looked at."""
    ledger, valkey = FakeLedger(), FakeValkey()
    await Timers(ledger, valkey).holds()
    assert ledger.released == [(ENVIRONMENT, "held")]
    assert len(valkey.published) == 1


async def test_timers_outlive_a_database_that_is_away_and_a_faulty_row() -> None:
    """Each step is tried again, and all of them end when told to stop."""
    ledger, stop = FakeLedger(), asyncio.Event()
    ledger.away, ledger.broken = 1, True
    running = asyncio.create_task(run_timers(ledger, FakeValkey(), stop))
    await asyncio.wait_for(ledger.recovered.wait(), 10)
    stop.set()
    await asyncio.wait_for(running, 20)
    assert ledger.asked["due"] >= 3
    assert set(ledger.asked) >= {"due", "expire", "thorough", "canceled", "fold", "idempotency", "partitions"}
