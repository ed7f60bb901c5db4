"""Sealing at rest: one key-encryption key wraps a data key per environment (decision 26).

Everything is AES-256-GCM with a 12-byte random nonce in front, and the *place* as associated data, so that sealed bytes
moved to another row do not open.
"""

from waypost.secret.model import DataKey, KeyEncryptionKey, SealError
from waypost.secret.ring import KeyEncryptionKeys, KeyRing, KeySource
from waypost.secret.source import open_ring

__all__ = ["DataKey", "KeyEncryptionKey", "KeyEncryptionKeys", "KeyRing", "KeySource", "SealError", "open_ring"]
