"""Content on its way: read from where it is in pieces, never as a whole; and the form that carries it.

Refuses nothing; a file that changes while it is read is found out by its hash.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from waypost_sdk import exact

PIECE_BYTES = 256 << 10

Source = bytes | str | os.PathLike[str] | IO[bytes]  # content itself, a path, or a file that can seek


class Content:
    """What is uploaded. A path is opened for each reading, so that readings do not meet."""

    def __init__(self, source: Source) -> None:
        """Raises OSError when there is no such file, TypeError for what is no source."""
        if isinstance(source, str | os.PathLike):
            self._path: Path | None = Path(source)
            self.name = self._path.name
            self.size_bytes = self._path.stat().st_size
            return
        file = io.BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source
        if not hasattr(file, "seek") or not hasattr(file, "read"):
            raise TypeError("content is bytes, a path, or a binary file that can seek")
        self._path, self._file = None, file
        self.name = Path(str(getattr(file, "name", ""))).name
        self.size_bytes = file.seek(0, io.SEEK_END)

    def pieces(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start`, `length` of them or all."""
        if self._path is not None:
            with self._path.open("rb") as file:
                yield from _read(file, start, length)
        else:
            yield from _read(self._file, start, length)

    def sha256(self) -> str:
        """Of all of it, in hexadecimal digits."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


class Form:
    """A multipart body of the parts `metadata` and `file`."""

    def __init__(self, metadata: dict[str, Any], content: Content) -> None:
        self._content = content
        boundary = uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="metadata"\r\n'
            "Content-Type: application/json\r\n\r\n"
        ).encode() + exact.encode(metadata) + (
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename=""\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()  # fmt: skip
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.size_bytes = len(self._head) + content.size_bytes + len(self._tail)

    def pieces(self) -> Iterator[bytes]:
        """The whole body."""
        yield self._head
        yield from self._content.pieces(0, self._content.size_bytes)
        yield self._tail


def _read(file: IO[bytes], start: int, length: int | None) -> Iterator[bytes]:
    file.seek(start)
    left = length
    while left is None or left > 0:
        piece = file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece
