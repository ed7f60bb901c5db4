"""Signing keys: RS256, 2048 bits, `kid` globally unique (decision 27)."""

from typing import Any

import msgspec
from joserfc.jwk import RSAKey

from waypost import ids

ALGORITHM = "RS256"
_BITS = 2048


class SigningKey(msgspec.Struct, frozen=True):
    """A fresh pair. `private_pem` (PKCS 8) is sealed at `signing:<kid>` before it goes anywhere."""

    kid: str
    public_jwk: dict[str, Any]
    private_pem: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


def generate_signing_key() -> SigningKey:
    """A new key pair; takes 0.1 s and more, so call it in a thread."""
    kid = ids.new_id().hex
    key = RSAKey.generate_key(_BITS, {"kid": kid, "use": "sig", "alg": ALGORITHM}, private=True)
    return SigningKey(kid, dict(key.as_dict(private=False)), key.as_pem(private=True))


def place(kid: str) -> str:
    """Where the private half lies, as its associated data."""
    return f"signing:{kid}"
