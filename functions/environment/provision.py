"""`environment.provision`: from a record to an environment that takes work (native contract §2).

Eight steps, each recorded, each harmless to run again: killed anywhere and run again, it ends in the same place. One
run of an environment at a time, by a lock in the database. Refuses: an environment that is being deleted.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec

from jobs.platform import describe
from jobs.wake import ACCESS_CHANNEL, EnvironmentChanged, encode
from storage.objects.admin import ObjectAdmin
from storage.postgres.database import Connection, Database
from storage.postgres.environment import provision as schema
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy import environment as environments
from storage.postgres.tenancy import signing_key
from storage.postgres.tenancy.audit import insert_audit
from storage.secrets import DATABASE_PASSWORD, S3_CREDENTIALS, EnvironmentKeys
from storage.valkey.client import Valkey
from waypost import errors, ids
from waypost.secret.signing import ALGORITHM, generate_signing_key, place
from waypost.tenancy.model import PROVISION_STEPS, AuditEntry, Environment, Status, StepState

_PROVISIONABLE = (Status.PROVISIONING, Status.FAILED)
_PASSWORD_BYTES = 32


class ProvisionPorts(msgspec.Struct, frozen=True):
    """What provisioning works with: the worker's database and the provisioner's, keys, S3's administrator, Valkey."""

    database: Database
    provisioner: Database
    keys: EnvironmentKeys
    objects: ObjectAdmin
    valkey: Valkey


async def provision(job: PlatformJob, ports: ProvisionPorts) -> None:
    """Bring the environment `job.subject` to `ready`. An environment that is ready, or gone, is left alone.

    Raises whatever a step raises, after recording it; run it again later.
    """
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, job.subject)
        done = await _done(connection, job.subject)
    if environment is None or environment.status not in _PROVISIONABLE:
        return
    for name in PROVISION_STEPS:
        if name not in done:
            await _run(name, environment, ports)


async def give_up(job: PlatformJob, error: str, ports: ProvisionPorts) -> None:
    """The job has ended without success: the environment is `failed`, with the reason."""
    async with ports.database.unit() as connection:
        await environments.change_status(
            connection, job.subject, Status.FAILED, among=(Status.PROVISIONING,), reason=error
        )
    _tell(ports, job.subject)


async def _done(connection: Connection, environment_id: UUID) -> set[str]:
    steps = await environments.read_steps(connection, environment_id)
    return {step.name for step in steps if step.state is StepState.DONE}


async def _run(name: str, environment: Environment, ports: ProvisionPorts) -> None:
    await _mark(ports, environment.id, name, StepState.RUNNING)
    try:
        async with ports.provisioner.unit() as connection:
            await schema.lock(connection, environment.id)
            await STEPS[name](environment, connection, ports)
    except Exception as error:
        await _mark(ports, environment.id, name, StepState.FAILED, describe(error))
        raise
    await _mark(ports, environment.id, name, StepState.DONE)


async def _mark(
    ports: ProvisionPorts, environment_id: UUID, name: str, state: StepState, error: str | None = None
) -> None:
    async with ports.database.unit() as connection:
        await environments.mark_step(connection, environment_id, name, state, error)


async def _role(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    fresh = secrets.token_urlsafe(_PASSWORD_BYTES).encode()
    await ports.keys.put_secret(environment.id, DATABASE_PASSWORD, fresh)
    kept = await ports.keys.get_secret(environment.id, DATABASE_PASSWORD)
    if kept is None:
        raise errors.not_found("environment")
    await schema.make_role(connection, environment.id, kept.decode())


async def _schema(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    await schema.make_schema(connection, environment.id)


async def _row_security(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    await schema.join_group(connection, environment.id)


async def _data_key(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    """It was made with the record; here it is opened once, so that a wrong key-encryption key shows now."""
    await ports.keys.data_key(environment.id)


async def _signing_key(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    async with ports.database.unit() as own:
        if await signing_key.current_signing_key(own, environment.id) is not None:
            return
    fresh = await asyncio.to_thread(generate_signing_key)
    sealed = (await ports.keys.data_key(environment.id)).seal(place(fresh.kid), fresh.private_pem)
    kept = signing_key.KeptSigningKey(fresh.kid, environment.id, ALGORITHM, fresh.public_jwk, sealed)
    async with ports.database.unit() as own:
        await signing_key.insert_signing_key(own, kept)


async def _bucket(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    await ports.objects.make_bucket(environment.id)


async def _s3_key(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    if await ports.keys.get_secret(environment.id, S3_CREDENTIALS) is None:
        fresh = await ports.objects.make_key(environment.id)
        await ports.keys.put_secret(environment.id, S3_CREDENTIALS, msgspec.json.encode(fresh))


async def _ready(environment: Environment, connection: Connection, ports: ProvisionPorts) -> None:
    async with ports.database.unit() as own:
        moved = await environments.change_status(own, environment.id, Status.READY, among=_PROVISIONABLE)
        # In this transaction: a ready environment is not looked at again, so nobody would finish the record.
        await environments.mark_step(own, environment.id, "ready", StepState.DONE)
        if moved:
            await insert_audit(own, _entry(environment))
    _tell(ports, environment.id)


def _entry(environment: Environment) -> AuditEntry:
    return AuditEntry(
        id=ids.new_id(),
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
        actor="system",
        action="environment.provision",
        target=f"environment:{environment.id}",
    )


def _tell(ports: ProvisionPorts, environment_id: UUID) -> None:
    ports.valkey.publish(ACCESS_CHANNEL, encode(EnvironmentChanged(environment_id)))


Step = Callable[[Environment, Connection, ProvisionPorts], Awaitable[None]]

STEPS: dict[str, Step] = {
    "role": _role,
    "schema": _schema,
    "row_security": _row_security,
    "data_key": _data_key,
    "signing_key": _signing_key,
    "bucket": _bucket,
    "s3_key": _s3_key,
    "ready": _ready,
}
if tuple(STEPS) != PROVISION_STEPS:
    raise RuntimeError("the steps that exist are not those that environments are made with")
