"""Where a follower of the ledger has to look: from which instant on transactions it has not seen may have written.

Refuses to guess: what is not known of this process's own looks is as the follower's row says.
"""

from collections import deque
from datetime import datetime, timedelta

from storage.postgres.follower import Standing

CLOCK_SLACK = timedelta(seconds=5)  # a transaction may have begun, or waited for a lock, before it got its number
MARKS = 600


class Marks:
    """Transaction numbers at instants that are past: a transaction from `high` on has written nothing before the
    instant at which `high` was the next number. So a look costs what happened lately, and however long a transaction
    lasts, nothing is looked for too late."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, datetime]] = deque(maxlen=MARKS)

    def note(self, standing: Standing) -> None:
        if self._marks and standing.now < self._marks[-1][1]:
            self._marks.clear()  # the clock went back: nothing that is known of it holds
        self._marks.append((standing.high, standing.now))

    def began(self, xact: int) -> datetime | None:
        """An instant before which no transaction from `xact` on has written, the latest that is known."""
        known = [at for high, at in self._marks if high <= xact]
        return known[-1] - CLOCK_SLACK if known else None

    def since(self, standing: Standing) -> datetime:
        """The same for what was not followed yet."""
        return max(standing.at, self.began(standing.xact) or standing.at)

    def following(self, standing: Standing, xact: int) -> datetime:
        """The same for when all before `xact` is followed."""
        return max(self.since(standing), self.began(xact) or standing.at)
