"""Subscriptions and deliveries on a PostgreSQL of their own, where nobody delivers but the test."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from functions.webhook.deliver import deliverer
from functions.webhook.network import CheckedNetwork, SystemResolver
from functions.webhook.send import Sender
from jobs.delivery import Deliver, Deliveries
from storage.postgres.subscription import queue
from storage.postgres.subscription import subscription as subscriptions
from storage.postgres.subscription.delivery import NewDelivery, insert_deliveries
from tests.storage.ledger_ground import Ground, Tenant
from waypost import clock
from waypost.ids import new_id
from waypost.subscription.address import read_subnets
from waypost.subscription.model import Claimed, Outcome, Verdict
from waypost.subscription.signature import new_secret

TABLES = (
    "control.subscription, control.subscription_secret, control.delivery, control.delivery_queue,"
    " control.delivery_attempt, control.environment_event"
)


class Open:
    """A data key that seals nothing."""

    def seal(self, place: str, plaintext: bytes) -> bytes:
        return plaintext

    def open(self, place: str, sealed: bytes) -> bytes:
        return sealed


class OpenKeys:
    async def data_key(self, environment_id: UUID) -> Any:
        return Open()


class Ways:
    """How a process sends: `deliver` may reach this machine."""

    def __init__(self) -> None:
        self._resolver = SystemResolver()
        self._sender = Sender(CheckedNetwork(read_subnets("127.0.0.1/32"), self._resolver))
        self.deliver: Deliver = deliverer(OpenKeys(), self._sender)  # type: ignore[arg-type]  # keys that seal nothing

    async def close(self) -> None:
        await self._sender.close()
        self._resolver.close()


class DeliveryGround:
    """One environment with subscriptions."""

    def __init__(self, ground: Ground, tenant: Tenant) -> None:
        self.ground, self.tenant, self.ways = ground, tenant, Ways()
        self.database = ground.databases["worker"]
        self.secrets: dict[UUID, str] = {}

    async def close(self) -> None:
        await self.ways.close()
        await self.ground.admin.execute(f"truncate {TABLES}")

    def worker(self, deliver: Deliver | None = None, store: Any = None, **more: Any) -> Deliveries:
        return Deliveries(self.database, deliver or self.ways.deliver, store, **more)

    async def subscribe(self, url: str, *events: str) -> UUID:
        subscription_id, secret = new_id(), new_secret()
        async with self.database.unit() as connection:
            await subscriptions.insert_subscription(
                connection,
                subscription_id,
                self.tenant.id,
                url=url,
                events=events or ("*",),
                description="",
                created_by="test",
            )
            await subscriptions.add_secret(connection, self.tenant.id, subscription_id, secret.encode())
        self.secrets[subscription_id] = secret
        return subscription_id

    async def queue(self, subscription_id: UUID, count: int = 1) -> list[UUID]:
        """Deliveries that are due; answers their ids."""
        new = NewDelivery()
        for _ in range(count):
            body = msgspec.json.encode({"type": "job.failed", "data": {}})
            new.add(self.tenant.id, subscription_id, new_id(), new_id(), "job.failed", body)
        async with self.database.unit() as connection:
            assert await insert_deliveries(connection, new) == count
        return new.ids

    async def claim(self, limit: int = 100, room: int = 100, seconds: float = 30.0) -> list[Claimed]:
        return await queue.claim(self.database, {}, room=room, limit=limit, seconds=seconds)

    async def come(self, delivery_id: UUID) -> datetime:
        """Make the next attempt due; answers when it would have been."""
        due: datetime = await self.ground.admin.fetchval(
            "select due_at from control.delivery_queue where delivery_id = $1", delivery_id
        )
        await self.ground.admin.execute(
            "update control.delivery_queue set due_at = now() where delivery_id = $1", delivery_id
        )
        return due

    async def row(self, delivery_id: UUID) -> Any:
        return await self.ground.admin.fetchrow("select * from control.delivery where id = $1", delivery_id)

    async def attempts(self, delivery_id: UUID) -> list[Any]:
        return list(
            await self.ground.admin.fetch(
                "select * from control.delivery_attempt where delivery_id = $1 order by number", delivery_id
            )
        )

    async def subscription(self, subscription_id: UUID) -> Any:
        return await self.ground.admin.fetchrow("select * from control.subscription where id = $1", subscription_id)


def failed(status: int | None = 500, retry_after: float | None = None) -> Outcome:
    return Outcome(
        started_at=clock.now(), duration_ms=3, status=status, error="http_status", retry_after_seconds=retry_after
    )


def good() -> Outcome:
    return Outcome(started_at=clock.now(), duration_ms=3, status=200)


def settled(claimed: Claimed, verdict: Verdict = Verdict.DELIVERED) -> queue.Settlement:
    return queue.Settlement(claimed, good() if verdict is Verdict.DELIVERED else failed(), verdict)
