"""Threads for plain handlers: at most as many as asked for, started when needed, never in the way of leaving.

They are daemon threads, because a handler that hangs must not keep a node from leaving: concurrent.futures joins its
threads at exit. What ends in a thread is handed to the loop in batches: one wake-up, however many have ended.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], Callable[[], None]]  # runs in a thread; what it returns runs in the loop


class Threads:
    """`submit` runs work in a thread and its continuation in the loop's thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._hand_over_due = False
        self._count = 0
        self._busy = 0

    def submit(self, work: Work) -> None:
        """Loop thread only. Work must not raise."""
        self._busy += 1
        if self._busy > self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._serve, name=f"waypost-function-{self._count}", daemon=True).start()
        self._queue.put(work)

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        for _ in range(self._count):
            self._queue.put(None)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            self._done.append(work())
            if not self._hand_over_due:
                self._hand_over_due = True
                try:
                    self._loop.call_soon_threadsafe(self._hand_over)
                except RuntimeError:  # the loop is closed: the node has left without waiting
                    return

    def _hand_over(self) -> None:
        self._hand_over_due = False  # before reading: an entry appended after it asks for another turn
        while self._done:
            self._busy -= 1
            self._done.popleft()()
