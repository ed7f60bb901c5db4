"""`environment.provision`: wherever it is stopped, run again it ends in the same place."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from functions.environment import provision as module
from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import give_up, provision
from jobs.wake import ACCESS_CHANNEL, EnvironmentChanged, decode_access
from storage.objects.store import ObjectStore, bucket_name
from storage.postgres.tenancy import environment as environments
from storage.postgres.tenancy import role_name, signing_key
from storage.secrets import DATABASE_PASSWORD
from tests.functions.life_ground import Killed, kill_within
from waypost.errors import unavailable
from waypost.secret import DataKey
from waypost.secret.signing import place
from waypost.tenancy.model import PROVISION_STEPS, Status, StepState


async def state_of(ports: EnvironmentPorts, environment_id: UUID) -> tuple[Status, dict[str, StepState]]:
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, environment_id)
        steps = await environments.read_steps(connection, environment_id)
    assert environment is not None
    return environment.status, {step.name: step.state for step in steps}


async def check_ready(ports: EnvironmentPorts, endpoint: str, environment_id: UUID) -> None:
    """One of everything, and all of it works."""
    status, steps = await state_of(ports, environment_id)
    assert status is Status.READY
    assert steps == dict.fromkeys(PROVISION_STEPS, StepState.DONE)
    async with ports.database.as_environment(environment_id) as connection:
        assert await connection.fetchval("select count(*) from tenant") == 1
        assert await connection.fetchval("select count(*) from control.job") == 0
    async with ports.database.unit() as connection:
        assert len(await signing_key.public_keys(connection, environment_id)) == 1
        kept = await signing_key.current_signing_key(connection, environment_id)
        entries = await connection.fetchval(
            "select count(*) from control.audit where environment_id = $1 and action = 'environment.provision'",
            environment_id,
        )
        members = await connection.fetch(
            "select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid"
            " join pg_roles r on r.oid = m.member where r.rolname = $1", role_name(environment_id)
        )  # fmt: skip
    assert kept is not None
    assert entries == 1
    assert [row["rolname"] for row in members] == ["waypost_environment"]
    key: DataKey = await ports.keys.data_key(environment_id)
    assert b"PRIVATE KEY" in key.open(place(kept.kid), kept.sealed_private)
    store = ObjectStore(endpoint, ports.keys)
    await store.put(environment_id, "check", b"1")
    assert await store.get(environment_id, "check") == b"1"
    await store.delete(environment_id, "check")


async def test_an_environment_becomes_ready_and_says_so(
    unprovisioned: Any, ports: EnvironmentPorts, s3: tuple[str, str, str]
) -> None:
    """All steps done, in order, and the caches are told."""
    told: asyncio.Queue[bytes] = asyncio.Queue()
    subscription = await ports.valkey.subscribe([ACCESS_CHANNEL], lambda _, payload: told.put_nowait(payload))
    await provision(unprovisioned.job, ports)
    async with asyncio.timeout(30):
        while decode_access(await told.get()) != EnvironmentChanged(unprovisioned.id):
            pass
    subscription.close()
    await check_ready(ports, s3[0], unprovisioned.id)
    async with ports.database.unit() as connection:
        steps = await environments.read_steps(connection, unprovisioned.id)
    assert [step.name for step in steps] == list(PROVISION_STEPS)
    finished = [step.finished_at for step in steps if step.finished_at is not None]
    assert finished == sorted(finished)
    assert len(finished) == len(PROVISION_STEPS)


@pytest.mark.parametrize("name", PROVISION_STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_any_step_it_ends_in_the_same_place(
    name: str,
    when: str,
    unprovisioned: Any,
    ports: EnvironmentPorts,
    s3: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped before the step did anything, or after all it did and before that was recorded."""
    real = module.STEPS[name]

    async def stopped(*arguments: Any) -> None:
        if when == "after":
            await real(*arguments)
        raise Killed

    monkeypatch.setitem(module.STEPS, name, stopped)
    with pytest.raises(Killed):
        await provision(unprovisioned.job, ports)
    _, steps = await state_of(ports, unprovisioned.id)
    recorded = (name, when) == ("ready", "after")  # the one step that records itself, with the status
    assert steps[name] is (StepState.DONE if recorded else StepState.RUNNING)
    monkeypatch.undo()
    await provision(unprovisioned.job, ports)
    await check_ready(ports, s3[0], unprovisioned.id)


async def test_run_twice_it_changes_nothing(
    unprovisioned: Any, ports: EnvironmentPorts, s3: tuple[str, str, str]
) -> None:
    """Also with every step run again, as after a lost record of all of them."""
    await provision(unprovisioned.job, ports)
    async with ports.database.unit() as connection:
        kid = (await signing_key.public_keys(connection, unprovisioned.id))[0]["kid"]
    password = await ports.keys.get_secret(unprovisioned.id, DATABASE_PASSWORD)
    await provision(unprovisioned.job, ports)
    async with ports.database.unit() as connection:
        await connection.execute(
            "update control.environment_step set state = 'pending' where environment_id = $1", unprovisioned.id
        )
        await connection.execute("update control.environment set status = 'failed' where id = $1", unprovisioned.id)
    await provision(unprovisioned.job, ports)
    async with ports.database.unit() as connection:
        assert [key["kid"] for key in await signing_key.public_keys(connection, unprovisioned.id)] == [kid]
    assert await ports.keys.get_secret(unprovisioned.id, DATABASE_PASSWORD) == password
    status, steps = await state_of(ports, unprovisioned.id)
    assert (status, set(steps.values())) == (Status.READY, {StepState.DONE})


async def test_two_at_once_make_one(unprovisioned: Any, ports: EnvironmentPorts, s3: tuple[str, str, str]) -> None:
    """Two workers that both believe the job is theirs take turns step by step; one key pair, one entry in the audit."""
    await asyncio.gather(provision(unprovisioned.job, ports), provision(unprovisioned.job, ports))
    await check_ready(ports, s3[0], unprovisioned.id)


async def test_a_failed_step_says_why_and_is_tried_again(
    unprovisioned: Any, ports: EnvironmentPorts, s3: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is `failed` with a sentence; those before it stay done; the next run goes on from there."""

    async def fails(*_: Any) -> None:
        raise unavailable("The object store")

    monkeypatch.setitem(module.STEPS, "bucket", fails)
    with pytest.raises(Exception, match="unavailable"):
        await provision(unprovisioned.job, ports)
    async with ports.database.unit() as connection:
        steps = {step.name: step for step in await environments.read_steps(connection, unprovisioned.id)}
    assert steps["bucket"].state is StepState.FAILED
    assert "object store cannot be reached" in (steps["bucket"].error or "")
    assert steps["signing_key"].state is StepState.DONE
    assert steps["s3_key"].state is StepState.PENDING
    monkeypatch.undo()
    await provision(unprovisioned.job, ports)
    await check_ready(ports, s3[0], unprovisioned.id)


async def test_given_up_the_environment_is_failed_with_the_reason(unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """And a later run still brings it up."""
    await give_up(unprovisioned.job, "the disk is full", ports)
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, unprovisioned.id)
    assert environment is not None
    assert (environment.status, environment.status_reason) == (Status.FAILED, "the disk is full")
    await provision(unprovisioned.job, ports)
    assert (await state_of(ports, unprovisioned.id))[0] is Status.READY


async def test_an_environment_that_is_being_deleted_is_left_alone(unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """Not one step is begun."""
    async with ports.database.unit() as connection:
        await connection.execute("update control.environment set status = 'deleting' where id = $1", unprovisioned.id)
    await provision(unprovisioned.job, ports)
    status, steps = await state_of(ports, unprovisioned.id)
    assert (status, set(steps.values())) == (Status.DELETING, {StepState.PENDING})


@pytest.mark.parametrize("step", ["schema", "s3_key"])
async def test_killed_with_minus_9_it_ends_in_the_same_place(
    step: str, unprovisioned: Any, ports: EnvironmentPorts, platform: Any, s3: tuple[str, str, str]
) -> None:
    """A real process, inside a step with its transaction open; the next run needs no clean-up by hand."""
    await kill_within(step, unprovisioned.job, platform, s3)
    assert (await state_of(ports, unprovisioned.id))[1][step] is StepState.RUNNING
    await provision(unprovisioned.job, ports)
    await check_ready(ports, s3[0], unprovisioned.id)


async def test_a_bucket_is_named_after_its_environment(unprovisioned: Any) -> None:
    """`wp-` and 32 hex digits: within S3's 63 characters, and no environment's name is in it."""
    assert bucket_name(unprovisioned.id) == f"wp-{unprovisioned.id.hex}"
