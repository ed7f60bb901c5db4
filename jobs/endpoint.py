"""What one process knows of an endpoint: how much may go to it at once, and whether it is left alone for a while.

A circuit breaker of its own for each, so that an endpoint which hangs costs the others nothing: with each failure in a
row half as much goes at once, down to one; after BREAK_AFTER in a row nothing, for a time that doubles; then one as a
test.
Refuses: to hold anything that the database must know.
"""

AT_ONCE = 8
BREAK_AFTER = 10
BREAK_SECONDS = 5.0
LONGEST_BREAK_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 3_600.0  # of what an endpoint itself asks for


class Endpoint:
    """`now` is of `time.monotonic` everywhere."""

    __slots__ = ("failures", "held_until", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.failures = 0  # in a row
        self.held_until = 0.0

    def room(self, now: float) -> int:
        """How many more may go now."""
        if now < self.held_until:
            return 0
        limit = 1 if self.failures >= BREAK_AFTER else max(1, AT_ONCE >> self.failures)
        return max(0, limit - self.in_flight)

    def began(self) -> None:
        self.in_flight += 1

    def ended(self, now: float, *, good: bool, asked_seconds: float | None = None) -> None:
        """One is over; `asked_seconds` is for how long the endpoint wants nothing."""
        self.in_flight -= 1
        if good:
            self.failures, self.held_until = 0, 0.0
            return
        self.failures += 1
        hold = min(asked_seconds or 0.0, LONGEST_HOLD_SECONDS)
        if self.failures >= BREAK_AFTER:
            doubled = BREAK_SECONDS * 2.0 ** min(self.failures - BREAK_AFTER, 10)
            hold = max(hold, min(doubled, LONGEST_BREAK_SECONDS))
        self.held_until = max(self.held_until, now + hold)

    def forgettable(self, now: float) -> bool:
        """Whether it is like one that nobody knows."""
        return not self.in_flight and not self.failures and now >= self.held_until
