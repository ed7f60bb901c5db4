"""Changing a TOML file that people edit too: comments and what is not ours stay, and nobody else can read it.

A reader sees the old content or the new one, never half of it; of two writers at once the second sees the first one's
change. A symbolic link stays one: what it points at is written.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from waypost_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

MODE = 0o600
FOLDER_MODE = 0o700


@contextlib.contextmanager
def edit(path: Path) -> "Iterator[TOMLDocument]":
    """The file's document, to be changed in the `with`; written at its end, mode 0600. Raises ConfigurationError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        path = path.resolve()
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with _alone(path.parent):
            document = tomlkit.parse(_content(path))
            yield document
            _replace(path, tomlkit.dumps(document))
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise ConfigurationError("bad_configuration", f"{path} is no TOML that can be changed: {error}") from error
    except OSError as error:
        raise ConfigurationError("bad_configuration", f"{path} cannot be written: {error.strerror or error}") from error


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str) -> None:
    """Never readable by others, not even for a moment: mkstemp makes files 0600."""
    handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(staging).chmod(MODE)
        Path(staging).replace(path)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, where the system has one: no lock file is left behind."""
    try:
        import fcntl
    except ImportError:  # Windows: the last writer wins
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
