"""What happens to jobs, as it happens: one subscription per environment that somebody listens to, shared by all.

Messages can be lost, so whoever listens looks at the database too, now and then and after a reconnect of Valkey.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

from jobs.wake import JobMessage, States, decode_job, jobs_channel
from storage.valkey.client import Subscription, Valkey

MAX_WAITING = 5_000  # messages that a slow reader may be behind; then it is told to look at the truth instead


class Listener:
    """Messages of one environment, in order. `missed` is set when some were dropped or may have been."""

    def __init__(self) -> None:
        self._messages: list[JobMessage] = []
        self._wake = asyncio.Event()
        self.missed = False
        self.closed = False

    def put(self, message: JobMessage) -> None:
        if len(self._messages) >= MAX_WAITING:
            self._messages.clear()
            self.missed = True
        self._messages.append(message)
        self._wake.set()

    def look(self) -> None:
        """Wake the reader to look at the database."""
        self.missed = True
        self._wake.set()

    def close(self) -> None:
        """No more will come; the reader is to end."""
        self.closed = True
        self._wake.set()

    async def take(self, seconds: float) -> list[JobMessage]:
        """What came since the last call; waits up to `seconds` for the first. Empty when nothing came."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return []
        self._wake.clear()
        messages, self._messages = self._messages, []
        return messages


class Feed:
    """All listeners of this gateway."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self._listeners: dict[str, set[Listener]] = {}
        self._subscription: Subscription | None = None
        self._closed = False

    async def start(self) -> None:
        self._subscription = await self._valkey.subscribe((), self._receive, self._reconnected)

    @asynccontextmanager
    async def listen(self, environment_id: UUID) -> AsyncIterator[Listener]:
        """A listener; messages that are published after this is entered reach it, as long as Valkey is there."""
        listener, channel = Listener(), jobs_channel(environment_id)
        if self._closed:
            listener.close()
        with self._kept(channel, listener) as first:
            if first and self._subscription is not None:
                await self._subscription.add([channel])
            yield listener

    @contextmanager
    def _kept(self, channel: str, listener: Listener) -> Iterator[bool]:
        listeners = self._listeners.setdefault(channel, set())
        first = not listeners
        listeners.add(listener)
        try:
            yield first
        finally:
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(channel, None)
                if self._subscription is not None:
                    self._subscription.remove([channel])

    def close(self) -> None:
        """End every listener: this gateway is stopping."""
        self._closed = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()

    def _receive(self, channel: str, payload: bytes) -> None:
        message = decode_job(payload)
        if message is not None:
            for listener in self._listeners.get(channel, ()):
                listener.put(message)

    def _reconnected(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.look()


def changes_of(messages: list[JobMessage], job_id: UUID) -> bool:
    """Whether any of the messages says that this job changed its state."""
    return any(
        isinstance(message, States) and any(changed == job_id for changed, _, _ in message.changes)
        for message in messages
    )
