"""`environment.delete`: from whatever state and wherever it is stopped, nothing is left of the environment."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from functions.environment import delete as module
from functions.environment import provision as provisioning
from functions.environment.delete import give_up
from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import provision
from infra.local.folder import DataFolder
from storage.objects.store import ObjectStore
from storage.postgres.environment import rows
from storage.postgres.tenancy import environment as environments
from storage.postgres.tenancy import role_name
from tests.functions.life_ground import FILLED, Killed, begin, delete, fill, kill_within, remains
from waypost.errors import unavailable
from waypost.tenancy.model import DELETE_STEPS, PROVISION_STEPS, Status, StepState

Make = Callable[[], Awaitable[Any]]


@pytest.fixture
async def used(make_unprovisioned: Make, ports: EnvironmentPorts, s3: tuple[str, str, str]) -> UUID:
    """An environment that is ready and has a row of every kind and two objects."""
    made = await make_unprovisioned()
    await provision(made.job, ports)
    await fill(ports, made.id)
    store = ObjectStore(s3[0], ports.keys)
    for number in range(2):
        await store.put(made.id, f"jobs/{number}/payload", b"x" * 1_000)
    return UUID(str(made.id))


async def entries(ports: EnvironmentPorts, environment_id: UUID) -> list[dict[str, Any]]:
    """What the audit says of the deletion, oldest first."""
    async with ports.database.unit() as connection:
        found = await connection.fetch(
            "select actor, request_id, details from control.audit"
            " where environment_id = $1 and action = 'environment.delete' order by id",
            environment_id,
        )
    return [{**row, "details": json.loads(row["details"])} for row in found]


async def test_nothing_is_left_and_the_audit_says_what_went(used: UUID, ports: EnvironmentPorts) -> None:
    """Schema, role, bucket with its objects, user, keys, rows of every table; the counts are exact."""
    job = await begin(ports, used)
    await delete(job, ports)
    assert await remains(ports, used) == {}
    asked, done = await entries(ports, used)
    assert asked["details"] == {"stage": "requested"}
    assert (done["actor"], done["request_id"]) == ("person:test", "r-1")
    found = done["details"]
    assert {name: found[name] for name in FILLED} == FILLED
    assert (found["stage"], found["objects"], found["bytes"], found["fenced"]) == ("completed", "2", "2000", "0")
    await delete(job, ports)  # twice
    assert len(await entries(ports, used)) == 2


@pytest.mark.parametrize("name", DELETE_STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_any_step_it_ends_with_nothing_left(
    name: str, when: str, used: UUID, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the step did anything, or after all it did and before that was recorded."""
    real = module.STEPS[name]

    async def stopped(*arguments: Any) -> None:
        while when == "after" and await real(*arguments):
            pass
        raise Killed

    job = await begin(ports, used)
    monkeypatch.setitem(module.STEPS, name, stopped)
    with pytest.raises(Killed):
        await delete(job, ports)
    monkeypatch.undo()
    await delete(job, ports)
    assert await remains(ports, used) == {}
    found = (await entries(ports, used))[-1]["details"]
    assert {name: found[name] for name in FILLED} == FILLED


@pytest.mark.parametrize("name", [None, *PROVISION_STEPS])
async def test_half_provisioned_it_is_deleted_too(
    name: str | None, unprovisioned: Any, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing made yet, or stopped after any step of provisioning; a provisioner that comes back does nothing."""

    async def stopped(*arguments: Any) -> None:
        await real(*arguments)
        raise Killed

    if name is not None:
        real = provisioning.STEPS[name]
        monkeypatch.setitem(provisioning.STEPS, name, stopped)
        with pytest.raises(Killed):
            await provision(unprovisioned.job, ports)
        monkeypatch.undo()
    job = await begin(ports, unprovisioned.id)
    await provision(unprovisioned.job, ports)
    await delete(job, ports)
    await provision(unprovisioned.job, ports)
    assert await remains(ports, unprovisioned.id) == {}


@pytest.mark.parametrize("name", PROVISION_STEPS)
async def test_deleted_in_the_middle_of_a_step_of_provisioning(
    name: str, unprovisioned: Any, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion waits for the step, and the provisioner, which goes on, makes nothing any more."""
    real, inside, go = provisioning.STEPS[name], asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> None:
        inside.set()
        await go.wait()
        await real(*arguments)

    monkeypatch.setitem(provisioning.STEPS, name, slow)
    making = asyncio.create_task(provision(unprovisioned.job, ports))
    await inside.wait()
    deleting = asyncio.create_task(delete(await begin(ports, unprovisioned.id), ports))
    go.set()
    await asyncio.gather(making, deleting)
    assert await remains(ports, unprovisioned.id) == {}


async def test_two_at_once_delete_it_once(used: UUID, ports: EnvironmentPorts) -> None:
    """Two workers that both believe the job is theirs take turns step by step; the audit says once what went."""
    job = await begin(ports, used)
    await asyncio.gather(delete(job, ports), delete(job, ports))
    assert await remains(ports, used) == {}
    assert len(await entries(ports, used)) == 2


async def test_asked_again_there_is_one_deletion(used: UUID, ports: EnvironmentPorts) -> None:
    """A second request gets the job of the first, and writes nothing into the audit."""
    first = await begin(ports, used)
    assert (await begin(ports, used)).id == first.id
    assert len(await entries(ports, used)) == 1


async def test_more_rows_and_objects_than_one_bite(
    used: UUID, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table in several bites, each its own transaction; the counts add up."""
    monkeypatch.setattr(rows, "BITE", 2)
    monkeypatch.setattr(module, "BITE", 2)
    await delete(await begin(ports, used), ports)
    assert await remains(ports, used) == {}
    found = (await entries(ports, used))[-1]["details"]
    assert {name: found[name] for name in FILLED} == FILLED


async def test_a_failed_environment_is_deleted(unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """Whatever was made before provisioning was given up goes."""
    await provision(unprovisioned.job, ports)
    async with ports.database.unit() as connection:
        await connection.execute("update control.environment set status = 'failed' where id = $1", unprovisioned.id)
    await delete(await begin(ports, unprovisioned.id), ports)
    assert await remains(ports, unprovisioned.id) == {}


async def test_a_deletion_that_fails_says_why_and_goes_on_later(
    used: UUID, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is `failed` with a sentence; given up, the environment shows the reason and is still `deleting`."""

    async def fails(*_: Any) -> None:
        raise unavailable("The object store")

    job = await begin(ports, used)
    monkeypatch.setitem(module.STEPS, "bucket", fails)
    with pytest.raises(Exception, match="unavailable"):
        await delete(job, ports)
    await give_up(job, "the object store is away", ports)
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, used)
        steps = {step.name: step for step in await environments.read_steps(connection, used)}
    assert environment is not None
    assert (environment.status, environment.status_reason) == (Status.DELETING, "the object store is away")
    assert steps["bucket"].state is StepState.FAILED
    assert "cannot be reached" in (steps["bucket"].error or "")
    monkeypatch.undo()
    await delete(job, ports)
    assert await remains(ports, used) == {}


async def test_an_open_session_of_its_login_does_not_keep_it(
    used: UUID, platform: Any, ports: EnvironmentPorts
) -> None:
    """It is ended, and the login is refused from then on."""
    import asyncpg

    from storage.secrets import DATABASE_PASSWORD

    password = (await ports.keys.get_secret(used, DATABASE_PASSWORD) or b"").decode()
    host = DataFolder(platform.data_dir).socket_dir
    own = await asyncpg.connect(host=str(host), user=role_name(used), password=password, database="waypost")
    await own.execute("insert into tenant values ('another')")
    await delete(await begin(ports, used), ports)
    assert await remains(ports, used) == {}
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await own.fetchval("select 1")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(host=str(host), user=role_name(used), password=password, database="waypost")


@pytest.mark.parametrize("step", ["role", "gone"])
async def test_killed_with_minus_9_it_ends_with_nothing_left(
    step: str, used: UUID, ports: EnvironmentPorts, platform: Any, s3: tuple[str, str, str]
) -> None:
    """A real process, inside a step with its transaction open; the next run needs no clean-up by hand."""
    job = await begin(ports, used)
    await kill_within(step, job, platform, s3)
    await delete(job, ports)
    assert await remains(ports, used) == {}
