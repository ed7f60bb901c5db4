"""`environment.suspend` and `environment.resume`: killed after any step, run twice, overtaken; the login says which."""

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from functions.environment import resume as resuming
from functions.environment import suspend as suspending
from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import provision
from functions.environment.resume import resume
from functions.environment.suspend import suspend
from infra.local.folder import DataFolder
from storage.postgres.database import role_name
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy import environment as environments
from storage.secrets import DATABASE_PASSWORD
from tests.functions.life_ground import Killed, begin, kill_within
from waypost.tenancy import life
from waypost.tenancy.model import RESUME_STEPS, SUSPEND_STEPS, StepState

STEPS = [(suspending, name) for name in SUSPEND_STEPS] + [(resuming, name) for name in RESUME_STEPS]
_NAMES = [f"{module.__name__.rpartition('.')[2]}-{name}" for module, name in STEPS]
EACH_STEP = pytest.mark.parametrize(("module", "name"), STEPS, ids=_NAMES)
Connect = Callable[[], Awaitable[Any]]


@pytest.fixture
async def ready(unprovisioned: Any, ports: EnvironmentPorts) -> UUID:
    """An environment that is ready."""
    await provision(unprovisioned.job, ports)
    found: UUID = unprovisioned.id
    return found


@pytest.fixture
async def connect(ready: UUID, platform: Any, ports: EnvironmentPorts) -> Connect:
    """The environment's own login, as its tenant has it."""
    password = (await ports.keys.get_secret(ready, DATABASE_PASSWORD) or b"").decode()
    host = str(DataFolder(platform.data_dir).socket_dir)

    async def open_session() -> Any:
        return await asyncpg.connect(host=host, user=role_name(ready), password=password, database="waypost")

    return open_session


async def check(ports: EnvironmentPorts, environment_id: UUID, connect: Connect, *, is_open: bool) -> None:
    """Every step is done, and the login takes sessions or has none and takes none."""
    async with ports.database.unit() as connection:
        steps = await environments.read_steps(connection, environment_id)
        sessions = await connection.fetchval(
            "select count(*) from pg_stat_activity where usename = $1", role_name(environment_id)
        )
    assert {step.state for step in steps} == {StepState.DONE}
    if is_open:
        own = await connect()
        assert await own.fetchval("select count(*) from tenant") == 1
        await own.close()
        return
    assert sessions == 0
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await connect()


async def about_to(module: ModuleType, ports: EnvironmentPorts, environment_id: UUID) -> PlatformJob:
    """Whatever comes before, done; the job of the phase that the module carries out."""
    job = await begin(ports, environment_id, life.suspend_environment)
    if module is suspending:
        return job
    await suspend(job, ports)
    return await begin(ports, environment_id, life.resume_environment)


@EACH_STEP
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_any_step_it_ends_in_the_same_place(
    module: Any, name: str, when: str, ready: UUID, connect: Connect, ports: EnvironmentPorts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Before the step did anything, or after all it did and before that was recorded; then run again, and once more."""
    run, real = (suspend if module is suspending else resume), module.STEPS[name]
    own = await connect()

    async def stopped(*arguments: Any) -> None:
        if when == "after":
            await real(*arguments)
        raise Killed

    job = await about_to(module, ports, ready)
    monkeypatch.setitem(module.STEPS, name, stopped)
    with pytest.raises(Killed):
        await run(job, ports)
    monkeypatch.undo()
    for _ in range(2):
        await run(job, ports)
        await check(ports, ready, connect, is_open=module is resuming)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):  # from before it was suspended
        await own.fetchval("select 1")


@EACH_STEP
async def test_killed_with_minus_9_it_ends_in_the_same_place(
    module: Any, name: str, ready: UUID, connect: Connect, ports: EnvironmentPorts, platform: Any,
    s3: tuple[str, str, str],
) -> None:  # fmt: skip
    """A real process with the step's transaction open."""
    job = await about_to(module, ports, ready)
    await kill_within(name, job, platform, s3)
    await (suspend if module is suspending else resume)(job, ports)
    await check(ports, ready, connect, is_open=module is resuming)


async def test_two_at_once_suspend_it_once(ready: UUID, connect: Connect, ports: EnvironmentPorts) -> None:
    """Two workers that both believe the job is theirs take turns step by step."""
    job = await about_to(suspending, ports, ready)
    await asyncio.gather(suspend(job, ports), suspend(job, ports))
    await check(ports, ready, connect, is_open=False)


async def test_a_suspension_that_was_overtaken_closes_nothing(
    ready: UUID, connect: Connect, ports: EnvironmentPorts
) -> None:
    """Resumed before its worker came to it: a late job of the earlier request does nothing."""
    late = await begin(ports, ready, life.suspend_environment)
    job = await begin(ports, ready, life.resume_environment)
    await resume(job, ports)
    await suspend(late, ports)
    await check(ports, ready, connect, is_open=True)
