"""`environment.delete`: from `deleting` to a tombstone, with nothing left of the environment (decision 21).

Jobs that wait are canceled, nodes are told to leave, jobs that run have a grace and are then fenced; after that keys,
schema, role, bucket, S3 user and rows go, and the last step says in the audit what went. It works from every state,
also half way through provisioning. Refuses: an environment that nobody asked to delete.
"""

import asyncio
from collections.abc import Iterable
from uuid import UUID

from functions.environment.phase import EnvironmentPorts, PhasePlan, Step, run_phase, tell_changed
from jobs.platform import Later
from jobs.wake import ACCESS_CHANNEL, KeyChanged, encode, states
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.environment import login, removal
from storage.postgres.environment.rows import ALL, BITE, SECRETS, delete_rows
from storage.postgres.ledger import closing
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy import environment as environments
from storage.postgres.usage.roll_up import BusyError, close_environment
from waypost import ids
from waypost.audit.model import AuditEntry
from waypost.job.model import JobState
from waypost.tenancy.model import DELETE_STEPS, Environment, Phase, Status

MOMENT_SECONDS = 0.02
LOOK_SECONDS = 1.0  # between two looks at what still runs

# Tables whose rows are a figure of their own in the audit.
_COUNTED = {"job": "jobs", "route": "routes", "api_key": "keys", "node_credential": "node_credentials"}

_CLOSE_NODES = """
with closed as (
    update control.node_credential set deleted_at = now() where environment_id = $1 and deleted_at is null
)
update control.environment_removal set nodes = greatest(
    nodes, (select count(*) from control.node where environment_id = $1 and disconnected_at is null)
) where environment_id = $1
"""
_KEYS = "select public_id from control.api_key where environment_id = $1"
_GRACE_LEFT = """
select extract(epoch from requested_at - now())::float8 + $2::float8 from control.environment_removal
where environment_id = $1
"""


async def delete(job: PlatformJob, ports: EnvironmentPorts) -> None:
    """Do what is left of deleting `job.subject`. Raises `Later` while jobs run, and whatever a step raises."""
    await run_phase(PLAN, job.subject, ports)


async def give_up(job: PlatformJob, error: str, ports: EnvironmentPorts) -> None:
    """The attempts are used up: the reason is shown, and the next reconciliation begins again where this ended."""
    async with ports.database.unit() as connection:
        await environments.change_status(
            connection, job.subject, Status.DELETING, among=(Status.DELETING,), reason=error
        )
    tell_changed(ports, job.subject)


# --- work in progress -------------------------------------------------------------------------------------------------


async def _jobs(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> bool:
    """One batch of what waits; again until nothing does."""
    async with ports.database.unit() as own:
        canceled = await closing.cancel_all_waiting(own, environment.id)
        await removal.count_removed(own, environment.id, canceled=len(canceled))
        waits = not canceled and await closing.anything_waits(own, environment.id)
    if waits:  # in the hands of a claim or a sweep, for a moment
        await asyncio.sleep(MOMENT_SECONDS)
    _tell_canceled(ports, environment.id, canceled)
    return bool(canceled) or waits


async def _nodes(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    """No credential gets a token from now on, and relays end the streams: idle ones at once, busy ones when idle."""
    async with ports.database.unit() as own:
        await own.execute(_CLOSE_NODES, environment.id)
    tell_changed(ports, environment.id)


async def _running(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    """Wait for what runs until the grace is over, then fence it. What comes back to be tried again is canceled."""
    while await _jobs(environment, connection, ports):
        pass
    async with ports.database.unit() as own:
        running = await closing.running_jobs(own, environment.id)
        left = await own.fetchval(_GRACE_LEFT, environment.id, ports.grace_seconds) or 0.0
    if running and left > 0:
        raise Later(min(left, LOOK_SECONDS))
    fenced = await closing.fence(ports.database, running)
    async with ports.database.unit() as own:
        await removal.count_removed(own, environment.id, fenced=fenced)
        if await closing.running_jobs(own, environment.id) or await closing.anything_waits(own, environment.id):
            raise Later(0.0)
    _tell_canceled(ports, environment.id, [(job.job_id, job.number) for job in running])


def _tell_canceled(ports: EnvironmentPorts, environment_id: UUID, jobs: Iterable[tuple[UUID, int]]) -> None:
    for channel, payload in states((environment_id, job, JobState.CANCELED, number) for job, number in jobs):
        ports.valkey.publish(channel, payload)


async def _usage(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    """What it used until now is in the sums, which stay; nothing of it is counted after this."""
    try:
        async with ports.database.unit() as own:
            await close_environment(own, environment.id)
    except BusyError:
        raise Later(LOOK_SECONDS) from None


# --- what it consists of ----------------------------------------------------------------------------------------------


async def _keys(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    """With the data key the sealed bodies are noise, in every backup too."""
    async with ports.database.unit() as own:
        public_ids = [row["public_id"] for row in await own.fetch(_KEYS, environment.id)]
    await _delete(environment.id, SECRETS, ports)
    ports.keys.forget(environment.id)
    for public_id in public_ids:
        ports.valkey.publish(ACCESS_CHANNEL, encode(KeyChanged(public_id)))


async def _schema(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await login.drop_schema(connection, environment.id)


async def _role(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await login.drop_role(connection, environment.id)


async def _bucket(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> bool:
    """A thousand objects; again until the bucket is empty and gone."""
    emptied = await ports.objects.empty_bucket(environment.id)
    if emptied.objects:
        async with ports.database.unit() as own:
            await removal.count_removed(own, environment.id, objects=emptied.objects, bytes=emptied.bytes)
    return emptied.more or not await ports.objects.delete_bucket(environment.id)


async def _s3_user(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> None:
    await ports.objects.delete_user(environment.id)


async def _ledger(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> bool:
    """One bite of every table; again until none is full."""
    return await _delete(environment.id, ALL, ports)


async def _delete(environment_id: UUID, tables: Iterable[str], ports: EnvironmentPorts) -> bool:
    """One bite of each table, in one transaction; True when one of them was full. Routes stay until none is: other rows
    are found by them."""
    counts: dict[str, int] = {}
    async with ports.database.unit() as own:
        for table in tables:
            if table == "route" and max(counts.values(), default=0) >= BITE:
                break
            if count := await delete_rows(own, environment_id, table):
                counts[table] = count
        if counts:
            figures = {figure: counts[table] for table, figure in _COUNTED.items() if table in counts}
            await removal.count_removed(own, environment_id, rows=sum(counts.values()), **figures)
    return max(counts.values(), default=0) >= BITE


async def _gone(environment: Environment, connection: Connection, ports: EnvironmentPorts) -> bool | None:
    """The tombstone and its audit entry, in one transaction, after a last look at what came in meanwhile."""
    if await _delete(environment.id, ALL, ports):
        return True
    async with ports.database.unit() as own:
        if await environments.bury(own, environment.id):
            kept = await removal.read_removal(own, environment.id)
            await insert_audit(own, _entry(environment, kept))
            await removal.delete_removal(own, environment.id)
    tell_changed(ports, environment.id)
    return None


def _entry(environment: Environment, kept: removal.Removal | None) -> AuditEntry:
    counts = {name: str(count) for name, count in kept.counts.items()} if kept else {}
    return AuditEntry(
        id=ids.new_id(),
        organization_id=environment.organization_id,
        project_id=environment.project_id,
        environment_id=environment.id,
        actor=kept.requested_by if kept else "system",
        actor_kind=kept.actor_kind if kept else "system",
        action=Phase.DELETE.kind,
        target=f"environment:{environment.id}",
        request_id=kept.request_id if kept else None,
        source_address=kept.source_address if kept else None,
        details={"stage": "completed", "slug": environment.slug, **counts},
    )


STEPS: dict[str, Step] = {
    "jobs": _jobs,
    "nodes": _nodes,
    "running": _running,
    "usage": _usage,
    "keys": _keys,
    "schema": _schema,
    "role": _role,
    "bucket": _bucket,
    "s3_user": _s3_user,
    "ledger": _ledger,
    "gone": _gone,
}
if tuple(STEPS) != DELETE_STEPS:
    raise RuntimeError("the steps that exist are not those that environments are deleted with")
PLAN = PhasePlan(Phase.DELETE, (Status.DELETING,), STEPS)
