"""What the supervisor starts: one program, how to tell that it is ready, and how to stop it."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec


class Ready(msgspec.Struct, frozen=True):
    """What a process says when it serves: the address for its users and the one for /readyz and /metrics."""

    address: str = ""
    internal_address: str = ""


class Program(msgspec.Struct, frozen=True):
    """`ready` is asked until it answers; None = the program itself writes one JSON line to WAYPOST_READY_FD."""

    name: str
    kind: str  # postgres, valkey, objects, gateway, relay, worker
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    setup: Callable[[], None] | None = None
    ready: Callable[[], Awaitable[Ready | None]] | None = None
    before: Callable[[], None] | None = None  # run before every start, in a thread
    after: Callable[[], None] | None = None  # run once it is stopped for good
    shown: Callable[[str], bool] | None = None  # which of its lines the terminal shows; None = all
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15.0
    killed_at_stop: bool = False  # that it has to be killed is expected and not worth a line
    start_seconds: float = 30.0


class Server(Protocol):
    """One embedded server."""

    def prepare(self) -> None:
        """Make its files; blocking; harmless when they are there. Raises LocalError."""

    def program(self) -> Program:
        """What to run once `prepare` is done."""
