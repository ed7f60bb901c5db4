"""Whether the sums are right: those of hours against ledger and events, those of days against those of hours.

What was added so far and the facts are looked at in one snapshot, so it holds while everything goes on. Facts are kept
for a time (retention), hence a verification reaches back so many hours. Refuses: to mend anything.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

from storage.postgres.database import Connection
from storage.postgres.sql import load
from storage.postgres.usage.roll_up import facts
from waypost.usage.model import HOURS_KEPT, NEWEST, ROLL_UP

_SNAPSHOT = "set transaction isolation level repeatable read, read only"
# Nothing needs an index here, and a plan for the few facts of ten seconds does not suit those of a day.
_PLANNER = "set local plan_cache_mode = force_custom_plan; set local work_mem = '64MB'"
_STANDING = """
select xact::text as xact, date_trunc('hour', now()) - $2::interval as since, now() as now
from control.follower where name = $1
"""


class Difference(msgspec.Struct, frozen=True):
    """One sum that is not that of its facts. None where there is no sum, or are no facts; `at` is where the hour or
    the day begins."""

    environment_id: UUID
    meter: str
    at: datetime
    summed: Decimal | None
    summed_facts: int | None
    told: Decimal | None
    told_facts: int | None


class Compared(msgspec.Struct, frozen=True):
    """How many sums of how many facts were looked at, how many differ, and the first that does."""

    sums: int
    facts: int
    differences: int
    first: Difference | None


class Verified(msgspec.Struct, frozen=True):
    """`hours` from `since` on against ledger and events, and all `days` against their hours."""

    since: datetime
    hours: Compared
    days: Compared

    @property
    def intact(self) -> bool:
        return not self.hours.differences and not self.days.differences


def statement() -> str:
    """What compares sums of hours with facts: parameters as in verify.sql."""
    return f"with facts as (\n{facts()}\n){load('storage.postgres.usage', 'verify')}"


async def verify(connection: Connection, hours: int) -> Verified:
    """Compare everything of the last so many hours, in a transaction that has done nothing yet."""
    await connection.execute(_SNAPSHOT)
    await connection.execute(_PLANNER)
    standing = await connection.fetchrow(_STANDING, ROLL_UP, timedelta(hours=hours))
    since: datetime = standing["since"]
    row = await connection.fetchrow(statement(), "0", standing["xact"], since - NEWEST, since)
    days = await connection.fetchrow(
        load("storage.postgres.usage", "verify_days"), (standing["now"] - HOURS_KEPT + timedelta(days=1)).date()
    )
    return Verified(since, _compared(row), _compared(days))


def _compared(row: Connection) -> Compared:
    first = None
    if row["differences"]:
        names = Difference.__struct_fields__
        first = Difference(**{name: row[name] for name in names})
    return Compared(row["sums"], row["facts"], row["differences"], first)
