"""What one process knows of an endpoint: how much may go to it at once, and whether it is left alone for a while.

A circuit breaker of its own for each, so that an endpoint which hangs costs the others nothing: nobody knows it at
first, so little goes at once; with each success twice as much, with each failure in a row half as much, down to one;
after BREAK_AFTER in a row nothing, for a time that doubles; then one as a test. What was under way when a failure was
counted counts no second one.
Refuses: to hold anything that the database must know.
"""

FIRST = 1
AT_ONCE = 16
BREAK_AFTER = 8
BREAK_SECONDS = 5.0
LONGEST_BREAK_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 3_600.0  # of what an endpoint itself asks for
FORGOTTEN_SECONDS = 60.0  # after its last use


class Endpoint:
    """`now` is of `time.monotonic` everywhere."""

    __slots__ = ("failures", "held_until", "in_flight", "used_at", "window")

    def __init__(self) -> None:
        self.in_flight = 0
        self.failures = 0  # in a row
        self.window = FIRST
        self.held_until = 0.0
        self.used_at = 0.0

    def room(self, now: float) -> int:
        """How many more may go now."""
        if now < self.held_until:
            return 0
        limit = 1 if self.failures >= BREAK_AFTER else max(1, self.window >> self.failures)
        return max(0, limit - self.in_flight)

    def began(self) -> int:
        """One goes; answers what `ended` wants to know again."""
        self.in_flight += 1
        return self.failures

    def ended(self, now: float, seen: int, *, good: bool, asked_seconds: float | None = None) -> None:
        """One is over; `asked_seconds` is for how long the endpoint wants nothing."""
        self.in_flight -= 1
        self.used_at = now
        if good:
            self.failures, self.held_until = 0, 0.0
            self.window = min(AT_ONCE, 2 * self.window)
            return
        self.held_until = max(self.held_until, now + min(asked_seconds or 0.0, LONGEST_HOLD_SECONDS))
        if seen != self.failures:
            return
        self.failures += 1
        if self.failures >= BREAK_AFTER:
            doubled = BREAK_SECONDS * 2.0 ** min(self.failures - BREAK_AFTER, 10)
            self.held_until = max(self.held_until, now + min(doubled, LONGEST_BREAK_SECONDS))

    def forgettable(self, now: float) -> bool:
        """Whether it may be as one that nobody knows."""
        rests_until = max(self.held_until, self.used_at + FORGOTTEN_SECONDS)
        return not self.in_flight and not self.failures and now >= rests_until
