"""Archives from outside, read without believing them: zip, tar and gzipped tar.

Nothing is written under a name that the archive chose: members come back as bytes. Refuses absolute paths, `..`,
backslashes, repeated names, links, devices, encryption, too many or too large members, and more content than the
archive's size can honestly hold; what a header says is never trusted with memory or time.
"""

import io
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection
from typing import IO

from waypost.artifact.model import Reason

MAX_ARCHIVE_BYTES = 64 << 20
MAX_MEMBERS = 1_000
MAX_MEMBER_BYTES = 16 << 20
MAX_TOTAL_BYTES = 128 << 20
MAX_RATIO = 200  # of unpacked to packed bytes, for what is over RATIO_FROM_BYTES
RATIO_FROM_BYTES = 1 << 20
MAX_PATH_CHARACTERS = 255
MAX_DEPTH = 8
PIECE_BYTES = 64 << 10

_MAX_DIRECTORY_BYTES = 1 << 20  # of a zip: a thousand members with long names
_END = struct.Struct("<4s4H2LH")  # PKZIP APPNOTE 4.3.16
_DRIVE = re.compile(r"[A-Za-z]:")


class UnsafeError(Exception):
    """The archive is refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.reason = Reason(code, message)


def unpack(file: IO[bytes], size_bytes: int, wanted: Collection[str]) -> dict[str, bytes]:
    """The wanted files of an archive by name; a single folder around everything is left out of the names.

    Reads all of the archive, so that no other member of it is unsafe. Raises UnsafeError.
    """
    if size_bytes > MAX_ARCHIVE_BYTES:
        raise UnsafeError("archive_too_large", f"The archive has {size_bytes} bytes; at most {MAX_ARCHIVE_BYTES}.")
    head = file.read(4)
    file.seek(0)
    try:
        if head.startswith(b"PK"):
            members = _zip(file, size_bytes, wanted)
        elif head.startswith(b"\x1f\x8b"):
            with tempfile.TemporaryFile() as plain:
                _gunzip(file, plain)
                plain.seek(0)
                members = _tar(plain, wanted)
        else:
            members = _tar(file, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error) as error:
        raise UnsafeError("archive_damaged", f"The archive cannot be read: {str(error)[:200]}.") from None
    except (NotImplementedError, RuntimeError) as error:  # of zipfile: a compression, a password
        raise UnsafeError("archive_unsupported", f"The archive cannot be read: {str(error)[:200]}.") from None
    return members


class _Count:
    """What was unpacked so far, against its limits."""

    def __init__(self, packed_bytes: int | None) -> None:
        self._packed = packed_bytes
        self._names: set[str] = set()
        self._folders: set[str] = set()
        self._total = 0

    def member(self, name: str) -> str:
        """A member's name once it is safe."""
        if len(self._names) >= MAX_MEMBERS:
            raise UnsafeError("too_many_members", f"The archive has more than {MAX_MEMBERS} members.")
        checked = _safe(name)
        if checked in self._names:
            raise UnsafeError("repeated_member", f"The archive has {checked!r} twice.")
        self._names.add(checked)
        return checked

    def unpacked(self, count: int) -> None:
        self._total += count
        if self._total > MAX_TOTAL_BYTES:
            raise UnsafeError("content_too_large", f"The archive unpacks to more than {MAX_TOTAL_BYTES} bytes.")
        if self._packed is not None:
            check_ratio(self._total, self._packed)


def check_ratio(unpacked: int, packed: int) -> None:
    """Raises UnsafeError when honest content would not have packed so well."""
    if unpacked > RATIO_FROM_BYTES and unpacked > MAX_RATIO * packed:
        raise UnsafeError("archive_ratio", f"The archive unpacks to more than {MAX_RATIO} times its size.")


def _safe(name: str) -> str:
    """The name, relative and plain; raises UnsafeError."""
    shown = name[:100]
    if not 0 < len(name) <= MAX_PATH_CHARACTERS or any(ord(character) < 32 for character in name):
        raise UnsafeError("unsafe_path", f"A member's name is empty, too long or has control characters: {shown!r}.")
    if name.startswith("/") or "\\" in name or _DRIVE.match(name):
        raise UnsafeError("unsafe_path", f"A member's path is absolute or foreign: {shown!r}.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > MAX_DEPTH:
        raise UnsafeError("unsafe_path", f"A member's path leads out of the archive, or is too deep: {shown!r}.")
    return "/".join(parts) or "."


def _gunzip(file: IO[bytes], plain: IO[bytes]) -> None:
    """Unpack one or several gzip members, counted."""
    decoder, packed, unpacked = zlib.decompressobj(31), 0, 0
    while piece := file.read(PIECE_BYTES):
        packed += len(piece)
        while piece:
            data = decoder.decompress(piece, 1 << 20)
            unpacked += len(data)
            if unpacked > MAX_TOTAL_BYTES:
                raise UnsafeError("content_too_large", f"The archive unpacks to more than {MAX_TOTAL_BYTES} bytes.")
            check_ratio(unpacked, packed)
            plain.write(data)
            if decoder.eof:
                piece = decoder.unused_data
                decoder = zlib.decompressobj(31) if piece.strip(b"\0") else decoder
                if not piece.strip(b"\0"):
                    break
            else:
                piece = decoder.unconsumed_tail
    if not decoder.eof:
        raise EOFError("its end is missing")


class _Bounded(io.RawIOBase):
    """A file for tarfile, which reads extended headers whole: no single read of more than a piece."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 1 << 20:
            raise UnsafeError("archive_damaged", "The archive has a header of more than a mebibyte.")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _tar(file: IO[bytes], wanted: Collection[str]) -> dict[str, bytes]:
    count, found = _Count(None), _Found(wanted)
    with tarfile.open(fileobj=_Bounded(file), mode="r:", errorlevel=2) as archive:
        while (member := archive.next()) is not None:
            name = count.member(member.name)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise UnsafeError("unsafe_member", f"{name!r} is a link, a device or another special file.")
            count.unpacked(_sized(name, member.size))
            source = archive.extractfile(member)
            data = bytearray()
            while source is not None and (piece := source.read(PIECE_BYTES)):
                data += piece
            if len(data) != member.size:
                raise EOFError("a member is cut short")
            found.take(name, bytes(data))
    return found.named()


def _zip(file: IO[bytes], size_bytes: int, wanted: Collection[str]) -> dict[str, bytes]:
    _check_directory(file, size_bytes)
    count, found = _Count(size_bytes), _Found(wanted)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = count.member(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                continue
            if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
                raise UnsafeError("unsafe_member", f"{name!r} is a link, a special file or encrypted.")
            _sized(name, info.file_size)
            data = bytearray()
            with archive.open(info) as source:
                while piece := source.read(PIECE_BYTES):
                    count.unpacked(len(piece))
                    data += piece
                    _sized(name, len(data))
            found.take(name, bytes(data))
    return found.named()


def _check_directory(file: IO[bytes], size_bytes: int) -> None:
    """Refuse a zip whose directory zipfile would need much memory for; it reads all of it at once."""
    file.seek(max(0, size_bytes - (1 << 16) - _END.size - 20))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise UnsafeError("archive_damaged", "The archive has no directory.")
    _, _, _, _, members, directory_bytes, _, _ = _END.unpack_from(tail, at)
    if b"PK\x06\x07" in tail[max(0, at - 20) : at] or members > MAX_MEMBERS:
        raise UnsafeError("too_many_members", f"The archive has more than {MAX_MEMBERS} members.")
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise UnsafeError("too_many_members", f"The archive's directory has {directory_bytes} bytes.")
    file.seek(0)


def _sized(name: str, size_bytes: int) -> int:
    if size_bytes > MAX_MEMBER_BYTES:
        raise UnsafeError("member_too_large", f"{name!r} has more than {MAX_MEMBER_BYTES} bytes.")
    return size_bytes


class _Found:
    """Wanted files by name, and the folders that they are in."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = frozenset(wanted)
        self._files: dict[str, bytes] = {}
        self._tops: set[str] = set()

    def take(self, path: str, data: bytes) -> None:
        top, slash, rest = path.partition("/")
        self._tops.add(top if slash else "")
        if path in self._wanted or rest in self._wanted:
            self._files[path] = data

    def named(self) -> dict[str, bytes]:
        """By their names in the one folder around everything, if there is one."""
        around = f"{next(iter(self._tops))}/" if len(self._tops) == 1 and "" not in self._tops else ""
        return {
            path.removeprefix(around): data
            for path, data in self._files.items()
            if path.removeprefix(around) in self._wanted
        }
