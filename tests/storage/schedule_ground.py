"""Schedules on a PostgreSQL of their own, where no worker ticks but the test's: made with SQL, their jobs read back."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from jobs.schedule import Schedules
from storage.postgres.ledger.ledger import Ledger
from storage.postgres.trigger.schedule import put_schedule
from storage.postgres.trigger.trigger import insert_trigger
from tests.storage.ledger_ground import Ground, Tenant
from waypost import clock
from waypost.ids import new_id
from waypost.job.model import JobSpec
from waypost.job.specification import parse_submission
from waypost.limit.decision import defaults
from waypost.trigger.model import Kind, Trigger
from waypost.trigger.operation import check_settings


class Open:
    """A data key that seals nothing, so that a test reads what a job is given."""

    def seal(self, place: str, plaintext: bytes) -> bytes:
        return plaintext


class OpenKeys:
    async def data_key(self, environment_id: UUID) -> Open:
        return Open()


class Heard:
    """Valkey that only listens."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def publish(self, channel: str, payload: bytes) -> None:
        self.messages.append((channel, payload))


class ScheduleGround:
    """One environment with schedules; `ticker` is what a worker has."""

    def __init__(self, ground: Ground, tenant: Tenant) -> None:
        self.ground, self.tenant, self.heard = ground, tenant, Heard()

    def ticker(self, ledger: Any = None, **more: Any) -> Schedules:
        database = self.ground.databases["worker"]
        return Schedules(database, ledger or Ledger(database), OpenKeys(), self.heard, defaults({}), **more)

    async def make(self, job: dict[str, Any] | None = None, **settings: Any) -> Trigger:
        """A schedule as the API makes it: due from now on."""
        settings.setdefault("schedule", {"cron": "* * * * *"})
        now, spec = clock.now(), _job(job or {})
        trigger = Trigger(
            new_id(), self.tenant.id, Kind.SCHEDULE, "s", spec, check_settings(Kind.SCHEDULE, settings), "x", now, now
        )
        async with self.ground.databases["gateway"].unit() as connection:
            await insert_trigger(connection, trigger)
            await put_schedule(connection, trigger)
        return trigger

    async def since(self, trigger: Trigger, ago: timedelta) -> None:
        """As if it had been made so long ago, and nobody had ticked since."""
        async with self.ground.admin.acquire() as connection, connection.transaction():  # of one now()
            await connection.execute(
                "update control.trigger set created_at = now() - $2::interval where id = $1", trigger.id, ago
            )
            await connection.execute(
                "update control.schedule set last_due_at = now() - $2::interval, next_at = now() - $2::interval"
                " where trigger_id = $1",
                *(trigger.id, ago),
            )

    async def make_hourly(self, **settings: Any) -> Trigger:
        """`come` says which of its hours is due."""
        return await self.make(schedule={"every_seconds": 3600}, **settings)

    async def come(self, trigger: Trigger, hour: int, ticker: Schedules | None = None) -> None:
        """Its n-th hour has just come, none before it is open, and it is ticked."""
        async with self.ground.admin.acquire() as connection, connection.transaction():  # of one now()
            await connection.execute(
                "update control.trigger set created_at = now() - make_interval(secs => $2 * 3600 + 1) where id = $1",
                *(trigger.id, hour),
            )
            await connection.execute(
                "update control.schedule set last_due_at = now() - interval '2 seconds', next_at = now()"
                " where trigger_id = $1",
                trigger.id,
            )
        await (ticker or self.ticker()).tick()

    async def place(self, trigger: Trigger) -> Any:
        """Its row: next_at, last_due_at."""
        return await self.ground.admin.fetchrow("select * from control.schedule where trigger_id = $1", trigger.id)

    async def jobs(self, trigger: Trigger) -> list[str]:
        """The due times that its jobs were given, as they stand in their payloads, oldest first."""
        rows = await self.ground.admin.fetch("select payload from control.job where trigger_id = $1", trigger.id)
        payloads = [json.loads(row["payload"]) for row in rows]
        assert {payload["trigger_id"] for payload in payloads} <= {str(trigger.id)}
        return sorted(payload["due_at"] for payload in payloads)

    async def firings(self, trigger: Trigger) -> list[Any]:
        return list(
            await self.ground.admin.fetch("select * from control.firing where trigger_id = $1 order by id", trigger.id)
        )


def _job(fields: dict[str, Any]) -> JobSpec:
    return parse_submission(json.dumps({"function": "clock.tick"} | fields).encode())
