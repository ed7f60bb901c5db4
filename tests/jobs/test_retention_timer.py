"""The timer of retention: what is away delays only what needs it, and what is more is done soon."""

from datetime import date
from uuid import UUID

import pytest

from jobs.retention import AWAY_SECONDS, BITES, EVERY_SECONDS, MORE_SECONDS, Retention
from storage.postgres.ledger.retention.object import ErasedObjects, Objects
from waypost.errors import unavailable


class FakeLedger:
    """Has `slices` of bodies to erase; counts the asking."""

    def __init__(self, slices: int = 0, more: bool = False, away: bool = False) -> None:
        self.slices, self.more, self.away = slices, more, away
        self.asked: list[tuple[str, int, int]] = []

    async def erase_bodies(self, days: int) -> bool:
        self.slices -= 1
        return self.slices > 0

    async def erase_objects(self, objects: Objects, days: int) -> ErasedObjects:
        if self.away:
            raise unavailable("The object store")
        return ErasedObjects()

    async def drop_weeks(self, job_days: int, results_days: int) -> list[date]:
        self.asked.append(("drop", job_days, results_days))
        return []

    async def prune(self, job_days: int, results_days: int) -> bool:
        self.asked.append(("prune", job_days, results_days))
        return self.more


class NoObjects:
    async def delete(self, environment_id: UUID, key: str) -> None:
        raise AssertionError("nothing to delete")


@pytest.mark.parametrize(
    ("ledger", "seconds"),
    [
        (FakeLedger(), EVERY_SECONDS),
        (FakeLedger(slices=3), EVERY_SECONDS),
        (FakeLedger(slices=BITES + 1), MORE_SECONDS),
        (FakeLedger(more=True), MORE_SECONDS),
        (FakeLedger(away=True), AWAY_SECONDS),
    ],
)
async def test_it_looks_every_hour_and_sooner_when_something_is_left(ledger: FakeLedger, seconds: float) -> None:
    """Weeks and remains are looked at whether S3 is there or not."""
    assert await Retention(ledger, NoObjects(), 7, 30).tick() == seconds
    assert ledger.asked == [("drop", 30, 7), ("prune", 30, 7)]
