"""What handlers print, line by line in their jobs' logs: stdout and stderr of functions with `capture_output`.

The process's streams are wrapped while a node serves; whoever prints is known by the context that the handler runs in,
which async children and `asyncio.to_thread` inherit. What is printed still goes where it went before. Not seen: other
processes, code that writes to file descriptors, threads that a handler starts by itself.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

MAX_LINE_CHARACTERS = 8_000
_STREAMS = ("stdout", "stderr")

Tell = Callable[[str, str], None]  # "stdout" or "stderr", and a line


class Printed:
    """What one handler prints: whole lines are told at once, the last one when it ends."""

    __slots__ = ("_lock", "_rest", "_tell")

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._rest = {"stdout": "", "stderr": ""}
        self._lock = threading.Lock()  # a handler's own threads

    def write(self, stream: str, text: str) -> None:
        with self._lock:
            *lines, rest = (self._rest[stream] + text).split("\n")
            while len(rest) >= MAX_LINE_CHARACTERS:
                lines.append(rest[:MAX_LINE_CHARACTERS])
                rest = rest[MAX_LINE_CHARACTERS:]
            self._rest[stream] = rest
        for line in lines:
            self._say(stream, line)

    def end(self) -> None:
        for stream, rest in self._rest.items():
            if rest:
                self._rest[stream] = ""
                self._say(stream, rest)

    def _say(self, stream: str, line: str) -> None:
        line = line.removesuffix("\r")
        for at in range(0, max(len(line), 1), MAX_LINE_CHARACTERS):
            self._tell(stream, line[at : at + MAX_LINE_CHARACTERS])


_printed: ContextVar[Printed | None] = ContextVar("waypost_printed", default=None)


@contextmanager
def captured(tell: Tell) -> Iterator[None]:
    """Tell what is printed within, in this context and those made in it."""
    _watch()  # somebody may have put another stream there since
    printed = Printed(tell)
    token = _printed.set(printed)
    try:
        yield
    finally:
        _printed.reset(token)
        printed.end()


class _Watched:
    """A stream that is written to as before, and tells the handler that writes. Everything else is the stream's own."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.watched, self._name = stream, name

    def write(self, text: str) -> int:
        printed = _printed.get()
        if printed is not None and isinstance(text, str):
            printed.write(self._name, text)
        return self.watched.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.watched, name)


@contextmanager
def watched_streams() -> Iterator[None]:
    """Wrap the process's streams, also where the root logger writes to them."""
    before = {name: getattr(sys, name) for name in _STREAMS}
    _watch()
    moved = [(handler, stream) for handler, stream in _root_streams() if any(stream is one for one in before.values())]
    for handler, stream in moved:
        handler.setStream(sys.stdout if stream is before["stdout"] else sys.stderr)
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
        for name in _STREAMS:
            stream = getattr(sys, name)
            if isinstance(stream, _Watched):
                setattr(sys, name, stream.watched)


def _watch() -> None:
    for name in _STREAMS:
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Watched):
            setattr(sys, name, _Watched(stream, name))


def _root_streams() -> list[tuple[Any, Any]]:
    handlers = logging.getLogger().handlers
    return [(handler, handler.stream) for handler in handlers if isinstance(handler, logging.StreamHandler)]
