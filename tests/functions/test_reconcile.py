"""The reconciler: what a crash left is found, finished or removed, and said; what is right is left alone."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
import typer
from typer.testing import CliRunner

from functions.environment import reconcile as module
from functions.environment.delete import delete
from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import provision
from functions.environment.reconcile import Fault, Finding, Kind, reconcile, tick
from infra.local.admin import reconcile as command
from storage.objects.store import ObjectStore
from storage.postgres.environment import login
from storage.postgres.environment import provision as schema
from tests.functions.life_ground import begin, fill, remains

Make = Callable[[], Awaitable[Any]]


def of(findings: list[Finding], environment_id: UUID) -> dict[Kind, Finding]:
    """What was found of one environment; other tests' environments are none of our business."""
    return {found.kind: found for found in findings if found.environment_id == environment_id}


async def plant(ports: EnvironmentPorts, environment_id: UUID) -> None:
    """A role, a schema, a bucket with an object, and a user."""
    async with ports.provisioner.unit() as connection:
        await schema.make_role(connection, environment_id, "x")
        await schema.make_schema(connection, environment_id)
    await ports.objects.make_bucket(environment_id)
    await ports.objects.make_key(environment_id)


@pytest.fixture
async def ready(make_unprovisioned: Make, ports: EnvironmentPorts) -> UUID:
    made = await make_unprovisioned()
    await provision(made.job, ports)
    async with ports.database.unit() as connection:
        # Its job has ended, as far as anybody can tell.
        await connection.execute("update control.platform_job set state = 'completed' where id = $1", made.job.id)
    return UUID(str(made.id))


async def test_what_is_as_it_should_be_is_left_alone(ready: UUID, ports: EnvironmentPorts) -> None:
    """Ready, suspended, being deleted, gone: nothing is found of any of them."""
    assert of(await reconcile(ports, fix=True), ready) == {}
    job = await begin(ports, ready)
    assert of(await reconcile(ports, fix=True), ready) == {}
    await delete(job, ports)
    assert of(await reconcile(ports, fix=True), ready) == {}


async def test_what_its_deletion_removed_meanwhile_is_no_finding(
    ready: UUID, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen before the deletion, gone after it: nothing was orphaned, and nobody is told so."""
    seen = await module._look(ports, module.ALL_DAYS)
    assert ready in seen.roles
    assert ready in seen.buckets
    await delete(await begin(ports, ready), ports)

    async def seen_before(*_: Any) -> Any:
        return seen

    monkeypatch.setattr(module, "_look", seen_before)
    assert of(await reconcile(ports, fix=True), ready) == {}


async def test_remains_of_an_environment_that_is_gone_are_removed(ready: UUID, ports: EnvironmentPorts) -> None:
    """Role, schema, bucket, user and rows; found without `fix`, removed with it, logged and in the audit."""
    await delete(await begin(ports, ready), ports)
    await plant(ports, ready)
    await fill(ports, ready)
    wanted = {Kind.ROLE, Kind.SCHEMA, Kind.BUCKET, Kind.S3_USER, Kind.ROWS}
    seen = of(await reconcile(ports, fix=False), ready)
    assert {kind: (found.fault, found.done) for kind, found in seen.items()} == dict.fromkeys(
        wanted, (Fault.ORPHANED, "")
    )
    assert set(await remains(ports, ready)) == {"role", "schema", "bucket", "user", "rows"}
    done = of(await reconcile(ports, fix=True), ready)
    assert {kind: (found.done, found.error) for kind, found in done.items()} == dict.fromkeys(wanted, ("removed", ""))
    assert await remains(ports, ready) == {}
    async with ports.database.unit() as connection:
        told = await connection.fetch(
            "select details ->> 'kind' as kind from control.audit"
            " where environment_id = $1 and action = 'environment.reconcile'",
            ready,
        )
    assert {row["kind"] for row in told} == wanted


async def test_what_no_environment_ever_had_is_only_reported(ports: EnvironmentPorts) -> None:
    """It may be another platform's; `unknown` removes it."""
    stranger = uuid4()
    await plant(ports, stranger)
    seen = of(await reconcile(ports, fix=True), stranger)
    assert {found.fault for found in seen.values()} == {Fault.UNKNOWN}
    assert {found.done for found in seen.values()} == {""}
    async with ports.provisioner.unit() as connection:
        assert stranger in await login.environment_roles(connection)
    done = of(await reconcile(ports, fix=True, unknown=True), stranger)
    assert {found.done for found in done.values()} == {"removed"}
    assert await remains(ports, stranger) == {}


async def test_a_live_environment_gets_back_what_it_lacks(
    ready: UUID, ports: EnvironmentPorts, s3: tuple[str, str, str]
) -> None:
    """Role, schema, bucket and S3 user are made again, with the password it had and a new S3 key that works."""
    async with ports.provisioner.unit() as connection:
        await login.drop_schema(connection, ready)
        await login.drop_role(connection, ready)
    await ports.objects.delete_bucket(ready)
    await ports.objects.delete_user(ready)
    done = of(await reconcile(ports, fix=True), ready)
    assert {kind: (found.fault, found.done, found.error) for kind, found in done.items()} == dict.fromkeys(
        (Kind.ROLE, Kind.BUCKET, Kind.S3_USER), (Fault.MISSING, "restored", "")
    )  # the schema came with the role
    assert of(await reconcile(ports, fix=True), ready) == {}
    async with ports.database.as_environment(ready) as connection:
        assert await connection.fetchval("select tenant_id from tenant") == str(ready)
    store = ObjectStore(s3[0], ports.keys)
    await store.put(ready, "check", b"1")
    assert await store.get(ready, "check") == b"1"


async def test_a_login_that_is_not_as_the_status_says_is_put_right(ready: UUID, ports: EnvironmentPorts) -> None:
    """A suspend or resume whose job was used up."""
    for open_, status in ((False, "ready"), (True, "suspended")):
        async with ports.provisioner.unit() as connection:
            await login.set_login(connection, ready, open_=open_)
        async with ports.database.unit() as connection:
            await connection.execute("update control.environment set status = $2 where id = $1", ready, status)
        found = of(await reconcile(ports, fix=True), ready)
        assert {kind: one.done for kind, one in found.items()} == {Kind.LOGIN: "restored"}
        async with ports.provisioner.unit() as connection:
            assert (await login.environment_roles(connection))[ready] is not open_


@pytest.mark.parametrize("status", ["provisioning", "deleting"])
async def test_an_environment_without_its_job_gets_one(
    status: str, ready: UUID, make_unprovisioned: Make, ports: EnvironmentPorts
) -> None:
    """And the platform's own worker then does it."""
    if status == "provisioning":
        made = await make_unprovisioned()
        one, job = made.id, made.job
    else:
        one, job = ready, await begin(ports, ready)
    async with ports.database.unit() as connection:
        await connection.execute("update control.platform_job set state = 'dead_letter' where id = $1", job.id)
    found = of(await reconcile(ports, fix=True), one)
    assert {kind: (each.name, each.done) for kind, each in found.items()} == {
        Kind.JOB: (f"environment.{'provision' if status == 'provisioning' else 'delete'}", "queued")
    }
    assert of(await reconcile(ports, fix=True), one) == {}


async def test_one_thing_that_cannot_be_put_right_does_not_keep_the_others(
    ready: UUID, ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its finding says why; everything else is removed."""
    await delete(await begin(ports, ready), ports)
    await plant(ports, ready)

    async def fails(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(module.login, "drop_role", fails)
    done = of(await reconcile(ports, fix=True), ready)
    assert "the disk is full" in done[Kind.ROLE].error
    assert {kind for kind, found in done.items() if found.done} == {Kind.SCHEMA, Kind.BUCKET, Kind.S3_USER}
    monkeypatch.undo()
    await reconcile(ports, fix=True)
    assert await remains(ports, ready) == {}


async def test_workers_take_turns(ports: EnvironmentPorts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two ticks within the time one looks."""
    looks: list[float] = []

    async def look(*_: Any, **given: Any) -> list[Finding]:
        looks.append(given["days"])
        return []

    monkeypatch.setattr(module, "reconcile", look)
    async with ports.database.unit() as connection:
        await connection.execute("update control.reconciliation set at = now() - interval '2 hours'")
    await tick(ports, 3_600)
    await tick(ports, 3_600)
    assert looks == [module.RECENT_DAYS]


async def test_the_command_shows_and_fixes(ready: UUID, platform: Any, ports: EnvironmentPorts) -> None:
    """`waypost admin reconcile`: JSON of the findings, exit code 1 while something is left as it is."""
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    await delete(await begin(ports, ready), ports)
    await plant(ports, ready)

    async def run(*arguments: str) -> tuple[int, dict[str, str]]:
        given = ["reconcile", "--data-dir", str(platform.data_dir), *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, app, given)
        found = [each for each in json.loads(result.stdout) if each["environment_id"] == str(ready)]
        return result.exit_code, {each["kind"]: each["done"] for each in found}

    kinds = ("role", "schema", "bucket", "s3_user")
    assert await run() == (1, dict.fromkeys(kinds, ""))
    assert (await run("--fix"))[1] == dict.fromkeys(kinds, "removed")
    assert (await run())[1] == {}
    assert await remains(ports, ready) == {}
