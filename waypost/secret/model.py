"""The two kinds of key and what they do. Refuses: key files that others may read, and to show a key."""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class SealError(Exception):
    """Sealed bytes do not open (another key, another place, damaged), or a key file is not one."""


class _Cipher:
    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def _encrypt(self, place: str, plaintext: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, place.encode())

    def _decrypt(self, place: str, sealed: bytes) -> bytes:
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise SealError(f"what lies at {place} is too short to be sealed")
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
        except InvalidTag:
            raise SealError(f"what lies at {place} does not open with this key") from None


class DataKey(_Cipher):
    """An environment's key: seals payloads, results, logs and the environment's secrets.

    Random nonces are safe for about 2**32 seals under one key; an environment that nears it gets a new key.
    """

    __slots__ = ()

    @staticmethod
    def generate() -> bytes:
        """32 random bytes for a new key."""
        return secrets.token_bytes(KEY_BYTES)

    def seal(self, place: str, plaintext: bytes) -> bytes:
        """nonce (12) + ciphertext + tag (16), bound to `place`, such as `job:<uuid>:payload`."""
        return self._encrypt(place, plaintext)

    def open(self, place: str, sealed: bytes) -> bytes:
        """The plaintext; raises SealError for another key, another place, or damage."""
        return self._decrypt(place, sealed)


class KeyEncryptionKey(_Cipher):
    """The one key outside the database; it wraps data keys and nothing else."""

    __slots__ = ("id",)

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.id = "kek_" + hashlib.sha256(b"waypost kek id\0" + key).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key of that file that seals, its first. Raises SealError as `waypost.secret.source.read_file` does."""
        return cls(decode_key(private_lines(path)[0], str(path)))

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new key file, mode 0600, durable on return. Raises FileExistsError: a key is never replaced."""
        key = DataKey.generate()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_key(key).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return cls(key)

    def current(self) -> "KeyEncryptionKey":
        """Itself: one key is a ring of one (waypost.secret.ring)."""
        return self

    def by_id(self, kek_id: str) -> "KeyEncryptionKey":
        """Itself; raises SealError when another key is asked for."""
        if kek_id != self.id:
            raise unknown_key(kek_id)
        return self

    def wrap(self, place: str, key: bytes) -> bytes:
        """Seal a data key for `place` (`env:<uuid>:data_key`)."""
        return self._encrypt(place, key)

    def unwrap(self, place: str, wrapped: bytes) -> bytes:
        """The data key's bytes; raises SealError."""
        return self._decrypt(place, wrapped)


def unknown_key(kek_id: str) -> SealError:
    """What was wrapped by a key that is not here."""
    return SealError(f"the key-encryption key {kek_id} is not among those that were given")


def encode_key(key: bytes) -> str:
    """A key as a key file holds it: base64url without padding."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def decode_key(text: str, source: str) -> bytes:
    """The bytes of one line; raises SealError naming `source`, never the text."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SealError(f"{source} does not hold base64url") from None
    if len(key) != KEY_BYTES:
        raise SealError(f"{source}: a key has {KEY_BYTES} bytes, not {len(key)}")
    return key


def private_lines(path: Path) -> list[str]:
    """The lines of a key file, blank ones left out, at least one. Raises SealError: not there, empty, or readable by
    others.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SealError(f"{path} can be read by others; make its mode 0600")
        lines = path.read_text("ascii").split()
    except OSError as error:
        raise SealError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SealError(f"{path} does not hold base64url") from None
    if not lines:
        raise SealError(f"{path} holds no key")
    return lines
