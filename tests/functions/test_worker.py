"""The worker as a process: it finds what is to be done, says how it is, stops gently, dies safely."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from dramatiq import Message

from functions import worker
from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import provision
from functions.worker import every
from infra.local.folder import DataFolder
from jobs.platform import ACTOR, NUDGE_CHANNEL, Hints, make_broker, nudge
from storage.postgres.environment import provision as schema
from storage.postgres.tenancy import environment as environments
from tests.functions.life_ground import begin, remains
from waypost.errors import unavailable
from waypost.ids import new_id
from waypost.tenancy.model import Status

COMMAND = (sys.executable, "-P", "-m", "functions")
OURS = "worker-under-test"


@pytest.fixture
def settings(platform: Any, s3: tuple[str, str, str]) -> dict[str, str]:
    return {
        "WAYPOST_DATABASE_URL": platform.database_url("waypost_worker"),
        "WAYPOST_PROVISIONER_DATABASE_URL": platform.database_url("waypost_provisioner"),
        "WAYPOST_VALKEY_URL": platform.valkey_url("worker"),
        "WAYPOST_S3_ENDPOINT": s3[0],
        "WAYPOST_S3_ACCESS_KEY": s3[1],
        "WAYPOST_S3_SECRET_KEY": s3[2],
        "WAYPOST_KEK_FILE": str(DataFolder(platform.data_dir).kek_file),
        "WAYPOST_PROCESS_NAME": OURS,
        "WAYPOST_LOG_FORMAT": "json",
    }


@contextlib.asynccontextmanager
async def running(settings: dict[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A worker that serves, and the address of its internal listener."""
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        env=os.environ | settings | {"WAYPOST_READY_FD": str(writing)},
        pass_fds=(writing,),
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    try:
        line = await asyncio.wait_for(asyncio.to_thread(os.read, reading, 4096), 30)
        os.close(reading)
        ready = json.loads(line)
        assert (ready["name"], ready["pid"]) == (OURS, process.pid)
        yield process, ready["internal_address"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - the fact is in the database
            await asyncio.sleep(0.05)


async def set_due(ports: EnvironmentPorts, made: Any) -> None:
    async with ports.database.unit() as connection:
        await connection.execute("update control.platform_job set run_at = now() where id = $1", made.job.id)


async def is_ready(ports: EnvironmentPorts, made: Any) -> bool:
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, made.id)
    return environment is not None and environment.status is Status.READY


async def taken(ports: EnvironmentPorts, make: Callable[[], Awaitable[Any]]) -> Any:
    """An environment whose job the worker under test has taken; the platform's own worker may win some before."""
    query = """
        select s.process from control.platform_job j join control.session s on s.id = j.session where j.id = $1
    """
    while True:
        made = await make()
        await set_due(ports, made)
        owner: list[str] = []

        async def claimed(job_id: UUID = made.job.id, owner: list[str] = owner) -> bool:
            async with ports.database.unit() as connection:
                owner[:] = [row["process"] for row in await connection.fetch(query, job_id)]
            return bool(owner)

        await until(claimed)
        if owner == [OURS]:
            return made


async def test_a_worker_provisions_what_is_queued_and_stops_gently(
    settings: dict[str, str], make_unprovisioned: Callable[[], Awaitable[Any]], ports: EnvironmentPorts
) -> None:
    """Found by its own sweep, without any hint of ours; ready with every dependency named; SIGTERM ends it with 0."""
    async with running(settings) as (process, internal), httpx.AsyncClient(base_url=f"http://{internal}") as http:
        answer = await http.get("/readyz")
        assert answer.status_code == 200, answer.text
        assert set(answer.json()["dependencies"]) == {"postgres", "valkey", "objects"}
        made = await taken(ports, make_unprovisioned)
        await until(lambda: is_ready(ports, made))
        assert b"waypost_platform_jobs_ended_total" in (await http.get("/metrics")).content
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 40) == 0
        assert process.stderr is not None
        log = (await process.stderr.read()).decode()
    assert "Traceback" not in log
    async with ports.database.unit() as connection:
        open_sessions = "select count(*) from control.session where process = $1 and pid = $2 and ended_at is null"
        assert await connection.fetchval(open_sessions, OURS, process.pid) == 0


async def test_lost_hints_are_sent_again(settings: dict[str, str], unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """Every hint lost from Dramatiq's queue: the next sweep sends another one, and the work is done."""
    async with running(settings):
        await set_due(ports, unprovisioned)
        await Hints(settings["WAYPOST_VALKEY_URL"]).sweep(ports.database)
        await ports.valkey.execute("DEL", "wp:dramatiq:platform", "wp:dramatiq:platform.msgs")
        await until(lambda: is_ready(ports, unprovisioned), 45)


async def test_a_worker_killed_at_work_is_replaced(
    settings: dict[str, str], make_unprovisioned: Callable[[], Awaitable[Any]], ports: EnvironmentPorts
) -> None:
    """kill -9 inside a step; another worker finishes when the dead one's lease is over."""
    held = contextlib.AsyncExitStack()

    async def make_held() -> Any:
        await held.aclose()
        made = await make_unprovisioned()
        connection = await held.enter_async_context(ports.provisioner.unit())
        await schema.lock(connection, made.id)  # its first step waits here
        return made

    async with running(settings) as (process, _), held:
        made = await taken(ports, make_held)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert not await is_ready(ports, made)
    async with ports.database.unit() as connection:
        # What half a minute would do.
        await connection.execute(
            "update control.session set lease_until = now() where process = $1 and ended_at is null", OURS
        )
        await connection.execute("update control.platform_job set hinted_at = null where id = $1", made.job.id)
    async with running(settings):
        await until(lambda: is_ready(ports, made), 45)


async def test_a_worker_killed_while_it_deletes_is_replaced(
    settings: dict[str, str], make_unprovisioned: Callable[[], Awaitable[Any]], ports: EnvironmentPorts
) -> None:
    """kill -9 inside a step of a deletion; another worker ends it, and nothing is left."""
    held = contextlib.AsyncExitStack()

    async def make_held() -> Any:
        await held.aclose()
        made = await make_unprovisioned()
        await provision(made.job, ports)
        job = await begin(ports, made.id)
        connection = await held.enter_async_context(ports.provisioner.unit())
        await schema.lock(connection, made.id)
        return dataclasses.replace(made, job=job)

    async with running(settings) as (process, _), held:
        made = await taken(ports, make_held)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with ports.database.unit() as connection:
        await connection.execute(
            "update control.session set lease_until = now() where process = $1 and ended_at is null", OURS
        )
        await connection.execute("update control.platform_job set hinted_at = null where id = $1", made.job.id)

    async def nothing_left() -> bool:
        return not await remains(ports, made.id)

    async with running(settings):
        await until(nothing_left, 45)


async def test_a_wrong_setting_ends_a_worker_with_code_2(settings: dict[str, str]) -> None:
    """One line that names variable and value."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, env=os.environ | settings | {"WAYPOST_INTERNAL_PORT": "many"}, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert stderr.decode().splitlines() == ["WAYPOST_INTERNAL_PORT is 'many': must be a whole number from 0 to 65535"]


async def test_a_nudge_is_heard_at_once(settings: dict[str, str], ports: EnvironmentPorts) -> None:
    """Work that comes every hour by itself is done again as soon as somebody says so; an error does not end it."""
    done: asyncio.Queue[int] = asyncio.Queue()
    nudged = asyncio.Event()

    async def work() -> None:
        done.put_nowait(1)
        raise unavailable("PostgreSQL")

    task = asyncio.create_task(every(3600, work, nudged))
    subscription = await ports.valkey.subscribe([NUDGE_CHANNEL], lambda _channel, _payload: nudged.set())
    async with asyncio.timeout(30):
        await done.get()
        for _ in range(2):
            nudge(ports.valkey)
            await done.get()
    subscription.close()
    task.cancel()


async def test_a_worker_runs_as_many_jobs_at_once_as_it_has_threads(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hint waits behind one that takes long while a thread is idle."""
    queue, url = f"test{new_id().hex}", platform.valkey_url("worker")
    monkeypatch.setattr(worker, "QUEUE", queue)
    at_once: set[UUID] = set()
    all_run, over = asyncio.Event(), asyncio.Event()

    async def run(job_id: UUID) -> bool:
        at_once.add(job_id)
        if len(at_once) == worker.THREADS:
            all_run.set()
        await over.wait()
        return True

    consumer = worker._consume(url, asyncio.get_running_loop(), run)
    broker = make_broker(url)
    try:
        for _ in range(worker.THREADS):
            broker.enqueue(Message(queue, ACTOR, (str(new_id()),), {}, {}))
        await asyncio.wait_for(all_run.wait(), 10)
    finally:
        over.set()
        await asyncio.to_thread(consumer.stop)
