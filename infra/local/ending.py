"""Stopping a platform from outside: by its supervisor, or, when that is gone, by what it left running."""

import contextlib
import signal
import time
from pathlib import Path

import psutil

from infra.local import leftover
from infra.local.folder import DataFolder
from infra.local.problem import ExitCode, LocalError

_STOP_SECONDS = 120.0


def stop(root: Path) -> str:
    """Returns when nothing of it runs; what was done, in a sentence. Raises LocalError. Blocking."""
    folder = DataFolder(root)
    if not folder.root.is_dir():
        raise LocalError(f"There is no data folder {folder.root}.", ExitCode.NOT_FOUND)
    state = folder.read_state()
    processes = leftover.find(state)
    if not folder.is_running():
        leftover.take_down(processes)
        if processes:
            return f"The supervisor of {folder.root} was gone; stopped the {len(processes)} processes that it left."
        return f"Nothing was running on {folder.root}."
    entry = (state or {}).get("supervisor", {})
    supervisor = leftover.alive(entry.get("pid"), entry.get("created")) or _holder(folder)
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor.send_signal(signal.SIGTERM)
    until = time.monotonic() + _STOP_SECONDS
    while folder.is_running():
        if time.monotonic() > until:
            raise LocalError(
                f"The platform on {folder.root} did not stop within {_STOP_SECONDS:g} s (process {supervisor.pid}).",
                ExitCode.SERVER,
            )
        time.sleep(0.02)
    created = entry.get("created")
    while leftover.alive(supervisor.pid, created) and time.monotonic() < until:  # a zombie is gone, whoever reaps it
        time.sleep(0.01)
    leftover.take_down(leftover.find(state))
    return f"Stopped the platform on {folder.root}."


def _holder(folder: DataFolder) -> psutil.Process:
    """The process that wrote its id into the lock: it has not come to writing its state."""
    try:
        return psutil.Process(int((folder.root / "lock").read_text()))
    except (ValueError, psutil.Error) as error:
        raise LocalError(f"Somebody holds {folder.root / 'lock'} who does not say who.", ExitCode.SERVER) from error
