"""How often a credential may ask: token buckets in this process, and the headers that tell how much is left.

Each gateway counts for itself: with N gateways behind one address a credential gets up to N times the rate.
"""

from collections import OrderedDict
from collections.abc import Hashable

from waypost.clock import monotonic
from waypost.errors import Category, WaypostError


class Bucket:
    """Holds up to `burst` tokens and gains `rate` a second."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class RateLimit:
    """One bucket a key; the least recently used are forgotten, which only ever gives somebody a full bucket."""

    def __init__(self, rate: float, burst: float, *, size: int = 10_000) -> None:
        self.rate, self.burst, self._size = rate, burst, size
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()
        self.policy = b'"default";q=%d;w=%d' % (burst, max(1, round(burst / rate)))

    def _bucket(self, key: Hashable) -> Bucket:
        now = monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self.burst, now)
            if len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        else:
            bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
            bucket.at = now
        return bucket

    def take(self, key: Hashable) -> int:
        """Take one token; answers how many are left, or -1 when there was none."""
        bucket = self._bucket(key)
        if bucket.tokens < 1:
            return -1
        bucket.tokens -= 1
        return int(bucket.tokens)

    def empty(self, key: Hashable) -> bool:
        """Whether the next `take` would fail; takes nothing."""
        return self._bucket(key).tokens < 1

    def wait_seconds(self, key: Hashable) -> float:
        """Until the next token."""
        return max(0.0, (1 - self._bucket(key).tokens) / self.rate)

    def headers(self, left: int) -> list[tuple[bytes, bytes]]:
        """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) and their older relatives."""
        reset = max(0, round((self.burst - left) / self.rate))
        return [
            (b"ratelimit-policy", self.policy),
            (b"ratelimit", b'"default";r=%d;t=%d' % (left, reset)),
            (b"x-ratelimit-remaining", b"%d" % left),
            (b"x-ratelimit-reset", b"%d" % reset),
        ]


def limited(seconds: float) -> WaypostError:
    """429 with the time after which it is worth trying again."""
    return WaypostError(
        "rate_limited",
        f"This credential asks too often; try again in {max(1, round(seconds))} s.",
        Category.LIMITED,
        retryable=True,
        retry_after_seconds=max(1.0, seconds),
    )
