"""Who signed in: session tokens (`wps_…`) in a browser's cookie or after `Bearer`, with a 5 s cache (decision 29).

A cookie is sent by a browser without being asked, so with it a change must also carry the session's CSRF token. Refuses
sessions that are over, idle or their person's who was disabled: at once by message, else within 5 s.
"""

from uuid import UUID

import msgspec

from gateway.cache import Cache
from gateway.exchange import Exchange
from storage.postgres.access.membership import grants_of
from storage.postgres.database import Database
from storage.postgres.person.session import find_session, touch_session
from waypost import clock
from waypost.access.key import SESSION_PREFIX, check_text, digest, same_secret
from waypost.access.model import Principal, PrincipalKind
from waypost.errors import Category, WaypostError
from waypost.person.decision import same_csrf
from waypost.person.model import Person, Session

CACHE_SECONDS = 5.0
COOKIE = "waypost_session"
CSRF_HEADER = b"x-csrf-token"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class SignedIn(msgspec.Struct, frozen=True):
    """A session that lives, whose it is, and what that person may do."""

    principal: Principal
    session: Session
    person: Person


class Sessions:
    """Turns a session's token into a principal."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: Cache[bytes, SignedIn] = Cache(CACHE_SECONDS)

    async def of_cookie(self, exchange: Exchange, token: str) -> Principal:
        """Who speaks by cookie; raises 401, and 403 `csrf_token_missing` for a change without the CSRF token."""
        principal = (await self.find(token, bearer=False)).principal
        if exchange.method not in _READING and not same_csrf(token, exchange.header(CSRF_HEADER)):
            raise WaypostError(
                "csrf_token_missing",
                "A change with a session's cookie must carry the session's X-CSRF-Token.",
                Category.FORBIDDEN,
            )
        return principal

    async def of_bearer(self, token: str) -> Principal:
        """Who speaks by `Authorization: Bearer wps_…`; raises 401."""
        return (await self.find(token, bearer=True)).principal

    async def find(self, token: str, *, bearer: bool) -> SignedIn:
        """The live session of a token, which is used just now; raises 401. A cookie's token is no bearer token, and the
        other way round: else a stolen cookie would need no CSRF token."""
        kept = digest(token)
        known = self._cache.peek(kept)
        if known is None and check_text(token, SESSION_PREFIX) is not None:
            known = await self._cache.get(kept, lambda: self._load(token))
        if known is None or known.session.bearer is not bearer or known.session.expires_at <= clock.now():
            raise WaypostError(
                "invalid_session", "This session is not known, or is over: sign in again.", Category.UNAUTHENTICATED
            )
        return known

    async def _load(self, token: str) -> SignedIn | None:
        public_id = check_text(token, SESSION_PREFIX)
        if public_id is None:
            return None
        async with self._database.hot() as connection:  # no transaction: two round trips in place of five
            found = await find_session(connection, public_id)
            if found is None or not same_secret(token, found.token_hash):
                return None
            grants = await grants_of(connection, found.person.id)
            if found.stale:
                await touch_session(connection, found.session.id)
        principal = Principal(
            PrincipalKind.PERSON, found.person.id, grants, public_id, found.person.name or found.person.email,
            found.session.expires_at, found.session.id,
        )  # fmt: skip
        return SignedIn(principal, found.session, found.person)

    def forget_person(self, person_id: UUID) -> None:
        """Roles, sessions or standing of a person changed: look again."""
        self._cache.forget(lambda known: known.person.id == person_id)

    def clear(self) -> None:
        self._cache.clear()


def is_session_token(authorization: str) -> bool:
    """Whether an Authorization header brings a session rather than a key."""
    scheme, _, text = authorization.partition(" ")
    return scheme.lower() == "bearer" and text.startswith(SESSION_PREFIX)


def cookie_token(exchange: Exchange) -> str | None:
    """The session's token among the request's cookies."""
    for cookie in (exchange.header(b"cookie") or "").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def set_cookie(token: str, seconds: int, *, secure: bool) -> tuple[bytes, bytes]:
    """The header that gives a browser its session; `seconds` 0 and an empty token take it away."""
    text = f"{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
    return b"set-cookie", text.encode()
