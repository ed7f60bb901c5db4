"""Development only: run a command, and run it again whenever a Python file under a folder changes.

The command gets SIGTERM and all the time it wants: a node drains. Signals to the watcher are passed on.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

POLL_SECONDS = 0.3
_SKIPPED = frozenset({"__pycache__", ".git", ".venv", "venv", "node_modules", ".tox", ".mypy_cache"})


def run(command: Sequence[str], folder: Path) -> int:
    """Watch until we are asked to stop; the command's exit code. One that ends by itself waits for the next change."""
    watcher = _Watcher(command, folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, watcher.pass_on)
    return watcher.run()


class _Watcher:
    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._stopping = False
        self._child: subprocess.Popen[bytes] | None = None

    def pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    def run(self) -> int:
        while True:
            before = snapshot(self._folder)
            # A session of its own: Ctrl-C reaches the node once, through us.
            self._child = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603 -- our own command
            changed = self._watch(before)
            if self._stopping or not changed:
                return self._child.wait()
            sys.stderr.write(f"{changed} changed: starting again\n")
            self._child.terminate()
            self._child.wait()

    def _watch(self, before: dict[Path, int]) -> Path | None:
        """The first file that changed; None when we were asked to stop."""
        while not self._stopping:
            time.sleep(POLL_SECONDS)
            now = snapshot(self._folder)
            if now != before:
                return next(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
        return None


def snapshot(folder: Path) -> dict[Path, int]:
    """Every Python file under the folder with its modification time in nanoseconds."""
    found: dict[Path, int] = {}
    for path in folder.rglob("*.py"):
        if not _SKIPPED.intersection(path.relative_to(folder).parts):
            try:
                found[path] = path.stat().st_mtime_ns
            except FileNotFoundError:  # gone between listing and looking
                continue
    return found
