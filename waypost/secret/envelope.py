"""An envelope: bytes sealed under a key of their own, which the key-encryption key wraps, in one piece.

For what belongs to no environment, or must be opened without one. Re-wrapping replaces the first 60 bytes and never
opens the rest.
"""

from waypost.secret.model import KEY_BYTES, NONCE_BYTES, TAG_BYTES, DataKey, KeyEncryptionKey

WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES


def seal(kek: KeyEncryptionKey, place: str, plaintext: bytes) -> bytes:
    """Wrapped key (60 bytes) + sealed bytes; keep `kek.id` beside it."""
    key = DataKey.generate()
    return kek.wrap(place, key) + DataKey(key).seal(place, plaintext)


def unseal(kek: KeyEncryptionKey, place: str, envelope: bytes) -> bytes:
    """The plaintext; raises SealError for another key, another place, or damage."""
    return DataKey(kek.unwrap(place, envelope[:WRAPPED_BYTES])).open(place, envelope[WRAPPED_BYTES:])


def rewrap(old: KeyEncryptionKey, new: KeyEncryptionKey, place: str, envelope: bytes) -> bytes:
    """The same bytes under another key-encryption key; also of a wrapped key alone. Raises SealError."""
    return new.wrap(place, old.unwrap(place, envelope[:WRAPPED_BYTES])) + envelope[WRAPPED_BYTES:]
