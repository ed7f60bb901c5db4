"""What the node has to say to its relay, gathered into frames: whatever is there when the stream is free goes at once.

Answers (`Finished`) stay here until the relay has settled them, whatever happens to the stream. All methods but
`progress` and `log` belong to the loop's thread.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable
from uuid import uuid4

from waypost_contracts.cloudevents_pb2 import CloudEvent
from waypost_contracts.waypost_frame_pb2 import Finished, LogLine, NodeFrame, Progress, Started

FRAME_TYPE = "JobFrame"
SOURCE = "waypost-sdk"
MAX_FRAME_BYTES = 4 << 20
MAX_FRAME_ENTRIES = 1_000
MAX_FRAME_LOG_CHARACTERS = 500_000
SPACING_SECONDS = 0.003
PAUSE_SECONDS = 0.012
CHASED = 8  # frames in a row that came sooner
MAX_LOG_LINES = 10_000  # kept while there is no stream; the oldest go first


class Pace:
    """When the next frame may go: frames that chase each other are kept `SPACING_SECONDS` apart, because a message
    costs both sides as much as many entries. A lone answer never waits.
    """

    def __init__(self) -> None:
        self._last = 0.0
        self._chased = 0

    def wait_seconds(self, now: float) -> float:
        """How long the frame that could go now is to wait for others."""
        gap = now - self._last
        if gap > PAUSE_SECONDS:
            self._chased = 0
            return 0.0
        if gap >= SPACING_SECONDS:
            return 0.0
        self._chased += 1
        return SPACING_SECONDS - gap if self._chased > CHASED else 0.0

    def went(self, now: float) -> None:
        self._last = now


class Outbox:
    """Entries on their way out. `take()` gives the next event to send, None when there is nothing."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._wake = asyncio.Event()
        self._events: deque[CloudEvent] = deque()
        self._started: dict[int, None] = {}
        self._finished: deque[Finished] = deque()
        self._progress: dict[int, tuple[float, str]] = {}
        self._log: deque[tuple[int, int, str, str]] = deque(maxlen=MAX_LOG_LINES)
        self._dropped: dict[int, int] = {}  # by attempt, lines of the log that were too many
        self._log_due = False  # the loop is about to look at it
        self.unsettled: dict[int, Finished] = {}

    async def ready(self) -> None:
        """Return when there may be something to take."""
        await self._wake.wait()
        self._wake.clear()

    def nudge(self) -> None:
        """Let the writer look again."""
        self._wake.set()

    def event(self, event: CloudEvent) -> None:
        """Send this event before any frame: acknowledgements must not wait."""
        self._events.append(event)
        self._wake.set()

    def started(self, attempt_id: int) -> None:
        self._started[attempt_id] = None
        self._wake.set()

    def finished(self, entry: Finished) -> None:
        """Send this answer, and again after every reconnect, until `settled`."""
        self.unsettled[entry.attempt_id] = entry
        self._finished.append(entry)
        self._wake.set()

    def settled(self, attempt_id: int) -> Finished | None:
        """The relay has decided on the answer: forget it, and return it if it was kept."""
        return self.unsettled.pop(attempt_id, None)

    def progress(self, attempt_id: int, fraction: float, message: str) -> None:
        """Any thread. Only the newest of an attempt is sent."""
        if threading.get_ident() == self._thread:
            self._put_progress(attempt_id, fraction, message)
        else:
            self._loop.call_soon_threadsafe(self._put_progress, attempt_id, fraction, message)

    def log(self, attempt_id: int, at_ms: int, level: str, message: str) -> None:
        """Any thread."""
        if len(self._log) >= MAX_LOG_LINES:
            self._drop()
        self._log.append((attempt_id, at_ms, level, message))
        if threading.get_ident() == self._thread:
            self._wake.set()
        elif not self._log_due:  # one wake-up, however many lines
            self._log_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the node has left without waiting
                self._loop.call_soon_threadsafe(self._look_at_log)

    def restart(self, running: Iterable[int] = ()) -> None:
        """A new stream has joined: what belonged to the old one goes, unsettled answers are due again.

        `running` attempts are announced again: a relay keeps them for a node that speaks of them within its grace.
        """
        self._events.clear()
        self._started = dict.fromkeys(running)
        self._finished = deque(self.unsettled.values())
        self._wake.set()

    def take(self) -> CloudEvent | None:
        """The next event to write. One frame holds at most 4 MiB of answers and 1,000 entries of each kind."""
        if self._events:
            self._wake.set()
            return self._events.popleft()
        frame = self._frame()
        if frame is None:
            return None
        return CloudEvent(
            id=str(uuid4()), source=SOURCE, spec_version="1.0", type=FRAME_TYPE, binary_data=frame.SerializeToString()
        )

    def _frame(self) -> NodeFrame | None:
        taken = self._take_log() if self._log else []
        finished = self._take_finished()
        started = [Started(attempt_id=attempt) for attempt in self._take_started(finished)]
        progress = [Progress(attempt_id=key, fraction=said[0], message=said[1]) for key, said in self._take_progress()]
        log = [
            LogLine(attempt_id=attempt, at_ms=at_ms, level=level, message=message)
            for attempt, at_ms, level, message in taken
        ]
        if not (finished or started or progress or log):
            return None
        return NodeFrame(started=started, progress=progress, log=log, finished=finished)

    def _take_finished(self) -> list[Finished]:
        taken: list[Finished] = []
        waiting, size = self._finished, 0
        # What an attempt said goes before its answer: after it the relay takes nothing more.
        speaking = {entry[0] for entry in self._log.copy()} if self._log else frozenset()
        later: list[Finished] = []
        while waiting and len(taken) < MAX_FRAME_ENTRIES:
            if waiting[0].attempt_id in speaking:
                later.append(waiting.popleft())
                continue
            size += len(waiting[0].result) + 64
            if taken and size > MAX_FRAME_BYTES:
                break
            taken.append(waiting.popleft())
        waiting.extendleft(reversed(later))
        if waiting:
            self._wake.set()
        return taken

    def _take_started(self, finished: list[Finished]) -> list[int]:
        """A job that ends in the same frame need not say that it started."""
        if not self._started:
            return []
        for entry in finished:
            self._started.pop(entry.attempt_id, None)
        taken = list(self._started)
        self._started.clear()
        return taken

    def _take_progress(self) -> list[tuple[int, tuple[float, str]]]:
        taken = list(self._progress.items())
        self._progress.clear()
        return taken

    def _take_log(self) -> list[tuple[int, int, str, str]]:
        taken: list[tuple[int, int, str, str]] = []
        size = 0
        while self._log and len(taken) < MAX_FRAME_ENTRIES and size < MAX_FRAME_LOG_CHARACTERS:
            taken.append(self._log.popleft())
            size += len(taken[-1][3])
        if self._log:
            self._wake.set()
        if self._dropped and taken:
            dropped, self._dropped = self._dropped, {}
            lost = "waypost: {} lines before this one were said too fast to be sent, and are lost"
            taken[:0] = [(attempt, taken[0][1], "warning", lost.format(count)) for attempt, count in dropped.items()]
        return taken

    def _put_progress(self, attempt_id: int, fraction: float, message: str) -> None:
        self._progress[attempt_id] = (fraction, message)
        self._wake.set()

    def _drop(self) -> None:
        """The oldest line goes; its attempt is told. (Another thread may have been faster: then one more goes.)"""
        with contextlib.suppress(IndexError):
            attempt_id = self._log.popleft()[0]
            self._dropped[attempt_id] = self._dropped.get(attempt_id, 0) + 1

    def _look_at_log(self) -> None:
        self._log_due = False  # before reading: a line appended after it asks for another turn
        self._wake.set()
