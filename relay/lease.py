"""The relay's lease: one session row that is renewed every 5 s and covers everything it runs (decision 12a).

Responsible for opening a session, renewing it, and saying when it is over. Only Postgres' clock decides whether it
is: a relay that was stopped past its lease learns it from the refused renewal; one that cannot reach Postgres for a
whole lease counts itself as gone.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

RENEW_SECONDS = 5.0
LEASE_SECONDS = 15.0
RETRY_SECONDS = 0.5

_log = structlog.get_logger("relay.lease")


class SessionLedger(Protocol):
    """What is used of the ledger."""

    async def open_session(self, process: str, kind: str, address: str, pid: int, lease_seconds: float) -> int: ...
    async def renew_session(self, session_id: int, lease_seconds: float) -> bool: ...
    async def close_session(self, session_id: int) -> None: ...


class Lease:
    """`on_open(session)` when there is a new session, `on_over()` when it is over. `session` None = none just now."""

    def __init__(
        self,
        ledger: SessionLedger,
        identity: tuple[str, str, int],
        on_open: Callable[[int], None],
        on_over: Callable[[], None],
        *,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._ledger, self._identity, self._on_open, self._on_over = ledger, identity, on_open, on_over
        self._renew_seconds = renew_seconds
        self.session: int | None = None
        self._renewed_at = 0.0

    async def open(self) -> None:
        """A new session; `unavailable` when there is no database."""
        process, address, pid = self._identity
        asked_at = time.monotonic()
        self.session = await self._ledger.open_session(process, "relay", address, pid, LEASE_SECONDS)
        self._renewed_at = asked_at
        self._on_open(self.session)

    async def run(self) -> None:
        """Renew for ever; after a session that is over, open another one."""
        while True:
            await asyncio.sleep(self._renew_seconds if self.session is not None else RETRY_SECONDS)
            try:
                await (self._renew() if self.session is not None else self.open())
            except Exception as error:  # noqa: BLE001 - whatever the database says, it is asked again
                _log.warning("session.not_renewed", error=str(error))
                if self.session is not None and time.monotonic() - self._renewed_at > LEASE_SECONDS:
                    self._over("the database could not be reached for a whole lease")

    async def _renew(self) -> None:
        assert self.session is not None  # noqa: S101 - `run` looked
        asked_at = time.monotonic()
        if await self._ledger.renew_session(self.session, LEASE_SECONDS):
            self._renewed_at = asked_at
            return
        self._over("it had lapsed")
        await self.open()

    def _over(self, reason: str) -> None:
        _log.warning("session.over", session=self.session, reason=reason)
        self.session = None
        self._on_over()

    async def close(self) -> None:
        """End the session at a graceful stop: what it still holds, if anything, can be taken at once."""
        session, self.session = self.session, None
        if session is not None:
            await self._ledger.close_session(session)
