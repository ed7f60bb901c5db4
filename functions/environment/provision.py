"""`environment.provision`: from a record to an environment that takes work (native contract §2).

Eight steps, each recorded, each harmless to run again: killed anywhere and run again, it ends in the same place.
Refuses: an environment that is being deleted.
"""

import secrets

import msgspec

from functions.environment.phase import EnvironmentPorts, PhasePlan, Step, run_phase, tell_changed
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.environment import provision as schema
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy import environment as environments
from storage.postgres.tenancy import signing_key
from storage.secrets import DATABASE_PASSWORD, S3_CREDENTIALS
from waypost import errors
from waypost.secret.signing import ALGORITHM, place
from waypost.tenancy.entry import about
from waypost.tenancy.model import PROVISION_STEPS, Environment, Phase, Status, StepState

_PROVISIONABLE = (Status.PROVISIONING, Status.FAILED)
_PASSWORD_BYTES = 32


async def provision(job: PlatformJob, ports: EnvironmentPorts) -> None:
    """Bring the environment `job.subject` to `ready`. An environment that is ready, or gone, is left alone.

    Raises whatever a step raises, after recording it; run it again later.
    """
    await run_phase(PLAN, job.subject, ports)


async def give_up(job: PlatformJob, error: str, ports: EnvironmentPorts) -> None:
    """The job has ended without success: the environment is `failed`, with the reason. Deleting it removes what was
    made."""
    async with ports.database.unit() as connection:
        await environments.change_status(
            connection, job.subject, Status.FAILED, among=(Status.PROVISIONING,), reason=error
        )
    tell_changed(ports, job.subject)


async def _role(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    fresh = secrets.token_urlsafe(_PASSWORD_BYTES).encode()
    await ports.keys.put_secret(environment.id, DATABASE_PASSWORD, fresh)
    kept = await ports.keys.get_secret(environment.id, DATABASE_PASSWORD)
    if kept is None:
        raise errors.not_found("environment")
    await schema.make_role(connection, environment.id, kept.decode())


async def _schema(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await schema.make_schema(connection, environment.id)


async def _row_security(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await schema.join_group(connection, environment.id)


async def _data_key(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    """It was made with the record; here it is opened once, so that a wrong key-encryption key shows now."""
    await ports.keys.data_key(environment.id)


async def _signing_key(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    async with ports.database.unit() as own:
        if await signing_key.current_signing_key(own, environment.id) is not None:
            return
    fresh = await ports.signing_keys.take()
    sealed = (await ports.keys.data_key(environment.id)).seal(place(fresh.kid), fresh.private_pem)
    kept = signing_key.KeptSigningKey(fresh.kid, environment.id, ALGORITHM, fresh.public_jwk, sealed)
    async with ports.database.unit() as own:
        await signing_key.insert_signing_key(own, kept)


async def _bucket(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await ports.objects.make_bucket(environment.id)


async def _s3_key(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    if await ports.keys.get_secret(environment.id, S3_CREDENTIALS) is None:
        fresh = await ports.objects.make_key(environment.id)
        await ports.keys.put_secret(environment.id, S3_CREDENTIALS, msgspec.json.encode(fresh))


async def _ready(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    async with ports.database.unit() as own:
        moved = await environments.change_status(own, environment.id, Status.READY, among=_PROVISIONABLE)
        # In this transaction: a ready environment is not looked at again, so nobody would finish the record.
        await environments.mark_step(own, environment.id, "ready", StepState.DONE)
        if moved:
            await insert_audit(own, about(environment, "environment.provision", "system"))
    tell_changed(ports, environment.id)


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
PLAN = PhasePlan(Phase.PROVISION, _PROVISIONABLE, STEPS)
