"""A small cache in this process: entries age out, and one look-up serves everybody who asks at the same moment."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from waypost.clock import monotonic

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values by key for `seconds`; absences (None) for `absent_seconds`, so that a flood of wrong keys costs little."""

    def __init__(self, seconds: float, *, absent_seconds: float = 1.0, size: int = 10_000) -> None:
        self._seconds, self._absent_seconds, self._size = seconds, absent_seconds, size
        self._kept: OrderedDict[K, tuple[float, V | None]] = OrderedDict()
        self._loading: dict[K, asyncio.Future[V | None]] = {}
        self._generation = 0

    def peek(self, key: K) -> V | None:
        """The fresh value, or None when there is none or it is not known."""
        entry = self._kept.get(key)
        return entry[1] if entry is not None and entry[0] > monotonic() else None

    async def get(self, key: K, load: Callable[[], Awaitable[V | None]]) -> V | None:
        """The value, looked up when it is not fresh. An error of the look-up reaches all who wait and is not kept."""
        entry = self._kept.get(key)
        if entry is not None and entry[0] > monotonic():
            return entry[1]
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.ensure_future(self._load(key, load))
            self._loading[key] = loading
        return await asyncio.shield(loading)

    async def _load(self, key: K, load: Callable[[], Awaitable[V | None]]) -> V | None:
        generation = self._generation
        try:
            value = await load()
        finally:
            self._loading.pop(key, None)
        if generation == self._generation:  # else it may have been read before the change that emptied the cache
            self._kept[key] = (monotonic() + (self._absent_seconds if value is None else self._seconds), value)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def forget(self, test: Callable[[V], bool]) -> None:
        """Drop the values that `test` picks and all absences; look-ups in progress are not kept."""
        self._generation += 1
        for key in [key for key, (_, value) in self._kept.items() if value is None or test(value)]:
            del self._kept[key]

    def clear(self) -> None:
        self.forget(lambda _: True)
