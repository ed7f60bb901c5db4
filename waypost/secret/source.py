"""Where key-encryption keys come from: a private file, or a variable of the process.

Both hold one or more keys, 32 bytes in base64url each; the first wraps, the others only open what they wrapped. A key
management service is a third `KeySource`, or, without any code, whatever it writes into the file.
Refuses: a file that others may read.
"""

from pathlib import Path

from waypost.secret.model import KeyEncryptionKey, SealError, decode_key, private_lines
from waypost.secret.ring import KeyRing

VARIABLE = "WAYPOST_KEK"


class FileSource:
    """A file, mode 0600, one key a line. It is replaced as a whole (rename), never written in place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[KeyEncryptionKey]:
        return read_file(self._path)

    def version(self) -> object:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


class VariableSource:
    """Keys from the process's environment, separated by commas. They change with a restart only."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "VariableSource(…)"

    def read(self) -> list[KeyEncryptionKey]:
        texts = [text.strip() for text in self._text.split(",")]
        return [KeyEncryptionKey(decode_key(text, VARIABLE)) for text in texts]

    def version(self) -> object:
        return None


def read_file(path: Path) -> list[KeyEncryptionKey]:
    """The keys of a file, in order. Raises SealError: not there, readable by others, empty, not keys."""
    return [KeyEncryptionKey(decode_key(line, str(path))) for line in private_lines(path)]


def open_ring(path: Path | None, text: str | None) -> KeyRing:
    """The ring of a process: of the variable's text where it is given, else of the file. Raises SealError."""
    if text is not None:
        return KeyRing(VariableSource(text))
    if path is None:
        raise SealError(f"neither {VARIABLE} nor {VARIABLE}_FILE is given")
    return KeyRing(FileSource(path))
