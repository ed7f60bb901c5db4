"""Which rates bind a request: so many requests a second of its credential, so many jobs a second into an environment.

The limits come from the settings and the organization's record (waypost.limit); the counting is gateway.limit's. Tells
the caller by headers what is left. Refuses with 429 and never for any other reason: rates do not need Valkey.
"""

from collections.abc import Mapping

from gateway.cache import Cache
from gateway.exchange import Exchange
from gateway.limit import RATE_HEADERS, Policy, SharedRate, limited
from gateway.place import Place
from storage.postgres.database import Database
from storage.postgres.tenancy.organization import read_limits
from waypost.access.model import Principal
from waypost.limit.model import BURST_SECONDS, REQUESTS, SUBMISSIONS

CACHE_SECONDS = 5.0


class Allowances:
    """`default` are the limits of the settings, `burst` that of the default rate of requests."""

    def __init__(self, database: Database, rates: SharedRate, default: Mapping[str, int], burst: int) -> None:
        self._database, self._rates, self._default = database, rates, default
        self._requests = Policy("default", default[REQUESTS], burst)
        self._own: Cache[int, Policy] = Cache(CACHE_SECONDS)
        self._submissions: dict[int, Policy] = {}

    async def take_request(self, exchange: Exchange, principal: Principal) -> None:
        """Count one request of this caller; raises 429. The answer's rate headers are set either way."""
        key = principal.id.int
        policy = self._own.peek(key) or await self._own.get(key, lambda: self._policy_of(principal))
        policy = policy or self._requests
        left = self._rates.try_take(policy, key)
        if left < 0:
            left = await self._rates.take(policy, key)
        exchange.extra += policy.headers(left)
        if left < 0:
            raise limited(self._rates.wait_seconds(policy, key), limit=REQUESTS)

    async def _policy_of(self, principal: Principal) -> Policy:
        """The caller's rate: that of its organization, or the highest of several."""
        async with self._database.unit() as connection:
            own = await read_limits(connection, principal.organizations)
        rate = max((limits.get(REQUESTS, self._requests.rate) for limits in own), default=self._requests.rate)
        return self._requests if rate == self._requests.rate else Policy("default", rate, rate * BURST_SECONDS)

    async def take_submissions(self, exchange: Exchange, place: Place, count: int) -> None:
        """Count jobs that are submitted into the environment of the place; raises 429, and then none is counted.

        More at once than the burst are taken when the bucket is full, which then owes the rest.
        """
        if count and place.environment is not None:
            rate, key = place.limits[SUBMISSIONS], place.environment.id.int
            policy = self._submissions.get(rate) or self._submission_policy(rate)
            if self._rates.try_take(policy, key, count) < 0 and await self._rates.take(policy, key, count) < 0:
                kept = [header for header in exchange.extra if header[0] not in RATE_HEADERS]
                exchange.extra = kept + policy.headers(0)
                wait = self._rates.wait_seconds(policy, key, count)
                raise limited(wait, "Jobs are submitted to this environment", SUBMISSIONS)

    def _submission_policy(self, rate: int) -> Policy:
        if len(self._submissions) > 1_000:
            self._submissions.clear()
        policy = self._submissions[rate] = Policy("submissions", rate, rate * BURST_SECONDS)
        return policy

    def clear(self) -> None:
        """Somebody's limits may have changed."""
        self._own.clear()
