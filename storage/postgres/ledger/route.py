"""The route table: (environment, function, canonical selectors) → a small integer (decision 10)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from storage.postgres.database import Connection, Database
from waypost.errors import Category, WaypostError
from waypost.route.model import MAX_ROUTES_PER_ENVIRONMENT, Route

_COLUMNS = "id, environment_id, function, selectors"
_OF_ENVIRONMENT = f"select {_COLUMNS} from control.route where environment_id = $1 order by id"  # noqa: S608 (constants)
_BY_ID = f"select {_COLUMNS} from control.route where id = any ($1::int[])"  # noqa: S608 (constants)
_FIND = "select id from control.route where environment_id = $1 and function = $2 and selectors = $3::jsonb"
_LOCK = "select pg_advisory_xact_lock(hashtextextended('route:' || $1::text, 0))"
_COUNT = "select count(*) from control.route where environment_id = $1"
_ADD = "insert into control.route (environment_id, function, selectors) values ($1, $2, $3::jsonb) returning id"

_Name = tuple[UUID, str, tuple[str, ...]]


class Routes:
    """Routes of this process's environments, cached: a route never changes and goes only with its environment."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[_Name, int] = {}

    async def resolve(self, environment_id: UUID, function: str, selectors: Sequence[str]) -> int:
        """The route's id, made when it is new. `selectors` are canonical. 422 `too_many_routes` at 256."""
        name = (environment_id, function, tuple(selectors))
        known = self._ids.get(name)
        if known is None:
            async with self._database.unit() as connection:
                known = self._ids[name] = await _resolve(connection, name)
        return known

    def forget(self, environment_id: UUID) -> None:
        """Drop what is cached of an environment that was deleted."""
        for name in [name for name in self._ids if name[0] == environment_id]:
            del self._ids[name]

    async def of_environment(self, environment_id: UUID) -> list[Route]:
        """Every route of an environment, oldest first; read, not cached: relays ask once and keep them."""
        async with self._database.unit() as connection:
            rows = await connection.fetch(_OF_ENVIRONMENT, environment_id)
        return [_route(row) for row in rows]

    async def by_id(self, ids: Sequence[int]) -> list[Route]:
        """The routes of these ids, in no order; unknown ids are left out."""
        async with self._database.unit() as connection:
            rows = await connection.fetch(_BY_ID, list(ids))
        return [_route(row) for row in rows]


async def _resolve(connection: Connection, name: _Name) -> int:
    environment_id, function, selectors = name
    text = msgspec.json.encode(selectors).decode()
    found = await connection.fetchval(_FIND, environment_id, function, text)
    if found is None:
        await connection.execute(_LOCK, str(environment_id))  # counting and adding are one step
        found = await connection.fetchval(_FIND, environment_id, function, text)
    if found is None:
        if await connection.fetchval(_COUNT, environment_id) >= MAX_ROUTES_PER_ENVIRONMENT:
            raise _too_many()
        found = await connection.fetchval(_ADD, environment_id, function, text)
    return int(found)


def _route(row: Any) -> Route:
    selectors = tuple(msgspec.json.decode(row["selectors"], type=list[str]))
    return Route(row["id"], row["environment_id"], row["function"], selectors)


def _too_many() -> WaypostError:
    return WaypostError(
        "too_many_routes",
        f"This environment already has {MAX_ROUTES_PER_ENVIRONMENT} different pairs of function and tags. "
        "Use tags for classes of nodes and labels or the payload for values that differ from job to job.",
        Category.INVALID,
    )
