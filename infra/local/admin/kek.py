"""`waypost admin rotate-kek`: a new key-encryption key for a running platform, and the end of the one before.

The file holds both keys while it lasts, the new one first; every process looks at it before it wraps and when it meets
a key that it does not know. Killed anywhere and run again, it finishes what was begun. Refuses: to make a key where
the processes get theirs in another way than from this file; there the operator hands out both, and this does the rest.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json
from infra.local.problem import ExitCode, LocalError

if TYPE_CHECKING:
    from storage.rotation import Rotated

ACTOR = "system:admin"


def register(admin: typer.Typer) -> None:
    admin.command("rotate-kek")(rotate_kek)


def rotate_kek(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Make a new key-encryption key, wrap everything under it, and end the one before; the platform runs on."""
    answer = run(data_dir, rotate)
    if as_json or not sys.stdout.isatty():
        write_json(answer)
        return
    typer.echo(f"key in use   {answer['kek_id']}")
    typer.echo(f"ended        {', '.join(answer['retired']) or 'none'}")
    for table, count in answer["rewrapped"].items():
        typer.echo(f"wrapped anew {count} of {table}")


async def rotate(platform: Platform) -> dict[str, Any]:
    """The whole rotation, or the rest of one that was begun."""
    import msgspec

    from waypost.secret import SealError

    try:
        rotated = await (_with_given(platform) if _is_given(platform) else _with_file(platform))
    except SealError as error:
        raise LocalError(f"The key-encryption key was not rotated: {error}.", ExitCode.CREDENTIALS) from error
    answer: dict[str, Any] = msgspec.to_builtins(rotated)
    return answer


def _is_given(platform: Platform) -> bool:
    """Whether the processes get their keys otherwise than from a file that this command may replace."""
    return platform.folder is None or "WAYPOST_KEK" in platform.folder.kek_variables()


async def _with_file(platform: Platform) -> "Rotated":
    from waypost.secret.model import DataKey, KeyEncryptionKey, encode_key, private_lines

    path = platform.kek_file
    with _alone(path):
        lines = private_lines(path)
        if len(lines) == 1:
            fresh = DataKey.generate()
            # Known to the database before any process can wrap with it.
            await _register(platform, KeyEncryptionKey(fresh).id)
            lines = [encode_key(fresh), *lines]
            _write(path, lines)
        rotated = await _rotate(platform)
        _write(path, lines[:1])
    return rotated


async def _with_given(platform: Platform) -> "Rotated":
    """The keys come from elsewhere: WAYPOST_KEK, or a file that somebody hands out."""
    if len(platform.kek.ids) == 1:
        raise LocalError(
            "One key-encryption key is given, and this command cannot hand another one out to the processes: give all "
            "of them, and this command, a new one and this one, the new one first; then run it again.",
            ExitCode.USAGE,
        )
    return await _rotate(platform)


async def _register(platform: Platform, kek_id: str) -> None:
    from storage.postgres.tenancy.kek import register_kek

    database = await platform.database()
    async with database.unit() as connection:
        await register_kek(connection, kek_id)


async def _rotate(platform: Platform) -> "Rotated":
    from storage.rotation import rotate as rewrap

    def tell(table: str, count: int) -> None:
        typer.echo(f"wrapped {count} of {table}", err=True)

    return await rewrap(await platform.database(), platform.kek, actor=ACTOR, tell=tell)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One rotation of a file at a time; the lock falls with the process that holds it."""
    handle = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LocalError(f"Another rotation of {path} is running: wait for it.", ExitCode.CONFLICT) from None
    finally:
        os.close(handle)


def _write(path: Path, lines: list[str]) -> None:
    from infra.local.folder import folder_problem, write_secret

    try:
        write_secret(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise folder_problem(path.parent, error) from error
