"""A backup as it lies on a disk: a folder, or one tar file where the name ends in `.tar`; the same parts in both.

database.dump    every schema, of one instant (pg_dump's custom format)
roles.json       the environments' database roles, without passwords
objects.tar      every object of every bucket
secrets/…        key-encryption key and administrator's key, only where they were asked for
manifest.json    versions, counts, and size and SHA-256 of every part; written last, so that nothing half done has one

Refuses: to write over anything, to read a backup without manifest, of a newer form, or with a part that is not whole.
"""

import fcntl
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from infra.local.problem import ExitCode, LocalError

FORM = 1
MANIFEST = "manifest.json"
DATABASE, ROLES, OBJECTS = "database.dump", "roles.json", "objects.tar"
KEK, ADMIN_KEY = "secrets/kek", "secrets/admin-key"
PARTS = frozenset({DATABASE, ROLES, OBJECTS, KEK, ADMIN_KEY})
_CHUNK_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 64 << 20
_BLOCK = tarfile.BLOCKSIZE


class Part(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is, as `manifest.json` says it. `form` is checked before the rest is read."""

    form: int
    waypost: str
    made_at: datetime  # of the database's snapshot
    postgres: str
    transaction: int  # none of those that the database knows is as high (xid8)
    control_version: str
    environment_versions: dict[str, int]
    kek_ids: list[str]
    database_bytes: int
    object_bytes: int
    buckets: list[str]
    counts: dict[str, int]
    parts: list[Part]


class Sink:
    """Counts and digests what is written through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self.size_bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Writer:
    """A backup being made. `part` for each part, then `finish`; `discard` leaves nothing behind."""

    def __init__(self, target: Path) -> None:
        self.target, self.parts = target, list[Part]()
        self._tar: BinaryIO | None = None
        self._made = False
        self._start = 0  # of the part that is being written

    @classmethod
    def create(cls, target: Path) -> "Writer":
        """Raises LocalError when something is there already, or nothing can be made there."""
        writer = cls(target.expanduser().absolute())
        try:
            writer._create()
        except OSError as error:
            raise _unusable(target, error) from error
        return writer

    def _create(self) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if is_file_name(self.target):
            if self.target.exists():
                raise LocalError(f"{self.target} exists already: choose another name.", ExitCode.CONFLICT)
            self._tar = _own_file(self._partial)
        else:
            if self.target.exists() and (not self.target.is_dir() or any(self.target.iterdir())):
                raise LocalError(f"{self.target} is not an empty folder: choose another.", ExitCode.CONFLICT)
            self._made = not self.target.exists()
            self.target.mkdir(mode=0o700, exist_ok=True)
            self.target.chmod(0o700)

    @property
    def _partial(self) -> Path:
        return self.target.with_name(f"{self.target.name}.partial")

    @contextmanager
    def part(self, name: str) -> Iterator[Sink]:
        """Write one part; it counts when the block ends without an error."""
        with self._opened(name) as sink:
            yield sink
        self.parts.append(Part(name, sink.size_bytes, sink.sha256))

    def retract(self, name: str) -> None:
        """Take back a part that was not written to its end, as the last thing that was begun."""
        if self._tar is None:
            (self.target / name).unlink(missing_ok=True)
        else:
            self._tar.seek(self._start)
            self._tar.truncate()

    def finish(self, manifest: Manifest) -> Path:
        """The manifest, everything on the disk, and a file's final name."""
        with self._opened(MANIFEST) as sink:
            sink.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        if self._tar is not None:
            self._tar.write(b"\0" * _BLOCK * 2)
            _sync(self._tar)
            self._tar.close()
            self._partial.rename(self.target)
        _sync_folder(self.target.parent if self._tar is not None else self.target)
        return self.target

    def discard(self) -> None:
        """Remove what was written."""
        if self._tar is not None:
            self._tar.close()
            self._partial.unlink(missing_ok=True)
            return
        for entry in self.target.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if self._made:
            self.target.rmdir()

    @contextmanager
    def _opened(self, name: str) -> Iterator[Sink]:
        if self._tar is None:
            path = self.target / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with _new_file(path) as file:
                yield (sink := Sink(file))
                _sync(file)
            return
        # The size is known only afterwards: the header, one block whatever the size, is written a second time.
        self._start = self._tar.tell()
        self._tar.write(_header(name, 0))
        yield (sink := Sink(self._tar))
        self._tar.write(b"\0" * (-sink.size_bytes % _BLOCK))
        end = self._tar.tell()
        self._tar.seek(self._start)
        self._tar.write(_header(name, sink.size_bytes))
        self._tar.seek(end)


class Reader:
    """A backup that is whole as far as its manifest goes; `verify` looks at every byte."""

    def __init__(self, source: Path, manifest: Manifest, tar: tarfile.TarFile | None) -> None:
        self.source, self.manifest, self._tar = source, manifest, tar

    @classmethod
    def open(cls, source: Path) -> "Reader":
        """Raises LocalError: nothing there, no backup, never finished, of a newer form."""
        source = source.expanduser().absolute()
        if not source.exists():
            raise LocalError(f"There is no backup at {source}.", ExitCode.NOT_FOUND)
        try:
            tar = None if source.is_dir() else tarfile.open(source, "r:")  # noqa: SIM115 - closed by `close`
            text = _manifest_text(source, tar)
        except tarfile.TarError as error:
            raise _broken(source, "it is no tar file, or ends too early") from error
        except OSError as error:
            raise _unusable(source, error) from error
        return cls(source, _manifest(source, text), tar)

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()

    def has(self, name: str) -> bool:
        return any(part.name == name for part in self.manifest.parts)

    @contextmanager
    def part(self, name: str) -> Iterator[BinaryIO]:
        """One part's bytes. Raises LocalError when it is not there."""
        if name not in PARTS or not self.has(name):
            raise _broken(self.source, f"{name} is missing")
        try:
            file = (self.source / name).open("rb") if self._tar is None else _member(self._tar, name)
        except (OSError, KeyError, tarfile.TarError) as error:
            raise _broken(self.source, f"{name} is missing") from error
        with file:
            yield file

    def verify(self, told: Callable[[int], None]) -> None:
        """Compare every part with the manifest. Raises LocalError at the first that differs.

        `told` gets the bytes so far.
        """
        done = 0
        for part in self.manifest.parts:
            digest, size = hashlib.sha256(), 0
            with self.part(part.name) as file:
                for chunk in _chunks(self.source, part.name, file):
                    digest.update(chunk)
                    size += len(chunk)
                    told(done + size)
            if size != part.size_bytes:
                raise _broken(self.source, f"{part.name} has {size} of {part.size_bytes} bytes")
            if digest.hexdigest() != part.sha256:
                raise _broken(self.source, f"{part.name} is not what was written (SHA-256 differs)")
            done += size


def is_file_name(target: Path) -> bool:
    """A backup is one file where its name ends in `.tar`, else a folder."""
    return target.suffix == ".tar"


def _chunks(source: Path, name: str, file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except (OSError, tarfile.TarError) as error:
        raise _broken(source, f"{name} ends too early") from error


def _manifest_text(source: Path, tar: tarfile.TarFile | None) -> bytes:
    try:
        with (source / MANIFEST).open("rb") if tar is None else _member(tar, MANIFEST) as file:
            return file.read(_MOST_MANIFEST_BYTES)
    except (FileNotFoundError, KeyError):
        raise LocalError(
            f"{source} has no manifest: it is no backup, or one that was never finished or was cut off. "
            "Nothing was restored."
        ) from None


def _manifest(source: Path, text: bytes) -> Manifest:
    try:
        head: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        if head.get("form", 0) > FORM:
            raise LocalError(
                f"{source} was made by a newer Waypost ({head.get('waypost', 'unknown')}): restore it with that "
                "version or a later one. Nothing was restored.",
                ExitCode.VERSION,
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, TypeError) as error:
        raise _broken(source, "its manifest cannot be read") from error


def _member(tar: tarfile.TarFile, name: str) -> BinaryIO:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return cast(BinaryIO, file)


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b")


def _own_file(path: Path) -> BinaryIO:
    """Ours alone while it is open; what a killed backup left under that name goes."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "w+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise LocalError(
            f"Another backup is being written to {path}: choose another name.", ExitCode.CONFLICT
        ) from None
    file.truncate()
    return file


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _broken(source: Path, what: str) -> LocalError:
    return LocalError(f"The backup {source} is damaged: {what}. Nothing was restored.")


def _unusable(path: Path, error: OSError) -> LocalError:
    return LocalError(f"{path} cannot be used: {error.strerror or error}.")
