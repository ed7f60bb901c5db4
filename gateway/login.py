"""Whether somebody is the person they say: password hashing beside the loop, throttled, the same work for everybody.

Refuses to say whether an address is known: an unknown one, a wrong password, a person without a password and a disabled
one are the same answer after the same work.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.exchange import Exchange
from gateway.person_audit import record_refusal
from gateway.throttle import Throttle
from storage.postgres.database import Database
from storage.postgres.person.person import Login, find_login, refresh_hash
from storage.valkey.client import Valkey
from waypost.errors import Category, WaypostError
from waypost.person import password as hashing
from waypost.person.decision import MAX_PASSWORD_CHARACTERS, checked_email, folded_email, normalized_password

HASHING_THREADS = 2  # 19 MiB and a core each
MAX_WAITING = 64

_T = TypeVar("_T")


class Passwords:
    """Argon2 in few threads of its own; raises 503 when too many wait."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """What is kept of a normalised password."""
        return await self._run(lambda: hashing.hash_password(password))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether it is the one whose hash was kept; None does the same work."""
        return await self._run(lambda: hashing.verify_password(kept, password))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= MAX_WAITING:
            raise WaypostError(
                "too_busy", "Too many people sign in at this moment.", Category.UNAVAILABLE,
                retryable=True, retry_after_seconds=2,
            )  # fmt: skip
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


class Logins:
    """Proofs by password."""

    def __init__(self, database: Database, valkey: Valkey) -> None:
        self._database = database
        self.passwords = Passwords()
        self._throttle = Throttle(valkey)

    def close(self) -> None:
        self.passwords.close()

    async def prove(self, email: str, password: str, exchange: Exchange, action: str = "session.refuse") -> Login:
        """The person of that address, whose password it is.

        Raises 401 `invalid_login` after an audit entry `action`, 429 while the account or the source address has to
        wait, 503 without a database.
        """
        folded, address = folded_email(email), exchange.address
        await self._throttle.take(folded, address)
        given = normalized_password(password)
        try:
            login, right = await self._judge(email, given)
            if not right:
                async with self._database.unit() as connection:
                    await record_refusal(connection, exchange, action, email, login)
        except BaseException:
            await self._throttle.unjudged(folded, address)
            raise
        if login is None or not right:
            raise refused_login()
        await self._throttle.succeeded(folded, address)
        return await self._renewed(login, given)

    async def _judge(self, email: str, password: str) -> tuple[Login | None, bool]:
        """Nobody's address is asked for, and some hash verified, too: it takes as long."""
        async with self._database.unit() as connection:
            login = await find_login(connection, _known_form(email))
        kept = login.password_hash if login else None
        right = await self.passwords.verify(kept, password[: MAX_PASSWORD_CHARACTERS + 1])
        return login, right and login is not None and login.person.disabled_at is None

    async def _renewed(self, login: Login, password: str) -> Login:
        kept = login.password_hash
        if kept is None or not hashing.is_outdated(kept):
            return login
        fresh = await self.passwords.hash(password)
        async with self._database.unit() as connection:
            await refresh_hash(connection, login.person.id, fresh, kept)
        return Login(login.person, fresh)


def _known_form(email: str) -> str:
    """The folded address, empty when nobody can have it."""
    try:
        return checked_email(email)[1]
    except WaypostError:
        return ""


def refused_login() -> WaypostError:
    """401 that does not say what was wrong."""
    return WaypostError("invalid_login", "The e-mail address or the password is wrong.", Category.UNAUTHENTICATED)
