"""The key-encryption keys of one process: one that wraps, earlier ones that only unwrap, chosen by their id.

A rotation changes them while the process runs: before it wraps, and when it meets a key id that it does not know, the
ring looks at its source again. So nobody is told, and nothing is restarted. Refuses: to forget, because its source is
momentarily unreadable, what it knows.
"""

from typing import Protocol

from waypost.secret.model import KeyEncryptionKey, SealError, unknown_key


class KeyEncryptionKeys(Protocol):
    """What seals and opens data keys; a `KeyRing`, or a single `KeyEncryptionKey`."""

    def current(self) -> KeyEncryptionKey:
        """The key that wraps now; ask anew for every use, and take `id` and `wrap` of the same answer."""
        ...

    def by_id(self, kek_id: str) -> KeyEncryptionKey:
        """The key of that id; raises SealError when it is not among them."""
        ...


class KeySource(Protocol):
    """Where the keys come from: a file, a variable; the seam for a key management service."""

    def read(self) -> list[KeyEncryptionKey]:
        """All keys, at least one, the first of which wraps. Raises SealError with a sentence for the operator."""
        ...

    def version(self) -> object:
        """Changes when `read` would answer something else; cheap, as it is asked at every wrap. Never raises."""
        ...


class KeyRing:
    """The keys of a source. Raises SealError when made of one that cannot be read."""

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._version = source.version()
        self._keys = source.read()

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.ids)})"

    @property
    def ids(self) -> list[str]:
        """The ids of all keys as last read, the one that wraps first."""
        return [key.id for key in self._keys]

    def current(self) -> KeyEncryptionKey:
        """The key that wraps now."""
        if self._source.version() != self._version:
            self._refresh()
        return self._keys[0]

    def by_id(self, kek_id: str) -> KeyEncryptionKey:
        """The key of that id; raises SealError when the source has none."""
        for attempt in (1, 2):
            for key in self._keys:
                if key.id == kek_id:
                    return key
            if attempt == 1:
                self._refresh()
        raise unknown_key(kek_id)

    def _refresh(self) -> None:
        version = self._source.version()
        try:
            self._keys = self._source.read()
        except SealError:
            return  # the next use looks again
        self._version = version
