"""Three real workers with the same schedules, one of them killed when they are due: each due time has one job."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.functions.test_worker import running, settings

__all__ = ["settings"]  # a fixture

SCHEDULES = 10
SECOND = timedelta(seconds=1)


@pytest.fixture
async def clocks(client: httpx.AsyncClient, shared_environment: Any) -> Any:
    """Schedules of a second each, gone when the test is over."""
    made = []
    for number in range(SCHEDULES):
        body = {
            "kind": "schedule", "name": f"clock {number}", "job": {"function": "clock.tick", "expires_in_seconds": 5},
            "schedule": {"every_seconds": 1}, "catch_up": "all",
        }  # fmt: skip
        answer = await client.post(f"{shared_environment.path}/triggers", json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
    yield made
    for one in made:
        assert (await client.delete(f"{shared_environment.path}/triggers/{one['id']}")).status_code == 204


async def test_of_three_workers_one_dies_at_the_due_time(
    client: httpx.AsyncClient, shared_environment: Any, settings: dict[str, str], clocks: list[dict[str, Any]]
) -> None:
    """Killed with -9 a few milliseconds after the due time: nothing is lost, nothing is done twice."""
    async with contextlib.AsyncExitStack() as stack:
        doomed, _ = await stack.enter_async_context(running(settings))
        await stack.enter_async_context(running(settings))
        anchor = datetime.fromisoformat(clocks[0]["created_at"])
        late = (datetime.now(UTC) - anchor) % SECOND
        await asyncio.sleep((SECOND - late).total_seconds() + 0.003)
        doomed.kill()
        await doomed.wait()
        until = datetime.now(UTC) + 2 * SECOND
        seen = [await _accepted(client, shared_environment.path, one["id"], until) for one in clocks]
    for one, due in zip(clocks, seen, strict=True):
        made = datetime.fromisoformat(one["created_at"])
        first = made.replace(microsecond=made.microsecond // 1000 * 1000) + SECOND
        assert due == [first + n * SECOND for n in range(len(due))]
        assert due[-1] >= until


async def _accepted(client: httpx.AsyncClient, environment: str, trigger: str, until: datetime) -> list[datetime]:
    """The due times that have a job, oldest first, as soon as one is later than `until`."""
    async with asyncio.timeout(30):
        while True:
            query = {"limit": 200}
            firings = (await client.get(f"{environment}/triggers/{trigger}/firings", params=query)).json()["items"]
            jobs = (await client.get(f"{environment}/jobs", params=query | {"trigger_id": trigger})).json()["items"]
            assert {firing["outcome"] for firing in firings} <= {"accepted"}
            due = sorted(datetime.fromisoformat(firing["due_at"]) for firing in firings)
            if due and due[-1] >= until:
                assert {firing["job_id"] for firing in firings} <= {job["id"] for job in jobs} | {None}
                assert len({firing["job_id"] for firing in firings}) == len(firings)
                return due
            await asyncio.sleep(0.1)
