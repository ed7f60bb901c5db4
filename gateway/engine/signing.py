"""Signing tokens for nodes: RS256 with the environment's key, whose `kid` names the environment (decision 27)."""

import asyncio
import secrets
import time
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway.cache import Cache
from storage.postgres.database import Database
from storage.postgres.tenancy.signing_key import current_signing_key
from storage.secrets import EnvironmentKeys
from waypost.access.model import NodeCredential
from waypost.errors import Category, WaypostError

TOKEN_SECONDS = 3600
ISSUER = "waypost"
ROLE = "ROLE_M2M"
KEY_SECONDS = 60.0


class _Signer(msgspec.Struct, frozen=True):
    kid: str
    key: RSAKey


class Signers:
    """Private keys, opened once a minute and environment; signing (1 ms) runs in a thread."""

    def __init__(self, database: Database, keys: EnvironmentKeys) -> None:
        self._database, self._keys = database, keys
        self._cache: Cache[UUID, _Signer] = Cache(KEY_SECONDS)

    async def token(self, credential: NodeCredential) -> str:
        """A token with which a node of this credential may open a stream. 500 when the environment has no key yet."""
        environment_id = credential.environment_id
        signer = await self._cache.get(environment_id, lambda: self._load(environment_id))
        if signer is None:
            raise WaypostError("no_signing_key", "The environment has no signing key yet.", Category.INTERNAL)
        header = {"alg": "RS256", "kid": signer.kid, "typ": "JWT"}
        return await asyncio.to_thread(jwt.encode, header, claims_of(credential), signer.key, ["RS256"])

    async def _load(self, environment_id: UUID) -> _Signer | None:
        async with self._database.unit() as connection:
            kept = await current_signing_key(connection, environment_id)
        if kept is None:
            return None
        opened = (await self._keys.data_key(environment_id)).open(f"signing:{kept.kid}", kept.sealed_private)
        return _Signer(kept.kid, RSAKey.import_key(opened))

    def forget(self, environment_id: UUID) -> None:
        self._cache.forget(lambda signer: True)


def claims_of(credential: NodeCredential) -> dict[str, object]:
    """Compute-node contract §3.1, and what the credential allows; `caas_org_id` is the environment (decision 4)."""
    now = int(time.time())
    claims: dict[str, object] = {
        "sub": credential.client_id,
        "iss": ISSUER,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "jti": secrets.token_hex(16),
        "caas_org_id": str(credential.environment_id),
        "caas_user_id": credential.client_id,
        "caas_tier": "unlimited",
        "scopes": [ROLE],
        "waypost_credential": str(credential.id),
    }
    if credential.allowed_tags is not None:
        claims["waypost_tags"] = list(credential.allowed_tags)
    if credential.functions is not None:
        claims["waypost_functions"] = list(credential.functions)
    return claims
