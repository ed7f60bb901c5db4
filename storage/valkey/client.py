"""Valkey, reconnecting: commands, publications that never fail, subscriptions that survive a restart of the server.

Nothing here is the truth: every message can be lost, and whoever listens has another way to find out (decision 15).
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import structlog

from storage.valkey.address import Address, parse_address
from storage.valkey.connection import Connection, ConnectionLost, ReplyError
from waypost.errors import unavailable
from waypost.task import stop

__all__ = ["ReplyError", "Subscription", "Valkey"]

FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 2.0
HEARTBEAT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 5.0

OnMessage = Callable[[str, bytes], None]
OnReconnect = Callable[[], None]
_T = TypeVar("_T")
_log = structlog.get_logger("storage.valkey")


class Subscription:
    """A callback on some channels, until `close()`; channels can be added and removed. Made by `Valkey.subscribe`."""

    def __init__(self, client: "Valkey", callback: OnMessage) -> None:
        self._client = client
        self._callback = callback
        self._channels: set[str] = set()

    async def add(self, channels: Iterable[str]) -> None:
        """Listen on more channels; returns when the server has taken them, or at once when it is away.

        ReplyError when the user may not listen there.
        """
        fresh = set(channels) - self._channels
        self._channels |= fresh
        try:
            await self._client.listen(fresh, self._callback)
        except ReplyError:
            self.remove(fresh)
            raise

    def remove(self, channels: Iterable[str]) -> None:
        gone = self._channels & set(channels)
        self._channels -= gone
        self._client.forget(gone, self._callback)

    def close(self) -> None:
        self.remove(set(self._channels))
        self._client.drop(self)


class Valkey:
    """One connection to one server. Made by `open`, ended by `close`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        self._listeners: dict[str, list[OnMessage]] = {}
        self._on_reconnect: dict[Subscription, OnReconnect] = {}
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0  # publications that found no server

    @classmethod
    async def open(cls, url: str, *, wait_seconds: float = 2.0) -> "Valkey":
        """Start connecting and wait a little for it. A server that is away is no error: it is tried again for ever.

        ValueError when `url` is none (see `parse_address`).
        """
        client = cls(parse_address(url))
        client._task = asyncio.create_task(client._run(), name="valkey")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client._connected.wait(), wait_seconds)
        return client

    async def close(self) -> None:
        """Send what is pending and end; further publications are dropped."""
        await asyncio.sleep(0)  # publications of this turn are written by call_soon
        await stop(self._task)

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def execute(self, *arguments: str | bytes, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> Any:
        """A command's reply (bytes, int, list, None …).

        ReplyError when the server refuses it; `unavailable` when the server is away or does not answer in time.
        """
        return await self._bounded(self._send(arguments), timeout_seconds)

    def publish(self, channel: str, payload: bytes) -> None:
        """Send and forget: all publications of one turn of the loop leave in one write; never raises."""
        if self._connection is None or not self._connection.cast("PUBLISH", channel, payload):
            self.dropped += 1

    async def subscribe(
        self, channels: Iterable[str], callback: OnMessage, on_reconnect: OnReconnect | None = None
    ) -> Subscription:
        """Call `callback(channel, payload)` for each message, on the loop; it must not block.

        Returns when the server has taken the channels, or at once when it is away (they are taken on connecting).
        `on_reconnect` is called after a reconnect, when messages may have been missed: look at the truth then.
        """
        subscription = Subscription(self, callback)
        if on_reconnect is not None:
            self._on_reconnect[subscription] = on_reconnect
        await subscription.add(channels)
        return subscription

    async def listen(self, channels: set[str], callback: OnMessage) -> None:
        """For `Subscription`: the first callback of a channel subscribes to it."""
        new = []
        for channel in sorted(channels):
            callbacks = self._listeners.setdefault(channel, [])
            if not callbacks:
                new.append(channel)
            callbacks.append(callback)
        if new and self._connection is not None:
            with contextlib.suppress(ConnectionLost, TimeoutError):
                await asyncio.wait_for(self._connection.subscribe(new), COMMAND_TIMEOUT_SECONDS)

    def forget(self, channels: set[str], callback: OnMessage) -> None:
        """For `Subscription`: the last callback of a channel gone, it is left."""
        gone = []
        for channel in sorted(channels):
            callbacks = self._listeners[channel]
            callbacks.remove(callback)
            if not callbacks:
                del self._listeners[channel]
                gone.append(channel)
        if gone and self._connection is not None:
            self._connection.unsubscribe(gone)

    def drop(self, subscription: Subscription) -> None:
        """For `Subscription`: it is told of no reconnect any more."""
        self._on_reconnect.pop(subscription, None)

    async def _send(self, arguments: tuple[str | bytes, ...]) -> Any:
        await self._connected.wait()
        if self._connection is None:
            raise ConnectionLost
        return await self._connection.call(*arguments)

    async def _bounded(self, work: Awaitable[_T], seconds: float) -> _T:
        try:
            return await asyncio.wait_for(work, seconds)
        except (ConnectionLost, TimeoutError, OSError) as cause:
            raise unavailable("Valkey") from cause

    def _deliver(self, channel: bytes, payload: bytes) -> None:
        name = channel.decode()
        for callback in tuple(self._listeners.get(name, ())):
            try:
                callback(name, payload)
            except Exception:  # noqa: BLE001 (one listener's fault must not end the others' connection)
                _log.exception("valkey.callback_failed", channel=name)

    async def _run(self) -> None:
        backoff, first = FIRST_BACKOFF_SECONDS, True
        while True:
            try:
                await self._serve_once(first)
                backoff, first = FIRST_BACKOFF_SECONDS, False
            except (OSError, TimeoutError, ConnectionLost, ReplyError) as error:
                _log.warning("valkey.unreachable", address=str(self._address), error=str(error) or type(error).__name__)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 (spreads reconnects, no secret)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

    async def _serve_once(self, first: bool) -> None:
        """One connection's life: subscribe to everything again, tell the listeners, then watch it."""
        connection = await Connection.open(self._address, self._deliver)
        self._connection = connection  # before the wait below: a listener that comes meanwhile subscribes by itself
        try:
            if self._listeners:
                await asyncio.wait_for(connection.subscribe(sorted(self._listeners)), COMMAND_TIMEOUT_SECONDS)
            self._connected.set()
            if not first:
                _log.info("valkey.reconnected", address=str(self._address))
                self._tell_reconnected()
            await self._watch(connection)
        finally:
            self._connected.clear()
            self._connection = None
            connection.close()

    def _tell_reconnected(self) -> None:
        for callback in tuple(self._on_reconnect.values()):
            callback()

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection is gone; a server that answers no PING in time counts as gone."""
        while not connection.closed.done():
            done, _ = await asyncio.wait({connection.closed}, timeout=HEARTBEAT_SECONDS)
            if done:
                return
            try:
                await asyncio.wait_for(connection.call("PING"), HEARTBEAT_SECONDS)
            except (TimeoutError, ConnectionLost):
                connection.abort()
                return
