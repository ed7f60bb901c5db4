"""Who is asking: whichever credential a request brings, and API keys in particular.

Keys are checked for form first, then looked up by digest with a 5 s cache (decision 29); sessions are of
gateway.session. Refuses everything else than `Authorization: Bearer` with `wp_…`, `wpe_…` or `wps_…`, or a session's
cookie. What a caller may do is waypost.access's to say.
"""

import asyncio
from uuid import UUID

from gateway.cache import Cache
from gateway.exchange import Exchange
from gateway.session import Sessions, cookie_token, is_session_token
from storage.postgres.access import api_key as storage
from storage.postgres.database import Database
from waypost import clock
from waypost.access.key import check_key, digest, same_secret
from waypost.access.model import Principal
from waypost.errors import Category, WaypostError
from waypost.task import stop
from waypost.telemetry.log import get_logger

CACHE_SECONDS = 5.0
USED_SECONDS = 15.0  # how often the times of last use are written

_log = get_logger("gateway.auth")


async def identify(keys: "Keys", sessions: Sessions, exchange: Exchange) -> Principal:
    """Who makes this request. An Authorization header counts before a cookie. Raises 401, or 403 without CSRF token."""
    authorization = exchange.header(b"authorization")
    if authorization is None:
        token = cookie_token(exchange)
        if token is not None:
            return await sessions.of_cookie(exchange, token)
    elif is_session_token(authorization):
        return await sessions.of_bearer(authorization.partition(" ")[2])
    return await keys.principal(authorization)


class Keys:
    """Turns the `Authorization` header into a principal."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: Cache[bytes, Principal] = Cache(CACHE_SECONDS)
        self._used: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write times of last use from now on."""
        self._task = asyncio.create_task(self._write_used(), name="keys")

    async def close(self) -> None:
        """Stop, after writing what is pending; a database that is away loses it."""
        await stop(self._task)
        await self._flush()

    async def principal(self, authorization: str | None) -> Principal:
        """Who speaks; raises 401 for none, a malformed, unknown, revoked or expired key, 503 without a database."""
        if authorization is None:
            raise _refused(
                "missing_credential", "Send Authorization: Bearer with an API key (wp_… or wpe_…) or a session (wps_…)."
            )
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _refused("invalid_credential", "The Authorization header must be Bearer with an API key.")
        kept = digest(text)
        known = self._cache.peek(kept)
        if known is None:
            if check_key(text) is None:
                raise _refused("invalid_credential", "This is not an API key: its checksum is wrong. Was it mistyped?")
            known = await self._cache.get(kept, lambda: self._load(text))
        if known is None:
            raise _refused("invalid_credential", "This API key is not known, or is no longer valid.")
        if known.expires_at is not None and known.expires_at <= clock.now():
            raise _refused("expired_credential", "This API key has expired.")
        self._used.add(known.id)
        return known

    async def _load(self, text: str) -> Principal | None:
        public_id = check_key(text)
        if public_id is None:
            return None
        async with self._database.hot() as connection:  # one reading: no transaction, a quarter of the round trips
            found = await storage.find_key(connection, public_id)
        if found is None or not same_secret(text, found.secret_hash):
            return None
        return found.key.principal

    def forget(self, public_id: str) -> None:
        """A key was revoked or changed: look at it again."""
        self._cache.forget(lambda known: known.public_id == public_id)

    def clear(self) -> None:
        self._cache.clear()

    async def _write_used(self) -> None:
        while True:
            await asyncio.sleep(USED_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        used, self._used = self._used, set()
        if not used:
            return
        try:
            async with self._database.unit() as connection:
                await storage.touch_keys(connection, sorted(used))
        except WaypostError as error:
            _log.warning("key.use_not_written", error=str(error))


def _refused(code: str, detail: str) -> WaypostError:
    return WaypostError(code, detail, Category.UNAUTHENTICATED)
