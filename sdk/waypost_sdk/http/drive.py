"""Performing plans over httpx, sync and async. Nothing is decided here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, Generic, TypeVar

import httpx

from waypost_sdk.errors import UnavailableError, unreachable
from waypost_sdk.http.plan import Answer, Item, NextLine, Open, Plan, Request, Sleep, Step, Stream, Transfer

T = TypeVar("T")

STREAM_SILENCE_SECONDS = 45.0  # the platform sends a heartbeat every 15 s


class _Machine(Generic[T]):
    """A plan being performed: `step` is what to do now, None once it has ended with `value`."""

    def __init__(self, plan: Generator[Any, Any, T]) -> None:
        self._plan = plan
        self.value: T
        self.step: Any = None
        self.feed(None)

    def feed(self, outcome: Any) -> None:
        try:
            self.step = self._plan.send(outcome)
        except StopIteration as end:
            self.step, self.value = None, end.value

    def fail(self, error: UnavailableError) -> None:
        try:
            self.step = self._plan.throw(error)
        except StopIteration as end:
            self.step, self.value = None, end.value


class SyncDriver:
    """Performs plans in the caller's thread. May be shared by threads."""

    def __init__(
        self, url: str, headers: dict[str, str], timeout_seconds: float, auth: httpx.Auth | None = None
    ) -> None:
        self._url, self._timeout = url, timeout_seconds
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds, auth=auth)
        self._bare: httpx.Client | None = None  # for addresses that need no key, and must not be told it

    def run(self, plan: Plan[T]) -> T:
        machine = _Machine(plan)
        while machine.step is not None:
            try:
                outcome = self._perform(machine.step)
            except httpx.TransportError as error:
                machine.fail(_unreachable(self._url, error))
            else:
                machine.feed(outcome)
        return machine.value

    def iterate(self, plan: Stream[T]) -> Iterator[T]:
        machine = _Machine(plan)
        outcome: Any
        with contextlib.ExitStack() as stack:
            lines: Iterator[str] = iter(())
            while (step := machine.step) is not None:
                try:
                    if isinstance(step, Item):
                        outcome = yield step.value
                    elif isinstance(step, Open):
                        stack.close()
                        response = stack.enter_context(
                            self._client.stream(**_arguments(step.request, self._stream_timeout))
                        )
                        outcome = _answer(response, response.read() if response.status_code >= 400 else b"")
                        lines = response.iter_lines()
                    elif isinstance(step, NextLine):
                        outcome = next(lines, None)
                    else:
                        outcome = self._perform(step)
                except httpx.TransportError as error:
                    machine.fail(_unreachable(self._url, error))
                else:
                    machine.feed(outcome)

    def close(self) -> None:
        self._client.close()
        if self._bare is not None:
            self._bare.close()

    @property
    def _stream_timeout(self) -> httpx.Timeout:
        return httpx.Timeout(self._timeout, read=STREAM_SILENCE_SECONDS)

    def _perform(self, step: Step) -> Answer | None:
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
            return None
        if isinstance(step, Transfer):
            return self._transfer(step)
        assert isinstance(step, Request)  # noqa: S101 -- only streams open and read lines
        response = self._client.request(**_arguments(step, httpx.Timeout(self._timeout + step.extra_seconds)))
        return _answer(response, response.content)

    def _transfer(self, step: Transfer) -> Answer:
        if step.bare and self._bare is None:
            self._bare = httpx.Client(timeout=self._timeout)
        client = (self._bare if step.bare else None) or self._client
        content = step.pieces() if step.pieces is not None else None
        with client.stream(**_carried(step, self._timeout), content=content) as response:
            if step.take is None or response.status_code >= 400:
                return _answer(response, response.read())
            for piece in response.iter_raw():
                step.take(piece)
            return _answer(response, b"")


class AsyncDriver:
    """Performs plans in the running loop."""

    def __init__(
        self, url: str, headers: dict[str, str], timeout_seconds: float, auth: httpx.Auth | None = None
    ) -> None:
        self._url, self._timeout = url, timeout_seconds
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_seconds, auth=auth)
        self._bare: httpx.AsyncClient | None = None  # for addresses that need no key, and must not be told it

    async def run(self, plan: Plan[T]) -> T:
        machine = _Machine(plan)
        while machine.step is not None:
            try:
                outcome = await self._perform(machine.step)
            except httpx.TransportError as error:
                machine.fail(_unreachable(self._url, error))
            else:
                machine.feed(outcome)
        return machine.value

    async def iterate(self, plan: Stream[T]) -> AsyncIterator[T]:
        machine = _Machine(plan)
        outcome: Any
        async with contextlib.AsyncExitStack() as stack:
            lines: AsyncIterator[str]
            while (step := machine.step) is not None:
                try:
                    if isinstance(step, Item):
                        outcome = yield step.value
                    elif isinstance(step, Open):
                        await stack.aclose()
                        request = _arguments(step.request, httpx.Timeout(self._timeout, read=STREAM_SILENCE_SECONDS))
                        response = await stack.enter_async_context(self._client.stream(**request))
                        outcome = _answer(response, await response.aread() if response.status_code >= 400 else b"")
                        lines = response.aiter_lines()
                    elif isinstance(step, NextLine):
                        outcome = await anext(lines, None)
                    else:
                        outcome = await self._perform(step)
                except httpx.TransportError as error:
                    machine.fail(_unreachable(self._url, error))
                else:
                    machine.feed(outcome)

    async def close(self) -> None:
        await self._client.aclose()
        if self._bare is not None:
            await self._bare.aclose()

    async def _perform(self, step: Step) -> Answer | None:
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
            return None
        if isinstance(step, Transfer):
            return await self._transfer(step)
        assert isinstance(step, Request)  # noqa: S101 -- only streams open and read lines
        response = await self._client.request(**_arguments(step, httpx.Timeout(self._timeout + step.extra_seconds)))
        return _answer(response, response.content)

    async def _transfer(self, step: Transfer) -> Answer:
        if step.bare and self._bare is None:
            self._bare = httpx.AsyncClient(timeout=self._timeout)
        client = (self._bare if step.bare else None) or self._client
        content = _awaited(step.pieces()) if step.pieces is not None else None
        async with client.stream(**_carried(step, self._timeout), content=content) as response:
            if step.take is None or response.status_code >= 400:
                return _answer(response, await response.aread())
            async for piece in response.aiter_raw():
                step.take(piece)
            return _answer(response, b"")


async def _awaited(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read where it is short: a piece of a file is there in microseconds."""
    for piece in pieces:
        yield piece


def _carried(step: Transfer, timeout_seconds: float) -> dict[str, Any]:
    arguments = _arguments(step.request, httpx.Timeout(timeout_seconds))
    del arguments["content"]
    if step.pieces is not None:
        arguments["headers"]["content-length"] = str(step.size_bytes)
    return arguments


def _arguments(request: Request, timeout: httpx.Timeout) -> dict[str, Any]:
    headers = dict(request.headers)
    if request.body is not None:
        headers["content-type"] = "application/json"
    return {
        "method": request.method,
        "url": request.path,
        "params": list(request.query) or None,
        "content": request.body,
        "headers": headers,
        "timeout": timeout,
    }


def _answer(response: httpx.Response, body: bytes) -> Answer:
    return Answer(response.status_code, {key.lower(): value for key, value in response.headers.items()}, body)


def _unreachable(url: str, error: httpx.TransportError) -> UnavailableError:
    return unreachable(url, str(error) or type(error).__name__)
