"""Usage over HTTP in tests: events to tell, and the sums once everything that was told is in them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from jobs import usage
from storage.postgres.database import Database


@asynccontextmanager
async def worker_database(platform: Any) -> AsyncIterator[Database]:
    """The database as a worker sees it."""
    database = await Database.open(platform.database_url("waypost_worker"), name="test-usage", pool_size=2)
    try:
        yield database
    finally:
        await database.close()


async def catch_up(platform: Any) -> None:
    """Return when everything that is committed now is in the sums; other tests' transactions are waited for."""
    async with worker_database(platform) as database:
        assert await usage.catch_up(database, 20)


def cloud_event(quantity: Any = "1", meter: str = "test.things", **more: Any) -> dict[str, Any]:
    """A CloudEvent of an id of its own."""
    return {
        "specversion": "1.0",
        "type": "com.example.counted",
        "source": "/tests",
        "id": secrets.token_hex(8),
        "data": {"meter": meter, "quantity": quantity},
        **more,
    }


def hours_ago(hours: float) -> str:
    """An instant in RFC 3339."""
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


async def new_environment(client: httpx.AsyncClient) -> str:
    """The path of an environment that was made, and waited for, through this client."""
    slug = f"t{secrets.token_hex(6)}"
    body = {"name": slug, "slug": slug, "posture": "dev"}
    base = "/v1/orgs/default/projects/default/environments"
    assert (await client.post(base, json=body)).status_code == 202
    async with asyncio.timeout(30):
        while (await client.get(f"{base}/{slug}")).json()["status"] != "ready":  # noqa: ASYNC110 - of a server
            await asyncio.sleep(0.05)
    return f"{base}/{slug}"
