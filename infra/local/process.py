"""One process under supervision: started, waited for until it serves, started again when it dies, stopped in time.

Back-off doubles from 0.2 s to 10 s and begins anew after a minute of life. A process that dies before it has ever
served fails the start of the platform instead.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
import psutil

from infra.local.journal import Journal
from infra.local.problem import ExitCode, LocalError
from infra.local.program import Program, Ready

FIRST_DELAY_SECONDS = 0.2
MOST_DELAY_SECONDS = 10.0
RESET_AFTER_SECONDS = 60.0
_POLL_SECONDS = 0.02
_MAX_LINE_BYTES = 1 << 20
_MAX_REASON = 300  # characters of a log line in a sentence


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"  # for its back-off
    STOPPED = "stopped"


class Supervised:
    """`changed` is called after every change of what `record` shows."""

    def __init__(self, program: Program, journal: Journal, changed: Callable[[], None]) -> None:
        self.program = program
        self.state = State.STOPPED
        self.restarts = 0
        self.last_exit: str | None = None
        self.ready = Ready()
        self.pid: int | None = None
        self._created: float | None = None
        self._journal = journal
        self._changed = changed
        self._served = asyncio.Event()
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    def record(self) -> dict[str, Any]:
        """What state.json keeps: pid and start time identify the process after we are gone."""
        return {
            "name": self.program.name,
            "kind": self.program.kind,
            "pid": self.pid,
            "created": self._created,
            "state": self.state,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "address": self.ready.address,
            "internal_address": self.ready.internal_address,
        }

    async def start(self) -> None:
        """Start it and return when it serves; raises LocalError when it ends or is silent before that."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.program.name}")
        served = asyncio.create_task(self._served.wait())
        try:
            await asyncio.wait({self._keeper, served}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            served.cancel()
        if self._keeper.done():
            self._keeper.result()

    async def stop(self) -> None:
        """Ask, wait, then kill; returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.program.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self.program.stop_seconds)
            except TimeoutError:
                if not self.program.killed_at_stop:
                    seconds = f"{self.program.stop_seconds:g} s"
                    self._journal.say(f"{self.program.name} did not stop within {seconds} and is killed")
                self._kill(process.pid)
                await process.wait()
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.program.after is not None:
            self.program.after()
        self._show(State.STOPPED)

    async def _keep(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            self.last_exit = await self._live()
            if self._stopping.is_set():
                return
            if not self._served.is_set():
                raise self._failed_start()
            if time.monotonic() - began > RESET_AFTER_SECONDS:
                delay = FIRST_DELAY_SECONDS
            self.restarts += 1
            self._journal.say(f"{self.program.name} ended ({self.last_exit}); it is started again in {delay:g} s")
            self._show(State.WAITING)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            delay = min(delay * 2, MOST_DELAY_SECONDS)

    async def _live(self) -> str:
        """One life: from spawn to exit; answers how it ended."""
        if self.program.before is not None:
            await asyncio.to_thread(self.program.before)
        output, output_end = os.pipe()
        told, told_end = os.pipe()
        try:
            process = await self._spawn(output_end, told_end)
        except (OSError, RuntimeError, ValueError) as error:
            os.close(output)
            os.close(told)
            return str(error)
        finally:
            os.close(output_end)
            os.close(told_end)
        self._process = process
        self.pid = process.pid
        with contextlib.suppress(psutil.Error):
            self._created = psutil.Process(process.pid).create_time()
        self._show(State.STARTING)
        pump = asyncio.create_task(self._pump(output))
        watch = asyncio.create_task(self._watch(process, told))
        code = await process.wait()
        self._kill(process.pid)  # what it may have left in its group
        watch.cancel()
        await asyncio.wait({pump, watch}, timeout=1)
        pump.cancel()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    async def _spawn(self, output_end: int, told_end: int) -> asyncio.subprocess.Process:
        environment = dict(self.program.environment)
        keep: tuple[int, ...] = ()
        if self.program.ready is None:
            environment["WAYPOST_READY_FD"] = str(told_end)
            keep = (told_end,)
        return await asyncio.create_subprocess_exec(
            *self.program.arguments,
            env=environment,
            cwd=self.program.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            pass_fds=keep,
            preexec_fn=self.program.setup,
            start_new_session=True,  # the terminal's Ctrl-C is for us; we stop the others in order
        )

    async def _watch(self, process: asyncio.subprocess.Process, told: int) -> None:
        """Wait until it serves; kill it when that takes too long."""
        try:
            async with asyncio.timeout(self.program.start_seconds):
                ready = await (self._told(told) if self.program.ready is None else self._polled())
        except TimeoutError:
            self._journal.say(f"{self.program.name} was not ready after {self.program.start_seconds:g} s")
            self._kill(process.pid)
            return
        finally:
            if self.program.ready is not None:
                os.close(told)
        if ready is not None:
            self.ready = ready
            self._served.set()
            self._show(State.READY)

    async def _told(self, told: int) -> Ready | None:
        reader = await _reader(told)
        line = await reader.readline()
        return msgspec.json.decode(line, type=Ready) if line else None

    async def _polled(self) -> Ready:
        ask = self.program.ready
        if ask is None:
            raise RuntimeError("nothing to poll")
        while (ready := await ask()) is None:  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(_POLL_SECONDS)
        return ready

    async def _pump(self, output: int) -> None:
        reader = await _reader(output)
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than the limit: what was read so far is dropped
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._journal.take(self.program.name, text, shown=self.program.shown is None or self.program.shown(text))

    def _failed_start(self) -> LocalError:
        lines = self._journal.last_lines(self.program.name, 1)
        reason = f": {lines[0][:_MAX_REASON]}" if lines else ""
        code = ExitCode.USAGE if self.last_exit == f"exit code {ExitCode.USAGE}" else ExitCode.SERVER  # a wrong setting
        return LocalError(f"{self.program.name} did not start ({self.last_exit}){reason}", code)

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def _show(self, state: State) -> None:
        self.state = state
        if state in (State.WAITING, State.STOPPED):
            self.pid = self._created = None
        self._changed()


async def _reader(handle: int) -> asyncio.StreamReader:
    """Lines from a pipe; the pipe is closed with the reader's transport, at end of file."""
    reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
    file = os.fdopen(handle, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader
