"""Nodes as callers of the API: the token that a node fetched for its stream also lets it put and get artifacts.

Only endpoints that say `nodes` look here; everywhere else such a token is no credential at all. A node can do there
what an operator of its one environment can, and nothing in any other. Whether its credential still stands is looked up
as often as for keys.
"""

import base64
import binascii
import time
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from gateway.cache import Cache
from storage.postgres.access.node_credential import node_principal
from storage.postgres.database import Database
from storage.postgres.tenancy.signing_key import public_key_by_kid
from waypost.access.key import digest
from waypost.access.model import Principal
from waypost.errors import Category, WaypostError
from waypost.ids import parse_id

CACHE_SECONDS = 5.0
SKEW_SECONDS = 30
ROLE = "ROLE_M2M"


class _Header(msgspec.Struct):
    kid: str
    alg: str


_header = msgspec.json.Decoder(_Header)


class _Known(msgspec.Struct, frozen=True):
    principal: Principal
    expires_at: float


def token_text(authorization: str | None) -> str | None:
    """The text of a bearer token that may be a JWT; None for other credentials."""
    scheme, _, text = (authorization or "").partition(" ")
    return text if scheme.lower() == "bearer" and text.count(".") == 2 else None


class NodeTokens:
    """Verifies nodes' tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: Cache[bytes, _Known] = Cache(CACHE_SECONDS)

    async def principal(self, text: str) -> Principal:
        """The node that speaks; raises 401 for a token that is wrong, expired, or of a credential that is gone."""
        known = await self._cache.get(digest(text), lambda: self._load(text))
        if known is None or known.expires_at + SKEW_SECONDS < time.time():
            raise WaypostError(
                "invalid_credential", "This node token is not known, or is no longer valid.", Category.UNAUTHENTICATED
            )
        return known.principal

    def clear(self) -> None:
        self._cache.clear()

    async def _load(self, text: str) -> _Known | None:
        kid = _key_id(text)
        if kid is None:
            return None
        async with self._database.hot() as connection:
            found = await public_key_by_kid(connection, kid)
            if found is None:
                return None
            claims = _verified(text, RSAKey.import_key(found[1]))
            credential = parse_id(str(claims.get("waypost_credential")))
            expires = _expiry(claims)
            if credential is None or expires is None or not _is_node(claims, found[0]):
                return None
            principal = await node_principal(connection, found[0], credential)
        return None if principal is None else _Known(principal, expires)


def _key_id(text: str) -> str | None:
    """The `kid` of an RS256 token, unverified: it only says which key to try."""
    try:
        head = text.split(".", 1)[0]
        header = _header.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return None
    return header.kid if header.alg == "RS256" and "\0" not in header.kid else None


def _verified(text: str, key: RSAKey) -> dict[str, object]:
    try:
        return dict(jwt.decode(text, key, algorithms=["RS256"]).claims)
    except (JoseError, ValueError):
        return {}


def _is_node(claims: dict[str, object], environment_id: UUID) -> bool:
    scopes = claims.get("scopes")
    return claims.get("caas_org_id") == str(environment_id) and isinstance(scopes, list) and ROLE in scopes


def _expiry(claims: dict[str, object]) -> float | None:
    expires = claims.get("exp")
    return float(expires) if isinstance(expires, int | float) else None
