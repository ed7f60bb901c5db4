"""What a long command says on stderr while it works: a line a stage, redrawn on a terminal, every few seconds else."""

import sys
import time
from typing import TextIO

_TERMINAL_SECONDS = 0.1
_FILE_SECONDS = 5.0


class Progress:
    """`stage` begins one; `tell` says how far it is; `done` ends it with a last word."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._every = _TERMINAL_SECONDS if self._stream.isatty() else _FILE_SECONDS
        self._stage, self._told_at = "", 0.0

    def stage(self, name: str) -> None:
        self._stage, self._told_at = name, time.monotonic()

    def tell(self, text: str) -> None:
        """Now and then; most calls write nothing."""
        now = time.monotonic()
        if now - self._told_at >= self._every:
            self._told_at = now
            self._write(text, ended=False)

    def done(self, text: str) -> None:
        self._write(text, ended=True)

    def _write(self, text: str, *, ended: bool) -> None:
        line = f"{self._stage:<12}{text}"
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line}" + ("\n" if ended else ""))
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()


def size(size_bytes: int) -> str:
    """For people: `1.5 MiB`."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
