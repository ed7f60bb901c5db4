"""Guesses at a person's password, slowed by account and by source address; never a lock-out.

Counted in Valkey for all gateways; a gateway that gets no answer there counts for itself. Accounts are counted by a
digest of the address that was typed, whether there is such a person or not, so nobody learns from a delay who exists.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from storage.valkey.attempt import Attempts
from storage.valkey.client import ReplyError, Valkey
from waypost.clock import monotonic
from waypost.errors import Category, WaypostError
from waypost.person.decision import delay_seconds, network_of
from waypost.person.model import ACCOUNT_PATIENCE, ADDRESS_PATIENCE, Patience
from waypost.telemetry.log import get_logger

_log = get_logger("gateway.throttle")
_MAX_LOCAL = 10_000


class Throttle:
    """`take` before a guess is judged; `succeeded` or `unjudged` after one that was not wrong."""

    def __init__(self, valkey: Valkey) -> None:
        self._shared = Attempts(valkey)
        self._own = OwnAttempts()

    async def take(self, email_folded: str, address: str) -> None:
        """Count an attempt; raises 429 with Retry-After, counting nothing, while the account or the address waits."""
        culprits = ((account_key(email_folded), ACCOUNT_PATIENCE), (address_key(address), ADDRESS_PATIENCE))
        wait = await self._take(culprits)
        if wait > 0:
            raise WaypostError(
                "too_many_attempts",
                f"Too many attempts did not succeed; try again in {max(1, round(wait))} s.",
                Category.LIMITED,
                retryable=True,
                retry_after_seconds=max(1.0, wait),
            )

    async def succeeded(self, email_folded: str, address: str) -> None:
        """The account's count begins anew; the address' last attempt was no failure."""
        account = account_key(email_folded)
        self._own.clear(account)
        self._own.refund([address_key(address)])
        if self._shared.connected:
            try:
                await self._shared.clear(account)
                await self._shared.refund([address_key(address)])
            except (WaypostError, ReplyError) as error:
                _log.warning("attempt.not_cleared", error=str(error))

    async def unjudged(self, email_folded: str, address: str) -> None:
        """Something else than the password was wrong: the last attempt counts for nobody."""
        keys = [account_key(email_folded), address_key(address)]
        self._own.refund(keys)
        if self._shared.connected:
            try:
                await self._shared.refund(keys)
            except (WaypostError, ReplyError) as error:
                _log.warning("attempt.not_cleared", error=str(error))

    async def _take(self, culprits: Sequence[tuple[str, Patience]]) -> float:
        if self._shared.connected:
            try:
                return await self._shared.take(culprits)
            except (WaypostError, ReplyError) as error:
                _log.warning("attempt.counted_alone", error=str(error))
        return self._own.take(culprits)


class OwnAttempts:
    """The same counts in this process. The least recently used are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[int, float, float]] = OrderedDict()  # count, until, forgotten at

    def take(self, culprits: Sequence[tuple[str, Patience]]) -> float:
        now = monotonic()
        wait = max(self._of(key, now)[1] - now for key, _ in culprits)
        if wait > 0:
            return wait
        for key, patience in culprits:
            count = self._of(key, now)[0] + 1
            self._kept[key] = (count, now + delay_seconds(count, patience), now + patience.window_seconds)
            self._kept.move_to_end(key)
            if len(self._kept) > _MAX_LOCAL:
                self._kept.popitem(last=False)
        return 0.0

    def refund(self, keys: Sequence[str]) -> None:
        for key in keys:
            count, _, forgotten = self._kept.pop(key, (0, 0.0, 0.0))
            if count > 1:
                self._kept[key] = (count - 1, 0.0, forgotten)

    def clear(self, key: str) -> None:
        self._kept.pop(key, None)

    def _of(self, key: str, now: float) -> tuple[int, float, float]:
        kept = self._kept.get(key)
        return kept if kept is not None and kept[2] > now else (0, 0.0, 0.0)


def account_key(email_folded: str) -> str:
    """No address is shown in Valkey."""
    return f"account:{hashlib.sha256(email_folded.encode()).hexdigest()[:32]}"


def address_key(address: str) -> str:
    return f"address:{network_of(address)}"
