"""pg_dump and pg_restore as streams. Refuses: a password in the arguments of a program or in a file."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from waypost.errors import Category, WaypostError

_CHUNK_BYTES = 1 << 20


class Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...


async def dump(admin_url: str, snapshot_id: str, binaries: Path, sink: Sink, told: Callable[[int], None]) -> None:
    """Write the whole database as of the snapshot into `sink`, in pg_dump's compressed custom format.

    `told` gets the number of bytes so far. Raises `dump_failed`, with pg_dump's own last line.
    """
    arguments = ("--format=custom", "--no-password", f"--snapshot={snapshot_id}", "--lock-wait-timeout=60s")
    process = await asyncio.create_subprocess_exec(
        str(binaries / "pg_dump"),
        *arguments,
        env=_environment(admin_url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("both are pipes")
    errors = asyncio.create_task(process.stderr.read())
    written = 0
    try:
        while chunk := await process.stdout.read(_CHUNK_BYTES):
            await asyncio.to_thread(sink.write, chunk)
            written += len(chunk)
            told(written)
        await process.wait()
    except BaseException:
        await _kill(process)
        raise
    _check("pg_dump", "dump_failed", process, await errors)


async def restore(admin_url: str, binaries: Path, source: BinaryIO, told: Callable[[int], None]) -> None:
    """Bring a dump into the database, which has no schema of ours yet. Its roles must be there.

    Raises `restore_failed`, with pg_restore's own first complaint; the database is of no use then.
    """
    arguments = ("--no-password", "--exit-on-error", "--transaction-size=500", f"--dbname={_dbname(admin_url)}")
    process = await asyncio.create_subprocess_exec(
        str(binaries / "pg_restore"),
        *arguments,
        env=_environment(admin_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stderr is None:
        raise RuntimeError("both are pipes")
    errors = asyncio.create_task(process.stderr.read())
    read = 0
    try:
        while chunk := await asyncio.to_thread(source.read, _CHUNK_BYTES):
            process.stdin.write(chunk)
            await process.stdin.drain()
            read += len(chunk)
            told(read)
        process.stdin.close()
        await process.wait()
    except (BrokenPipeError, ConnectionResetError):
        await process.wait()  # it has said why
    except BaseException:
        await _kill(process)
        raise
    _check("pg_restore", "restore_failed", process, await errors)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _check(tool: str, code: str, process: asyncio.subprocess.Process, errors: bytes) -> None:
    if process.returncode:
        lines = [line for line in errors.decode("utf-8", "replace").splitlines() if "error:" in line] or [""]
        reason = lines[0].removeprefix(f"{tool}: error: ").rstrip(".")
        raise WaypostError(code, f"{tool} failed: {reason or f'exit code {process.returncode}'}.", Category.INTERNAL)


def _dbname(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def _environment(url: str) -> dict[str, str]:
    """The login for libpq: in the environment, not in the arguments, which everybody on the machine can read."""
    parts = urlsplit(url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    found = {
        "PGHOST": options.pop("host", "") or parts.hostname or "",
        "PGPORT": str(parts.port or ""),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": _dbname(url),
        "PGSSLMODE": options.get("sslmode", ""),
        "PGSSLROOTCERT": options.get("sslrootcert", ""),
        "PGAPPNAME": "waypost-backup",
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C",
    }
    return {name: value for name, value in found.items() if value}
