"""How far somebody has followed what transactions wrote: whole transactions, each exactly once (decision 31).

`control.follower` holds it; whoever holds the row until the commit goes on from there, so what is done with the facts
and how far they are followed are one transaction. Refuses: to go back, and to look at what a transaction in progress
might still add to (`pg_snapshot_xmin` is the bound).
"""

from datetime import datetime
from typing import Any

import msgspec

from storage.postgres.database import Connection

_STANDING = """
select f.xact::text as xact, f.at, pg_snapshot_xmin(s.snapshot)::text as low,
    pg_snapshot_xmax(s.snapshot)::text as high, clock_timestamp() as now
from control.follower f, (select pg_current_snapshot() as snapshot) s where f.name = $1
"""
_HELD = f"{_STANDING} for update of f"
_HELD_AT_ONCE = f"{_HELD} skip locked"
# Never back: its row may have been read before another follower's commit.
_MOVE = """
update control.follower set xact = $2::text::xid8, at = $3 where name = $1 and xact < $2::text::xid8
"""


class Standing(msgspec.Struct, frozen=True):
    """How far it was followed (`xact`, exclusive; no transaction from there on has written before `at`), and the
    transactions as they stand: all before `low` are over, none from `high` on had begun at `now`."""

    xact: int
    at: datetime
    low: int
    high: int
    now: datetime


async def read_standing(connection: Connection, name: str) -> Standing | None:
    """As it is now; None when there is no such follower."""
    return _standing(await connection.fetchrow(_STANDING, name))


async def hold_standing(connection: Connection, name: str, *, wait: bool = False) -> Standing | None:
    """Held until the commit; None when another holds it, unless that is to be waited for."""
    return _standing(await connection.fetchrow(_HELD if wait else _HELD_AT_ONCE, name))


async def move_on(connection: Connection, name: str, xact: int, at: datetime) -> None:
    """Everything of transactions before `xact` is done, and those from there on have written nothing before `at`."""
    await connection.execute(_MOVE, name, str(xact), at)


def _standing(row: Any) -> Standing | None:
    return None if row is None else Standing(int(row["xact"]), row["at"], int(row["low"]), int(row["high"]), row["now"])
