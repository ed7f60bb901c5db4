"""The form of credentials: API keys, sessions, invitations and node secrets.

Each but the last is prefix + public id (12) + secret (43 base62 digits of 256 random bits) + checksum (6): a typing
error is refused without a look-up and a secret scanner can match it. Only the SHA-256 of the whole text is kept
(decision 26).
"""

import hashlib
import hmac
import secrets
import string
import zlib
from typing import Final, Literal

ORGANIZATION_PREFIX: Final = "wp_"
ENVIRONMENT_PREFIX: Final = "wpe_"
SESSION_PREFIX: Final = "wps_"
INVITATION_PREFIX: Final = "wpi_"
CLIENT_PREFIX = "wpn_"
NODE_SECRET_PREFIX = "wpns_"  # noqa: S105 - a prefix, not a secret

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ALPHABET = frozenset(_DIGITS)
_ID, _SECRET, _CHECK = 12, 43, 6
_BODY = _ID + _SECRET + _CHECK

Prefix = Literal["wp_", "wpe_", "wps_", "wpi_"]


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _random(width: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(width))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK)


def digest(text: str) -> bytes:
    """What is kept of a credential: SHA-256 of its whole text. Enough for 256 random bits, and 0.3 µs."""
    return hashlib.sha256(text.encode()).digest()


def make_key(prefix: Prefix) -> tuple[str, str, bytes]:
    """A new credential of that prefix: (public id, whole text, SHA-256). The text is shown once and never kept."""
    public_id = _random(_ID)
    text = prefix + public_id + _base62(int.from_bytes(secrets.token_bytes(32), "big"), _SECRET)
    text += _checksum(text)
    return public_id, text, digest(text)


def check_key(text: str) -> str | None:
    """The public id of a well-formed API key, else None. Says nothing on whether the key exists."""
    return check_text(text, ENVIRONMENT_PREFIX if text.startswith(ENVIRONMENT_PREFIX) else ORGANIZATION_PREFIX)


def check_text(text: str, prefix: Prefix) -> str | None:
    """The public id of a well-formed credential of that prefix, else None."""
    body = text[len(prefix) :]
    if not text.startswith(prefix) or len(body) != _BODY or not _ALPHABET.issuperset(body):
        return None
    if text[-_CHECK:] != _checksum(text[:-_CHECK]):
        return None
    return body[:_ID]


def make_node_secret() -> tuple[str, str, bytes]:
    """A new node credential: (client id, client secret, SHA-256 of the secret)."""
    secret = NODE_SECRET_PREFIX + _base62(int.from_bytes(secrets.token_bytes(32), "big"), _SECRET)
    return CLIENT_PREFIX + _random(_ID), secret, digest(secret)


def same_secret(text: str, kept: bytes) -> bool:
    """Whether a credential's text is the one whose digest was kept; takes the same time either way."""
    return hmac.compare_digest(digest(text), kept)
