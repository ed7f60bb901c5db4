"""A gateway that is killed with -9: what its count of calls loses, and that nothing of it counts twice."""

import asyncio
import secrets
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from storage.postgres.database import Database
from tests.gateway.test_process import process
from tests.gateway.usage_ground import catch_up, new_environment, worker_database

_TOLD = "select coalesce(sum(quantity), 0)::int from control.usage_event where environment_id = $1 and meter = $2"
_SUMMED = "select coalesce(sum(quantity), 0)::int from control.usage_hour where environment_id = $1 and meter = $2"


async def calls(database: Database, environment_id: UUID, statement: str = _TOLD) -> int:
    async with database.unit() as connection:
        return int(await connection.fetchval(statement, environment_id, "api.calls"))


class Asking(httpx.AsyncClient):
    """A client of one gateway; counts what it was answered about environments."""

    def __init__(self, platform: Any, told: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {platform.admin_key}"}
        super().__init__(base_url=told["address"], headers=headers, timeout=30, event_hooks={"response": [self._count]})
        self.answered = 0

    async def _count(self, answer: httpx.Response) -> None:
        self.answered += answer.request.method == "GET"

    async def ask(self, path: str, times: int) -> None:
        for _ in range(times):
            assert (await self.get(path)).status_code == 200


async def test_a_killed_gateway_loses_one_interval_of_calls_and_counts_none_twice(platform: Any) -> None:
    """What was written before stays, of what was not at most that is gone; the next gateway goes on from there, and the
    sums are those of what was written."""
    async with worker_database(platform) as database:
        name = f"killed-{secrets.token_hex(6)}"
        own = {"WAYPOST_USAGE_SECONDS": "1", "WAYPOST_PROCESS_NAME": name}
        async with process(platform, **own) as (killed, told), Asking(platform, told) as client:
            path = await new_environment(client)  # nobody but these gateways is asked about it
            environment_id = UUID((await client.get(path)).json()["id"])
            await client.ask(path, 7)
            written = await _written(database, environment_id, least=client.answered)
            assert written == client.answered
            await client.ask(path, 20)
            killed.kill()
            await asyncio.to_thread(killed.wait)
        await _left(platform, name)
        kept = await calls(database, environment_id)
        assert written <= kept <= written + 20
        async with process(platform, WAYPOST_USAGE_SECONDS="1") as (_, told), Asking(platform, told) as client:
            await client.ask(path, 5)
            assert await _written(database, environment_id, least=kept + 5) == kept + 5
        await catch_up(platform)
        assert await calls(database, environment_id) == kept + 5
        assert await calls(database, environment_id, _SUMMED) == kept + 5


async def _left(platform: Any, name: str) -> None:
    """Return when PostgreSQL is done with a process that is gone: it may still commit what was sent."""
    connection = await asyncpg.connect(platform.database_url("postgres"))
    left = "select count(*) from pg_stat_activity where application_name = $1"
    async with asyncio.timeout(30):
        while await connection.fetchval(left, name):  # noqa: ASYNC110 - another server's state
            await asyncio.sleep(0.05)
    await connection.close()


async def _written(database: Database, environment_id: UUID, least: int) -> int:
    """How many calls are written, once there are so many."""
    async with asyncio.timeout(60):
        while (now := await calls(database, environment_id)) < least:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.05)
    return now
