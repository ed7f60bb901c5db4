"""Processes that outlived their supervisor: found by pid and start time, so that no stranger is ever touched."""

import contextlib
import signal
from typing import Any

import psutil

_STOP_SECONDS = 10.0
_SAME_SECONDS = 0.05  # start times are ticks since boot, the wall clock may be trimmed


def find(state: dict[str, Any] | None) -> list[psutil.Process]:
    """The processes of a recorded state that still live."""
    found = []
    for entry in (state or {}).get("processes", []):
        process = alive(entry.get("pid"), entry.get("created"))
        if process is not None:
            found.append(process)
    return found


def alive(pid: int | None, created: float | None) -> psutil.Process | None:
    """The process with this pid, if it is the one that was started at `created` (seconds since the epoch)."""
    if not pid or created is None:
        return None
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > _SAME_SECONDS or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def take_down(processes: list[psutil.Process]) -> None:
    """Stop them: PostgreSQL by its fast shutdown, the rest by SIGTERM, what does not listen by SIGKILL. Blocking."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
    _, stubborn = psutil.wait_procs(processes, timeout=_STOP_SECONDS)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=_STOP_SECONDS)
