"""What the ledger's tests stand on: a PostgreSQL of their own, so that no running worker sweeps beside them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from storage.postgres.database import Database, role_name
from storage.postgres.ledger.ledger import Ledger
from tests.own_postgres import OwnPostgres
from waypost.ids import NIL, new_id
from waypost.job.model import Ask, Claimed, End, Ending, Outcome, Retrying, Submission

TABLES = (
    "ready, due, hold, permit, lease, job, job_label, job_end, attempt, cancel_request, idempotency, job_log,"
    " route_delta, route_count, route_minute, session, function_pause"
)


class Ground:
    """The ledger as gateway, relay and worker see it, over one server; `admin` is a superuser's pool."""

    def __init__(self, server: OwnPostgres) -> None:
        self.server = server

    async def open(self) -> "Ground":
        self.admin = await asyncpg.create_pool(self.server.admin_url("waypost"), min_size=0, max_size=4)
        self.databases = {
            name: await Database.open(self.server.url(f"waypost_{name}"), name=f"test-{name}", pool_size=4, hot_size=6)
            for name in ("gateway", "relay", "worker")
        }
        self.gateway, self.relay, self.worker = (Ledger(self.databases[n]) for n in ("gateway", "relay", "worker"))
        return self

    async def close(self) -> None:
        for database in self.databases.values():
            await database.close()
        await self.admin.close()

    async def clear(self) -> None:
        names = ", ".join(f"control.{name.strip()}" for name in TABLES.split(","))
        await self.admin.execute(f"truncate {names}")

    async def session(self, lease_seconds: float = 60.0) -> int:
        return await self.relay.open_session("relay-1", "relay", "127.0.0.1:1", 1, lease_seconds)

    async def lapse(self, session: int) -> None:
        """The session's relay stopped renewing a while ago."""
        await self.admin.execute(
            "update control.session set lease_until = now() - interval '1 second' where id = $1", session
        )

    async def count(self, table: str, where: str = "true", *values: Any) -> int:
        text = f"select count(*) from control.{table} where {where}"  # noqa: S608 (written by tests)
        found = await self.admin.fetchval(text, *values)
        return int(found)

    async def ends(self) -> dict[UUID, End]:
        rows = await self.admin.fetch("select job_id, state from control.job_end")
        return {row["job_id"]: End(row["state"]) for row in rows}

    async def places(self, job_id: UUID) -> list[str]:
        """Every table that holds the job now."""
        tables = ("due", "hold", "ready", "lease", "job_end")
        return [table for table in tables if await self.count(table, "job_id = $1", job_id)]


class Tenant:
    """An environment with its database role, and what a gateway submits to it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.id = new_id()

    async def create(self) -> "Tenant":
        organization, project, slug = new_id(), new_id(), f"e{self.id.hex[-12:]}"
        role = role_name(self.id)
        async with self.ground.admin.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into control.organization (id, slug, name) values ($1, $2, $2)", organization, slug
            )
            await connection.execute(
                "insert into control.project (id, organization_id, slug, name) values ($1, $2, $3, $3)",
                project,
                organization,
                slug,
            )
            await connection.execute(
                "insert into control.environment"
                " (id, organization_id, project_id, slug, name, posture, status, created_by)"
                " values ($1, $2, $3, $4, $4, 'dev', 'ready', 'test')",
                self.id,
                organization,
                project,
                slug,
            )
            await connection.execute(
                f"create role {role} nologin; grant waypost_environment to {role} with inherit true;"
                f" grant {role} to waypost_gateway, waypost_relay, waypost_worker with inherit false, set true"
            )
        return self

    async def route(self, function: str = "text.count", selectors: Sequence[str] = ()) -> int:
        return await self.ground.gateway.resolve_route(self.id, function, selectors)

    async def submission(self, function: str = "text.count", rank: int = 4, **more: Any) -> Submission:
        key = more.get("idempotency_key")
        hashed = more.pop("request_hash", b"hash" if key is not None else None)
        return Submission(new_id(), self.id, await self.route(function), rank, "key:test", request_hash=hashed, **more)

    async def submit(self, count: int = 1, function: str = "text.count", rank: int = 4, **more: Any) -> list[UUID]:
        batch = [await self.submission(function, rank, **more) for _ in range(count)]
        return [accepted.id for accepted in await self.ground.gateway.submit(batch)]

    async def claim(
        self, session: int, count: int = 1, function: str = "text.count", rank: int = 4, low: UUID = NIL
    ) -> list[Claimed]:
        ask = Ask(await self.route(function), rank, low, tuple(new_id() for _ in range(count)))
        return await self.ground.relay.claim(session, [ask])


def done(claimed: Claimed, end: End = End.COMPLETED, result: bytes | None = b"result") -> Ending:
    """The answer of a node that finished."""
    outcome = Outcome.COMPLETED if end is End.COMPLETED else Outcome.FAILED
    return Ending(claimed.job_id, claimed.attempt_id, end, outcome, result=result)


def again(claimed: Claimed, delay_seconds: float = 0.0) -> Retrying:
    """The answer of a node that failed, to be tried again."""
    return Retrying(claimed.job_id, claimed.attempt_id, Outcome.FAILED, delay_seconds, new_id(), error=b"error")
