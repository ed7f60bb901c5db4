"""What one process knows of an endpoint: how much may go to it at once, and whether it is left alone for a while.

A circuit breaker of its own for each, so that an endpoint which hangs costs the others nothing: nobody knows it at
first, so little goes at once; with each success twice as much, with each failure in a row half as much, down to one;
after BREAK_AFTER in a row nothing, for a time that doubles; then one as a test. What was under way when a failure was
counted counts no second one.
What one worker sees the others hear (`jobs.breaker`), and one of them tests.
Refuses: to hold anything that the database must know.
"""

FIRST = 1
AT_ONCE = 16
BREAK_AFTER = 8
BREAK_SECONDS = 5.0
LONGEST_BREAK_SECONDS = 60.0
LONGEST_HOLD_SECONDS = 3_600.0  # of what an endpoint itself asks for
FORGOTTEN_SECONDS = 60.0  # after its last use
FORGIVEN_SECONDS = 3_600.0  # one that failed
ASK_AGAIN_SECONDS = 5.0  # who may test it
NEWS_SECONDS = 1.0


class Endpoint:
    """`now` is of `time.monotonic` everywhere."""

    __slots__ = (
        "ask_at",
        "failures",
        "held_until",
        "in_flight",
        "known",
        "test_until",
        "told_until",
        "used_at",
        "window",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.failures = 0  # in a row
        self.window = FIRST
        self.held_until = 0.0
        self.used_at = 0.0
        self.known = False  # to the other workers, as one that fails
        self.told_until = 0.0  # the hold that they were told of
        self.ask_at = 0.0  # not before: whether this worker may test it
        self.test_until = 0.0  # this worker may

    def room(self, now: float) -> int:
        """How many more may go now."""
        if now < self.held_until:
            return 0
        if self.failures >= BREAK_AFTER:
            return max(0, int(now < self.test_until) - self.in_flight)
        return max(0, max(1, self.window >> self.failures) - self.in_flight)

    def wants_test(self, now: float) -> bool:
        """Whether its break is over and nobody was asked lately who tests it."""
        return self.failures >= BREAK_AFTER and now >= max(self.held_until, self.test_until, self.ask_at)

    def asked(self, now: float, granted_seconds: float) -> None:
        """The answer: for how long this worker alone may send it one; 0: another one does."""
        self.ask_at = now + ASK_AGAIN_SECONDS
        self.test_until = now + granted_seconds

    def heard(self, now: float, failures: int, seconds: float) -> None:
        """What another worker says of it: failures in a row and how long to leave it alone; no failures: it is well."""
        self.known = failures > 0
        if not failures:
            self.failures, self.held_until = 0, 0.0
            return
        self.used_at = now
        self.failures = max(self.failures, failures)
        self.held_until = max(self.held_until, now + min(seconds, LONGEST_HOLD_SECONDS))
        self.told_until = self.held_until

    def to_tell(self, now: float) -> tuple[int, float] | None:
        """What the others should hear, as `heard` takes it, if it is news. A hold that moved by little is none."""
        if not self.failures and self.known:
            self.known, self.told_until = False, 0.0
            return 0, 0.0
        if self.held_until <= max(now, self.told_until + NEWS_SECONDS):
            return None
        self.known, self.told_until = True, self.held_until
        return self.failures, self.held_until - now

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
        self.test_until = 0.0
        self.failures += 1
        if self.failures >= BREAK_AFTER:
            doubled = BREAK_SECONDS * 2.0 ** min(self.failures - BREAK_AFTER, 10)
            self.held_until = max(self.held_until, now + min(doubled, LONGEST_BREAK_SECONDS))

    def forgettable(self, now: float) -> bool:
        """Whether it may be as one that nobody knows."""
        rests = FORGIVEN_SECONDS if self.failures else FORGOTTEN_SECONDS
        return not self.in_flight and now >= max(self.held_until, self.used_at + rests)
