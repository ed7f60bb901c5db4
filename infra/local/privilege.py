"""What a child process may do: its user, its one capability, its turn, and the signal it gets when the supervisor dies.

PostgreSQL refuses to run as root, so as root it is given to another existing user. Folders that this user may not enter
(a clone below /root, a `mktemp -d`) stay as they are: the child gets CAP_DAC_READ_SEARCH, and nothing else.

All but the gateway are scheduled as batch work: who wakes up waits for its turn instead of interrupting who runs, and
who answers people goes first. On two cores, nodes alike, 4,600-5,000 jobs/s at saturation instead of 3,500-4,000; with
the gateway taking turns too, a local load generator pushed it aside: 4,260 webhooks/s instead of 5,700-6,200
(docs/performance.md).
Linux only; elsewhere children simply run as the caller.
"""

import contextlib
import ctypes
import os
import pwd
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from infra.local.problem import ExitCode, LocalError

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_CHOWN = 0
_CAP_DAC_READ_SEARCH = 2
_CAP_SETGID = 6
_CAP_SETUID = 7
_CAP_SETPCAP = 8

_LINUX = sys.platform == "linux"
# Loaded before any fork: a child between fork and exec may not take the loader's lock.
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None


def server_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when we are root (`WAYPOST_SERVER_USER`, default nobody); None = as ourselves."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("WAYPOST_SERVER_USER", "nobody")
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise LocalError(
            f"PostgreSQL refuses to run as root and there is no user {name!r} on this machine: "
            "name an existing one in WAYPOST_SERVER_USER, or run as another user than root.",
            ExitCode.USAGE,
        ) from None
    if user.pw_uid == 0:
        raise LocalError("WAYPOST_SERVER_USER may not be root: PostgreSQL refuses it.", ExitCode.USAGE)
    return user


def may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    """Whether `user` may pass through `folder` and everything above it, by mode bits alone."""
    return all(_searchable(place, user) for place in (folder, *folder.parents))


def _searchable(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == user.pw_gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def require_drop(user: pwd.struct_passwd, folders: list[Path]) -> bool:
    """Check that we can run something as `user` inside `folders`; True when it needs CAP_DAC_READ_SEARCH for that."""
    held = _effective_capabilities()
    blocked = [folder for folder in folders if not may_enter(folder, user)]
    missing = [name for name, bit in (("CHOWN", _CAP_CHOWN), ("SETUID", _CAP_SETUID), ("SETGID", _CAP_SETGID))
               if not held >> bit & 1]  # fmt: skip
    if missing:
        raise LocalError(
            f"PostgreSQL refuses to run as root, and this root may not change to the user {user.pw_name} "
            f"(capability {', '.join(missing)} is missing): run as another user than root."
        )
    if blocked and not (held >> _CAP_DAC_READ_SEARCH & 1 and held >> _CAP_SETPCAP & 1):
        raise LocalError(
            f"PostgreSQL refuses to run as root, and the user {user.pw_name} may not enter {blocked[0]}: "
            "choose another --data-dir, or name another user in WAYPOST_SERVER_USER."
        )
    return bool(blocked)


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def child_setup(
    death_signal: int, user: pwd.struct_passwd | None = None, read_search: bool = False, *, batch: bool = True
) -> Callable[[], None] | None:
    """What the child does between fork and exec; None where there is nothing to do.

    `death_signal` is sent to it when the thread that starts it ends, so start children from the main thread. `batch`:
    it waits for its turn when it wakes up (SCHED_BATCH), with all that it starts.
    """
    if not _LINUX:
        return None

    def setup() -> None:
        if user is not None:
            _become(user, read_search)
        # After the change of user, which clears it.
        _prctl(_PR_SET_PDEATHSIG, death_signal)
        if batch and os.sched_getscheduler(0) == os.SCHED_OTHER:  # else somebody chose another
            with contextlib.suppress(OSError):  # a sandbox may forbid it
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    return setup


def _become(user: pwd.struct_passwd, read_search: bool) -> None:
    if read_search:
        _prctl(_PR_SET_KEEPCAPS, 1)
        # access(2) leaves the capabilities of an ordinary user out of account without it, and initdb asks access(2).
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if not read_search:
        return
    bit = 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("6I", bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then the upper 32 of each
    if _libc is None or _libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc is None or _libc.prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
