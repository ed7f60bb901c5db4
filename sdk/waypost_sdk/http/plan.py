"""Plans: what an operation does, without doing it.

A plan is a generator that yields steps (send this request, sleep, open that event stream, give the caller this item)
and gets their outcomes. Retries, waiting, pagination and resuming are said once; `drive` performs the steps, sync or
async. A connection that fails is thrown into the plan as UnavailableError.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar
from uuid import uuid4

import msgspec

from waypost_sdk import exact
from waypost_sdk.errors import UnavailableError, WaypostError, from_answer

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
_RETRIED_STATUS = frozenset({429, 502, 503})


class Request(msgspec.Struct, frozen=True):
    """One request. `extra_seconds` is added to the client's time-out, for a server that is asked to wait."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    extra_seconds: float = 0.0


class Transfer(msgspec.Struct, frozen=True):
    """A request whose body comes in pieces, or the content of whose answer goes to `take` in pieces (then the outcome's
    body is empty). `bare`: to a presigned address, without the key."""

    request: Request
    pieces: Callable[[], Iterator[bytes]] | None = None
    size_bytes: int = 0
    take: Callable[[bytes], object] | None = None
    bare: bool = False


class Answer(msgspec.Struct):
    """The whole answer to a Request. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sleep(msgspec.Struct, frozen=True):
    seconds: float


class Open(msgspec.Struct, frozen=True):
    """Open an event stream; its outcome is an Answer whose body is read only for an error. Closes the one before."""

    request: Request


class NextLine(msgspec.Struct, frozen=True):
    """The next line of the open event stream, None at its end."""


class Item(msgspec.Struct, Generic[T], frozen=True):
    """One thing for the caller of an iterator."""

    value: T


Step = Request | Transfer | Sleep | Open | NextLine
Plan = Generator[Step, Any, T]
Stream = Generator[Step | Item[T], Any, None]


class Backoff:
    """When to try again, and when to give up: `give_up_after` seconds from the first failure."""

    def __init__(self, give_up_after: float) -> None:
        self._give_up_after = give_up_after
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def reset(self) -> None:
        self._since, self._pause = None, FIRST_PAUSE_SECONDS

    def next(self, error: WaypostError) -> Sleep:
        """The pause before the next try; raises `error` when there is none. The server's Retry-After is kept to."""
        now = time.monotonic()
        self._since = self._since or now
        seconds = error.retry_after_seconds or self._pause
        seconds *= random.uniform(1.0, 1.25) if error.retry_after_seconds else random.uniform(0.5, 1.0)  # noqa: S311
        if now + seconds - self._since > self._give_up_after:
            raise error
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return Sleep(seconds)


def send(request: Request | Transfer, retry_seconds: float) -> Plan[Answer]:
    """The good answer to a request. 429, 502, 503 and connection failures are tried again for `retry_seconds`.

    Safe, because every POST carries an Idempotency-Key, the same at each try. Raises the error of the last answer.
    """
    backoff, repeated = Backoff(retry_seconds), False
    while True:
        try:
            answer: Answer = yield request
        except UnavailableError as error:
            failure: WaypostError = error
        else:
            if answer.status < 400 or (repeated and _is_delete(request) and answer.status == 404):
                return answer
            failure = error_of(answer)
            if answer.status not in _RETRIED_STATUS and not (answer.status >= 500 and _is_bare(request)):
                raise failure
        repeated = True
        yield backoff.next(failure)


def _is_delete(request: Request | Transfer) -> bool:
    return isinstance(request, Request) and request.method == "DELETE"


def _is_bare(request: Request | Transfer) -> bool:
    """S3's own 500 may be tried again; it says `InternalError` and means it."""
    return isinstance(request, Transfer) and request.bare


def collect(stream: Stream[T]) -> Plan[list[T]]:
    """All items of a stream, as a plan."""
    found: list[T] = []
    try:
        step = next(stream)
        while True:
            if isinstance(step, Item):
                found.append(step.value)
                step = next(stream)
                continue
            try:
                outcome = yield step
            except UnavailableError as error:
                step = stream.throw(error)
            else:
                step = stream.send(outcome)
    except StopIteration:
        return found


def error_of(answer: Answer) -> WaypostError:
    """The error that an answer of 400 and above stands for."""
    try:
        document = exact.decode(answer.body) if answer.body else None
    except msgspec.DecodeError:
        document = None
    return from_answer(answer.status, answer.headers, document)


def new_key() -> str:
    """An idempotency key that nobody else makes."""
    return f"sdk-{uuid4().hex}"
