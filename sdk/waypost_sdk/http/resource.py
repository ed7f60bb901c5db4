"""Operations as methods, written once: on a sync client they answer, on an async one they are awaited.

`@operation` marks a method that is a plan, `@iteration` one that is a stream of items. What a call gives is decided by
the mode of the resource, and type checkers know it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote

import msgspec

from waypost_sdk import exact
from waypost_sdk.errors import ConfigurationError, ServerError
from waypost_sdk.http.plan import Answer, Item, Plan, Request, Stream, new_key, send
from waypost_sdk.model import Page

M = TypeVar("M")
P = ParamSpec("P")
T = TypeVar("T")

PAGE = 200  # the most that the platform gives at once

Query = tuple[tuple[str, str], ...]

_PARTS = ("org", "project", "environment")


class Sync:
    """Mode of the resources of a `Client`."""


class Async:
    """Mode of the resources of an `AsyncClient`."""


class Scope:
    """Where a client is: `org/project/environment` or the first parts of it, and how long it tries again."""

    def __init__(self, environment: str | None, retry_seconds: float) -> None:
        self._environment = environment
        self.retry_seconds = retry_seconds

    def part(self, depth: int) -> str:
        """The configured organization (0), project (1) or environment (2). Raises ConfigurationError when it is not."""
        parts = (self._environment or "").split("/")
        if len(parts) > 3 or not all(parts[: depth + 1]) or len(parts) <= depth:
            raise ConfigurationError(
                "not_configured",
                f"No {_PARTS[depth]} is configured: environment must be {'/'.join(_PARTS)} "
                f"(WAYPOST_ENVIRONMENT, `waypost -e …`), not {self._environment!r}.",
            )
        return parts[depth]

    def org(self, org: str | None = None) -> str:
        return f"/v1/orgs/{segment(org or self.part(0))}"

    def project(self, org: str | None = None, project: str | None = None) -> str:
        return f"{self.org(org)}/projects/{segment(project or self.part(1))}"

    def environment(self) -> str:
        """The path of the environment itself, `E` in the contract."""
        return f"{self.project()}/environments/{segment(self.part(2))}"


class Resource(Generic[M]):
    """A group of operations. `driver` is what performs them."""

    def __init__(self, driver: Any, scope: Scope) -> None:
        self._driver = driver
        self._scope = scope

    def _get(self, path: str, query: Query = ()) -> Plan[Answer]:
        return send(Request("GET", path, query), self._scope.retry_seconds)

    def _delete(self, path: str, if_match: str | None = None) -> Plan[Answer]:
        return send(Request("DELETE", path, headers=_matching(if_match)), self._scope.retry_seconds)

    def _patch(self, path: str, body: Any, if_match: str | None = None) -> Plan[Answer]:
        text = exact.encode(body)
        return send(Request("PATCH", path, body=text, headers=_matching(if_match)), self._scope.retry_seconds)

    def _post(
        self, path: str, body: Any = None, *, key: str | None = None, query: Query = (), extra_seconds: float = 0.0
    ) -> Plan[Answer]:
        headers = (("idempotency-key", key or new_key()),)
        text = exact.encode({} if body is None else body)
        return send(Request("POST", path, query, text, headers, extra_seconds), self._scope.retry_seconds)

    def _pages(self, path: str, kind: type[T], query: Query = (), limit: int | None = None) -> Stream[T]:
        """Every item of a list, page by page; at most `limit`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = (*query, ("limit", str(PAGE if left is None else min(left, PAGE))))
            answer = yield from self._get(path, page if cursor is None else (*page, ("cursor", cursor)))
            document = read(answer, Page[kind])  # type: ignore[valid-type]
            for item in document.items if left is None else document.items[:left]:
                yield Item(item)
            left = None if left is None else left - len(document.items)
            cursor = document.next_cursor
            if cursor is None:
                return

    def _whole(self, path: str, kind: type[T]) -> Stream[T]:
        """Every item of a list that comes in one answer and knows no pages."""
        answer = yield from self._get(path)
        for item in read(answer, Page[kind]).items:  # type: ignore[valid-type]
            yield Item(item)


class operation(Generic[P, T]):  # noqa: N801 -- used as a decorator
    """A method that answers once."""

    def __init__(self, plan: Callable[Concatenate[Any, P], Plan[T]]) -> None:
        self._plan = plan
        self.__doc__ = plan.__doc__
        self.__wrapped__ = plan

    @overload
    def __get__(self, instance: Resource[Sync], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Resource[Async], owner: Any) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, instance: None, owner: Any) -> "operation[P, T]": ...
    def __get__(self, instance: Resource[Any] | None, owner: Any) -> Any:
        if instance is None:
            return self
        plan, driver = self._plan, instance._driver  # noqa: SLF001 -- it belongs to the resource

        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return driver.run(plan(instance, *args, **kwargs))

        return _named(call, plan)


class iteration(Generic[P, T]):  # noqa: N801 -- used as a decorator
    """A method that gives an iterator."""

    def __init__(self, plan: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        self._plan = plan
        self.__doc__ = plan.__doc__
        self.__wrapped__ = plan

    @overload
    def __get__(self, instance: Resource[Sync], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Resource[Async], owner: Any) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, instance: None, owner: Any) -> "iteration[P, T]": ...
    def __get__(self, instance: Resource[Any] | None, owner: Any) -> Any:
        if instance is None:
            return self
        plan, driver = self._plan, instance._driver  # noqa: SLF001 -- it belongs to the resource

        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return driver.iterate(plan(instance, *args, **kwargs))

        return _named(call, plan)


def read(answer: Answer, kind: type[T]) -> T:
    """The document of an answer; exact numbers. Raises ServerError when it is not one of the platform's."""
    decoder: msgspec.json.Decoder[T] = exact.decoder(kind)
    try:
        return decoder.decode(answer.body)
    except msgspec.DecodeError as error:
        raise ServerError(
            "unreadable_answer",
            f"The server answered {answer.status}, but not as Waypost does: is the address right? ({error})",
            status=answer.status,
            request_id=answer.headers.get("x-request-id"),
        ) from error


def tagged(answer: Answer, kind: type[T]) -> T:
    """`read`, for structs with an `etag`: that of the answer."""
    found = read(answer, kind)
    found.etag = answer.headers.get("etag")  # type: ignore[attr-defined]
    return found


def given(**fields: Any) -> dict[str, Any]:
    """A body of the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def segment(text: str) -> str:
    """One part of a path, whatever the text is."""
    return quote(text, safe="")


def _matching(if_match: str | None) -> tuple[tuple[str, str], ...]:
    return (("if-match", if_match),) if if_match else ()


def _named(call: Callable[..., Any], plan: Callable[..., Any]) -> Callable[..., Any]:
    call.__name__, call.__qualname__, call.__doc__ = plan.__name__, plan.__qualname__, plan.__doc__
    return call
