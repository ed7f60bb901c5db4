"""Where the lines of all processes go: a file each, bounded in size, and the terminal, each line led by its process.

The embedded servers' chatter goes to their files only; on the terminal appear the lines that a person should see.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TextIO

SUPERVISOR = "waypost"
_MAX_FILE_BYTES = 8 << 20  # with the one before it, 16 MiB a process
_COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")


class Journal:
    """`console` None = files only. `json_lines`: one object a line on the console, as the processes write them."""

    def __init__(self, folder: Path, console: TextIO | None, *, json_lines: bool = False) -> None:
        self._folder = folder
        self._console = console
        self._json = json_lines
        self._files: dict[str, BinaryIO] = {}
        self._colour = bool(console and console.isatty() and "NO_COLOR" not in os.environ)

    def say(self, event: str) -> None:
        """A line of the supervisor itself."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._json:
            self.take(SUPERVISOR, json.dumps({"at": now, "process": SUPERVISOR, "event": event}))
        else:
            self.take(SUPERVISOR, f"{now} {event}")

    def take(self, name: str, line: str, *, shown: bool = True) -> None:
        """Keep a line of the process `name`; `shown` on the console too. A console that has gone is no error."""
        self._keep(name, line)
        if self._console is None or not shown:
            return
        try:
            self._console.write(self._dressed(name, line) + "\n")
            self._console.flush()
        except (OSError, ValueError):
            self._console = None

    def last_lines(self, name: str, count: int = 3) -> list[str]:
        """The end of a process's file, for the sentence that says why it did not start."""
        try:
            text = (self._folder / f"{name}.log").read_text("utf-8", "replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _dressed(self, name: str, line: str) -> str:
        if self._json:
            return line if line.startswith("{") else json.dumps({"process": name, "event": line})
        if not self._colour:
            return f"{name:<10} | {line}"
        colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
        return f"\x1b[{colour}m{name:<10} |\x1b[0m {line}"

    def _keep(self, name: str, line: str) -> None:
        try:
            file = self._files.get(name) or self._open(name)
            if file.tell() > _MAX_FILE_BYTES:
                file.close()
                path = self._folder / f"{name}.log"
                path.replace(path.with_name(f"{name}.log.1"))
                file = self._open(name)
            file.write(line.encode("utf-8", "replace") + b"\n")
        except OSError:  # a full disk must not take the platform down with its log
            self._files.pop(name, None)

    def _open(self, name: str) -> BinaryIO:
        handle = os.open(self._folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = os.fdopen(handle, "ab", buffering=0)
        self._files[name] = file
        return file


def console() -> TextIO:
    """Logs go to stderr: stdout is for what was asked for."""
    return sys.stderr
