"""The data folder of one local platform: its layout, its lock, its version, its secrets.

lock          held by the supervisor (flock), so it falls with the process that holds it
version.json  the layout's number and who wrote it
state.json    what runs: for `status`, `down`, and for finding leftovers
secrets/      0700: kek, passwords.json, admin-key
postgres/ objects/ valkey/ logs/ run/
"""

import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import waypost
from infra.local.privilege import server_user
from infra.local.problem import ExitCode, LocalError

if TYPE_CHECKING:
    from waypost.secret import KeyRing

LAYOUT = 1
MIN_FREE_BYTES = 200 << 20  # a cluster, its log and a checkpoint fit; below it PostgreSQL would stop in the middle
_MAX_SOCKET_FOLDER_BYTES = 80  # sun_path holds 107, the longest file name in it is 20
PASSWORDS = (
    "postgres",
    "waypost_owner",
    "waypost_gateway",
    "waypost_relay",
    "waypost_worker",
    "waypost_provisioner",
    "waypost_auditor",
    "valkey_gateway",
    "valkey_relay",
    "valkey_worker",
    "s3_access_key",
    "s3_secret_key",
    "objects_signing",
)


class DataFolder:
    """Paths and files; nothing is made before `open`."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self._lock: int | None = None

    @property
    def socket_dir(self) -> Path:
        """Where the unix sockets lie: in the folder, or a short path where its own would be too long for one."""
        name = f"waypost-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}"
        elsewhere = Path("/tmp") / name  # noqa: S108 - checked to be ours before it is used
        for place in (self.root / "run", Path(tempfile.gettempdir()) / name):
            if len(os.fsencode(place)) <= _MAX_SOCKET_FOLDER_BYTES:
                return place
        return elsewhere

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def kek_file(self) -> Path:
        return self.secrets / "kek"

    @property
    def admin_key_file(self) -> Path:
        return self.secrets / "admin-key"

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    def open(self) -> None:
        """Make the folder where there is none, lock it, and check that it is ours to use.

        Raises LocalError: not writable, a second supervisor, a newer layout, a full disk.
        """
        try:
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._take_lock()
            self._check_version()
            self._check_space()
            for place in (self.secrets, self.logs):
                place.mkdir(mode=0o700, exist_ok=True)
            self._check_socket_dir()
        except OSError as error:
            self.close()
            raise folder_problem(self.root, error) from error
        except LocalError:
            self.close()
            raise

    def open_empty(self) -> None:
        """Make and lock a folder that is to be filled from a backup; no start takes it before `finish_filling`.

        Raises LocalError when it holds anything but what an interrupted filling left, which goes.
        """
        try:
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._take_lock()
            self._check_empty()
            self._filling.touch(0o600)
            self._clear()
            self._check_space()
            for place in (self.secrets, self.logs):
                place.mkdir(mode=0o700)
            self._check_socket_dir()
        except OSError as error:
            self.close()
            raise folder_problem(self.root, error) from error
        except LocalError:
            self.close()
            raise

    def _check_empty(self) -> None:
        others = [entry for entry in self.root.iterdir() if entry.name != "lock"]
        if others and not self._filling.exists():
            raise LocalError(f"{self.root} is not empty: choose another folder with --data-dir.", ExitCode.CONFLICT)

    def finish_filling(self) -> None:
        """From here on it is a data folder like any other."""
        self._write_version()
        self._filling.unlink()

    def remove_filling(self) -> None:
        """After a failure: nothing is left, and the folder is empty."""
        self._clear()
        self._filling.unlink(missing_ok=True)
        (self.root / "lock").unlink(missing_ok=True)

    @property
    def _filling(self) -> Path:
        return self.root / "restoring"

    def _clear(self) -> None:
        for entry in self.root.iterdir():
            if entry.name not in ("lock", self._filling.name):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_running(self) -> bool:
        """Whether a supervisor holds the folder at this moment."""
        try:
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def passwords(self) -> dict[str, str]:
        """The passwords of every login, made once; a later version may add some."""
        path = self.secrets / "passwords.json"
        known: dict[str, str] = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
        missing = [name for name in PASSWORDS if name not in known]
        if missing:
            known |= {name: secrets.token_urlsafe(24) for name in missing}
            write_secret(path, msgspec.json.encode(known))
        return known

    def kek_variables(self) -> dict[str, str]:
        """Where the key-encryption keys are, as settings: where the caller's WAYPOST_KEK or WAYPOST_KEK_FILE says, else
        in the folder's own file.
        """
        for name in ("WAYPOST_KEK", "WAYPOST_KEK_FILE"):
            if given := os.environ.get(name):
                return {name: given}
        return {"WAYPOST_KEK_FILE": str(self.kek_file)}

    def ensure_kek(self) -> None:
        """The key-encryption key, made for a folder without data: 32 random bytes, base64url. Losing it loses every
        sealed body. Raises LocalError: the file of a folder with data is gone, can be read by others, or is no key.
        """
        places = self.kek_variables()
        own = places.get("WAYPOST_KEK_FILE") == str(self.kek_file)
        if own and not self.kek_file.exists():
            if (self.root / "ground").exists():
                raise LocalError(
                    f"The key-encryption key {self.kek_file} is gone, and the data in {self.root} was sealed with it: "
                    "put the file back. Nothing was changed.",
                    ExitCode.CREDENTIALS,
                )
            write_secret(self.kek_file, base64.urlsafe_b64encode(secrets.token_bytes(32)))
        self.key_ring()

    def key_ring(self) -> "KeyRing":
        """The key-encryption keys of this folder. Raises LocalError when they cannot be used."""
        from waypost.secret import SealError, open_ring

        places = self.kek_variables()
        file = places.get("WAYPOST_KEK_FILE")
        try:
            return open_ring(Path(file) if file else None, places.get("WAYPOST_KEK"))
        except SealError as error:
            raise LocalError(f"The key-encryption key cannot be used: {error}.", ExitCode.CREDENTIALS) from error

    def read_state(self) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            state: dict[str, Any] = msgspec.json.decode(self.state_file.read_bytes())
            return state
        return None

    def write_state(self, state: dict[str, Any]) -> None:
        write_secret(self.state_file, msgspec.json.format(msgspec.json.encode(state), indent=1))

    def _take_lock(self) -> None:
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode().strip() or "unknown"
            os.close(handle)
            raise LocalError(
                f"A platform already runs on {self.root} (process {holder}): stop it with "
                f"`waypost down --data-dir {self.root}`, or choose another folder with --data-dir.",
                ExitCode.CONFLICT,
            ) from None
        self._lock = handle
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)

    def _check_version(self) -> None:
        path = self.root / "version.json"
        if self._filling.exists():
            raise LocalError(
                f"A restore into {self.root} was interrupted: run `waypost admin restore` again, or remove the folder.",
                ExitCode.CONFLICT,
            )
        if not path.exists():
            strangers = [entry.name for entry in self.root.iterdir() if entry.name != "lock"]
            if strangers:
                raise LocalError(
                    f"{self.root} is not empty and not a data folder of Waypost (it holds {strangers[0]!r}): "
                    "choose another folder with --data-dir.",
                    ExitCode.CONFLICT,
                )
            self._write_version()
            return
        found = msgspec.json.decode(path.read_bytes())
        if found["layout"] > LAYOUT:
            raise newer_version(self.root, str(found.get("waypost", "unknown")))

    def _write_version(self) -> None:
        content = msgspec.json.encode({"layout": LAYOUT, "waypost": own_version()})
        write_secret(self.root / "version.json", content)

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.root).free
        if free < MIN_FREE_BYTES:
            raise LocalError(
                f"The disk of {self.root} has {free >> 20} MiB free, a start needs {MIN_FREE_BYTES >> 20} MiB: "
                "make room or choose another folder with --data-dir."
            )

    def _check_socket_dir(self) -> None:
        place = self.socket_dir
        if place.parent == self.root:
            return
        place.mkdir(mode=0o700, exist_ok=True)
        status = place.lstat()
        user = server_user()
        owners = {os.geteuid()} | ({user.pw_uid} if user else set())
        if place.is_symlink() or status.st_uid not in owners:
            raise LocalError(f"{place}, where the sockets should lie, belongs to somebody else: remove it.")


def own_version() -> str:
    return waypost.__version__


def newer_version(root: Path, version: str) -> LocalError:
    return LocalError(
        f"The data in {root} was written by a newer Waypost ({version}; this is {own_version()}): "
        "start it with that version or a later one. Nothing was changed.",
        ExitCode.VERSION,
    )


def folder_problem(root: Path, error: OSError) -> LocalError:
    """The sentence for a folder that cannot be used."""
    if error.errno == errno.ENOSPC:
        return LocalError(f"The disk of {root} is full: make room or choose another folder with --data-dir.")
    return LocalError(f"The data folder {root} cannot be used: {error.strerror or error} ({error.filename or root}).")


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file by one that is whole or not there, 0600 from its first byte."""
    staging = path.with_name(path.name + ".new")
    handle = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    staging.replace(path)
