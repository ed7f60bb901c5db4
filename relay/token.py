"""Who opens a stream: the bearer token, its signature, its credential (compute-node contract §3.1).

A token is checked once, when an RPC begins; what it says is cached by its text, so that a fleet that reconnects costs
no signature each. Whether its credential and environment are still there is read from the database at every join. All
failures look alike from outside.
"""

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from storage.postgres.database import Database
from storage.postgres.fleet import admission
from waypost.ids import parse_id

SKEW_SECONDS = 30
CACHE_SIZE = 10_000
KEY_SECONDS = 60.0  # how long a signing key is believed
ROLE = "ROLE_M2M"


class Unauthenticated(Exception):  # noqa: N818 - it is what the client is told
    """The token is missing, wrong, expired, or of a credential that is gone. `str` is for our log only."""


class Bearer(msgspec.Struct, frozen=True):
    """What a verified token says. `tags` and `functions` are the patterns it allows; None = any."""

    environment_id: UUID
    tenant: str
    credential_id: UUID | None
    roles: tuple[str, ...]
    tags: tuple[str, ...] | None
    functions: tuple[str, ...] | None
    expires_at: float


class _Header(msgspec.Struct):
    kid: str
    alg: str


_header = msgspec.json.Decoder(_Header)


class TokenVerifier:
    """Verifies tokens against control.signing_key. One a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._verified: OrderedDict[str, Bearer] = OrderedDict()
        self._keys: OrderedDict[str, tuple[float, UUID, RSAKey]] = OrderedDict()

    async def verify(self, metadata: Sequence[tuple[str, Any]]) -> Bearer:
        """The bearer of an RPC's metadata. Unauthenticated when there is none; `unavailable` without a database."""
        text = bearer_text(metadata)
        found = self._verified.get(text)
        if found is None:
            found = await self._check(text)
            self._verified[text] = found
            if len(self._verified) > CACHE_SIZE:
                self._verified.popitem(last=False)
        if found.expires_at + SKEW_SECONDS < time.time():
            self._verified.pop(text, None)
            raise Unauthenticated("the token has expired")
        return found

    async def _check(self, text: str) -> Bearer:
        kid = key_id(text)
        environment_id, public = await self._key(kid)
        try:
            token = jwt.decode(text, public, algorithms=["RS256"])
        except (JoseError, ValueError) as error:
            raise Unauthenticated(str(error)) from error
        return read_claims(token.claims, environment_id)

    async def _key(self, kid: str) -> tuple[UUID, RSAKey]:
        """The public key of that id and its environment; believed for a minute."""
        now = time.monotonic()
        known = self._keys.get(kid)
        if known is not None and known[0] + KEY_SECONDS > now:
            return known[1], known[2]
        found = await admission.signing_key(self._database, kid)
        if found is None:
            self._keys.pop(kid, None)
            raise Unauthenticated(f"no signing key {kid!r}")
        environment_id, public_jwk = found
        self._keys[kid] = (now, environment_id, RSAKey.import_key(public_jwk))
        if len(self._keys) > CACHE_SIZE:
            self._keys.popitem(last=False)
        return environment_id, self._keys[kid][2]


def bearer_text(metadata: Sequence[tuple[str, Any]]) -> str:
    """The token of the first `authorization` value, scheme exactly `Bearer `."""
    value = next((value for name, value in metadata if name == "authorization"), None)
    if not isinstance(value, str) or not value.startswith("Bearer "):
        raise Unauthenticated("no bearer token")
    return value.removeprefix("Bearer ")


def key_id(text: str) -> str:
    """The `kid` of an RS256 token's header, unverified: it only says which key to try."""
    try:
        head = text.split(".", 1)[0]
        header = _header.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise Unauthenticated("not a token") from error
    if header.alg != "RS256":
        raise Unauthenticated(f"algorithm {header.alg!r}")
    return header.kid


def read_claims(claims: dict[str, Any], environment_id: UUID) -> Bearer:
    """What the verified claims say; Unauthenticated when a required one is missing or of the wrong kind."""
    expires, tenant = claims.get("exp"), claims.get("caas_org_id")
    if not isinstance(expires, int | float) or not isinstance(tenant, str) or not tenant:
        raise Unauthenticated("exp or caas_org_id is missing")
    roles = claims.get("user_roles") if isinstance(claims.get("user_roles"), list) else claims.get("scopes")
    credential = claims.get("waypost_credential")
    return Bearer(
        environment_id=environment_id,
        tenant=tenant,
        credential_id=parse_id(credential) if isinstance(credential, str) else None,
        roles=_texts(roles) or (),
        tags=_texts(claims.get("waypost_tags")),
        functions=_texts(claims.get("waypost_functions")),
        expires_at=float(expires),
    )


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(str(item) for item in value) if isinstance(value, list) else None
