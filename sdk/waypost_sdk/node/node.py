"""`Node`: functions declared with a decorator, and one call that serves them until the process is asked to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from waypost_sdk import configuration
from waypost_sdk.errors import DeclarationError
from waypost_sdk.node.capture import watched_streams
from waypost_sdk.node.function import MOST_IN_FLIGHT, Function, Handler, checked_limit
from waypost_sdk.version import VERSION

if TYPE_CHECKING:
    from waypost_sdk.node.runtime import Runtime

SDK_NAME = "waypost-python"
_H = TypeVar("_H", bound=Handler)
_log = logging.getLogger("waypost.node")
_read_by_command = False


@contextlib.contextmanager
def read_by_command() -> Iterator[None]:
    """While `waypost node run` reads a file that ends with `node.run()`: the command serves the node, not its file."""
    global _read_by_command
    _read_by_command = True
    try:
        yield
    finally:
        _read_by_command = False


class Node:
    """A compute node: tags, functions, one stream to a relay.

        node = Node(tags=["gpu", "mem_gb=24"])

        @node.function("text.count", max_in_flight=8)
        async def count(job: RunningJob, payload: Request) -> Answer: ...

        node.run()

    `relay` is `host:port` (plaintext to this machine, TLS elsewhere; `grpc://` and `grpcs://` say it outright), `url`
    the API's address, where tokens are fetched. What is not given comes from WAYPOST_RELAY, WAYPOST_URL,
    WAYPOST_CLIENT_ID, WAYPOST_CLIENT_SECRET or the configuration file, when the node starts. `max_in_flight` bounds all
    functions together; the default is the sum of theirs. `capture_output`: what handlers print goes into their jobs'
    logs, too, unless a function says otherwise.
    """

    def __init__(
        self,
        tags: Iterable[str] = (),
        relay: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        url: str | None = None,
        name: str | None = None,
        max_in_flight: int | None = None,
        *,
        capture_output: bool = False,
    ) -> None:
        if isinstance(tags, str):
            raise DeclarationError("bad_declaration", f"tags is a list of texts, not the text {tags!r}.")
        self.tags = tuple(tags)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._given = {"relay": relay, "client_id": client_id, "client_secret": client_secret, "url": url}
        self._max_in_flight = max_in_flight if max_in_flight is None else checked_limit(max_in_flight, 1, "the node")
        self._capture_output = capture_output
        self._functions: dict[str, Function] = {}
        self._runtime: Runtime | None = None

    def function(
        self, name: str, *, max_in_flight: int | None = None, capture_output: bool | None = None
    ) -> Callable[[_H], _H]:
        """Declare the decorated callable as node function `name`; it is returned unchanged.

        The handler is called as `handler(job, payload)`; the annotation of `payload` (msgspec struct, dataclass, or
        nothing for plain JSON with exact numbers) decides how the payload is read, and one that does not fit fails the
        job for good. Async functions run in the loop, plain ones in threads. `max_in_flight` is how many may run at
        once: 100 for async, 16 for plain ones unless given. `capture_output`: what it writes to stdout and stderr goes
        into the job's log, too; the node's default unless given. Raises DeclarationError.
        """

        def declare(handler: _H) -> _H:
            if name in self._functions:
                raise DeclarationError("bad_declaration", f"{name} is declared twice.")
            capture = self._capture_output if capture_output is None else capture_output
            self._functions[name] = Function(name, handler, max_in_flight, capture_output=capture)
            return handler

        return declare

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the declared functions."""
        return tuple(self._functions)

    @property
    def max_in_flight(self) -> int:
        """How many jobs may run here at once."""
        together = sum(function.max_in_flight for function in self._functions.values())
        return self._max_in_flight or min(together, MOST_IN_FLIGHT)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT: finish what is running, then leave. A second signal leaves at once.

        On Linux the process becomes batch work for the scheduler (SCHED_BATCH): beside a platform on the same machine
        both get more done when they take turns. `serve` leaves the process as it is.

        Does nothing in a file that `waypost node run` reads: the command serves the node itself.
        Raises NodeRefusedError when the platform does not want this node, ConfigurationError when something is missing.
        """
        if _read_by_command:
            return
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
            logging.getLogger("httpx").setLevel(logging.WARNING)
        _take_turns()
        asyncio.run(self._serve_with_signals())

    async def serve(self) -> None:
        """Serve in the running loop until `stop()`; signals are the caller's. Cancelling it leaves at once.

        Raises like `run`, and RuntimeError when this node is being served already.
        """
        from waypost_sdk.node.runtime import Runtime  # here, because grpc is slow to import
        from waypost_sdk.node.token import TokenSource

        if self._runtime is not None:
            raise RuntimeError("this node is being served already")
        if not self._functions:
            raise DeclarationError("bad_declaration", "The node has no function: declare one with @node.function(…).")
        settings = configuration.resolve(**self._given)
        require = configuration.require
        tokens = TokenSource(
            require(settings, "url"), require(settings, "client_id"), require(settings, "client_secret")
        )
        self._runtime = Runtime(
            self._functions,
            relay=require(settings, "relay"),
            url=require(settings, "url"),
            tokens=tokens,
            about={"name": self.name, "sdk": SDK_NAME, "version": VERSION},
            tags=self.tags,
            max_in_flight=self.max_in_flight,
        )
        captures = any(function.capture_output for function in self._functions.values())
        try:
            with watched_streams() if captures else contextlib.nullcontext():
                await self._runtime.serve()
        finally:
            self._runtime = None

    def stop(self, reason: str = "the node is stopping") -> None:
        """Drain: take no new work, finish what is running, then `serve` returns. From the loop's thread."""
        if self._runtime is not None:
            self._runtime.drain(reason)

    async def wait_connected(self) -> None:
        """Return once the relay has greeted this node. Raises RuntimeError when `serve` has not begun."""
        if self._runtime is None:
            raise RuntimeError("this node is not being served")
        await self._runtime.connected.wait()

    async def _serve_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, ValueError):  # Windows; not the main thread
                loop.add_signal_handler(number, self._on_signal, number)
        await self.serve()

    def _on_signal(self, number: int) -> None:
        runtime = self._runtime
        if runtime is None:
            raise KeyboardInterrupt
        if runtime.draining:
            _log.warning("leaving at once")
            runtime.abandon()
        else:
            self.stop(signal.Signals(number).name)


def _take_turns() -> None:
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:  # else somebody chose another
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
