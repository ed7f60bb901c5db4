"""Comparing what there is with what there should be, and finishing or removing what a crash left (decisions 14, 21).

Every worker's timer asks for it, rows decide whose turn it is; `waypost admin reconcile` does it at once. Each finding
is looked at again under the environment's lock before anything is done; what was done is in the audit. Refuses: to
remove what belongs to no environment that this platform ever had (another platform may share the servers): that is only
reported, unless the operator says otherwise.
"""

from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from uuid import UUID

import msgspec

from functions.environment import provision
from functions.environment.phase import EnvironmentPorts, tell_changed
from jobs.platform import describe, nudge
from storage.objects.store import bucket_name
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection, role_name
from storage.postgres.environment import login
from storage.postgres.environment import provision as schema
from storage.postgres.environment.rows import ALL, BITE, delete_rows, leftovers
from storage.postgres.environment.standing import Standing, read_standings, take_turn
from storage.postgres.platform.job import insert_platform_job
from storage.postgres.tenancy import environment as environments
from storage.secrets import S3_CREDENTIALS
from waypost import ids
from waypost.audit.model import AuditEntry, Outcome
from waypost.telemetry.log import get_logger
from waypost.tenancy.model import Environment, Phase, Status

EVERY_SECONDS = 300.0
RECENT_DAYS = 1.0  # of the timer: what a crash left is found at once, and a year of tombstones is not asked about
ALL_DAYS = 36_500.0

_log = get_logger("functions.reconcile")


class Kind(StrEnum):
    """What a finding is about."""

    ROLE = "role"
    SCHEMA = "schema"
    BUCKET = "bucket"
    S3_USER = "s3_user"
    ROWS = "rows"
    LOGIN = "login"
    JOB = "job"


class Fault(StrEnum):
    """What is wrong: something of an environment that is gone, of one that never was here, or not there."""

    ORPHANED = "orphaned"
    UNKNOWN = "unknown"
    MISSING = "missing"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be, and what became of it: `done` says what was done about it, if anything."""

    environment_id: UUID
    kind: Kind
    fault: Fault
    name: str
    done: str = ""
    error: str = ""

    def texts(self) -> dict[str, str]:
        """For a log or a table."""
        return {name: str(value) for name, value in msgspec.structs.asdict(self).items()}


class _Seen(msgspec.Struct, frozen=True):
    """What the servers hold, by environment."""

    roles: dict[UUID, bool]  # and whether it may log in
    schemas: set[UUID]
    buckets: set[UUID]
    users: set[UUID]
    rows: set[UUID]  # of environments that are gone


async def reconcile(
    ports: EnvironmentPorts, *, fix: bool, unknown: bool = False, days: float = ALL_DAYS
) -> list[Finding]:
    """Find, and with `fix` put right, everything that is not as the records say; `unknown` also removes what belongs to
    no environment that this platform ever had. Whatever cannot be put right is a finding with its error.

    Rows are looked for of environments that went in the last `days`.
    """
    seen = await _look(ports, days)  # before the records: what is made after them is never taken for an orphan
    async with ports.database.unit() as connection:
        standings = await read_standings(connection)
    findings = []
    for found in _compare(seen, standings):
        mended = await _mend(found, standings.get(found.environment_id), ports, unknown=unknown) if fix else found
        if mended is not None:
            findings.append(mended)
    return findings


async def tick(ports: EnvironmentPorts, seconds: float = EVERY_SECONDS) -> None:
    """Reconcile if nobody did in that time, and log what was found. What keeps it from looking is logged, too: the next
    turn looks again."""
    async with ports.database.unit() as connection:
        mine = await take_turn(connection, seconds)
    if not mine:
        return
    try:
        for found in await reconcile(ports, fix=True, days=RECENT_DAYS):
            _log.warning("reconcile.found", **found.texts())
    except Exception as error:  # noqa: BLE001 - whatever a server answers, a worker goes on
        _log.warning("reconcile.failed", error=describe(error))


# --- finding ----------------------------------------------------------------------------------------------------------


async def _look(ports: EnvironmentPorts, days: float) -> _Seen:
    async with ports.provisioner.unit() as connection:
        roles = await login.environment_roles(connection)
        schemas = await login.environment_schemas(connection)
    async with ports.database.unit() as connection:
        rows = await leftovers(connection, days)
    return _Seen(
        roles,
        schemas,
        await ports.objects.environments_with_buckets(),
        await ports.objects.environments_with_users(),
        rows,
    )


def _compare(seen: _Seen, standings: dict[UUID, Standing]) -> Iterable[Finding]:
    """In the order in which they are put right."""
    things: tuple[tuple[Kind, Iterable[UUID], Callable[[UUID], str]], ...] = (
        (Kind.SCHEMA, seen.schemas, role_name),
        (Kind.ROLE, seen.roles, role_name),
        (Kind.BUCKET, seen.buckets, bucket_name),
        (Kind.S3_USER, seen.users, bucket_name),
        (Kind.ROWS, seen.rows, str),
    )
    for kind, there, name in things:
        for environment_id in sorted(there):
            standing = standings.get(environment_id)
            if standing is None:
                yield Finding(environment_id, kind, Fault.UNKNOWN, name(environment_id))
            elif standing.status is Status.DELETED:
                yield Finding(environment_id, kind, Fault.ORPHANED, name(environment_id))
    for standing in standings.values():
        yield from _missing(standing, seen)


def _missing(standing: Standing, seen: _Seen) -> Iterable[Finding]:
    one = standing.id
    if standing.status in (Status.PROVISIONING, Status.DELETING):
        wanted = Phase.PROVISION if standing.status is Status.PROVISIONING else Phase.DELETE
        if wanted.kind not in standing.jobs:
            yield Finding(one, Kind.JOB, Fault.MISSING, wanted.kind)
        return
    if standing.status not in (Status.READY, Status.SUSPENDED) or standing.jobs:
        return  # what is failed waits for its deletion; what has a job is being worked on
    if one not in seen.roles:
        yield Finding(one, Kind.ROLE, Fault.MISSING, role_name(one))
    elif seen.roles[one] != (standing.status is Status.READY):
        yield Finding(one, Kind.LOGIN, Fault.WRONG, role_name(one))
    if one not in seen.schemas:
        yield Finding(one, Kind.SCHEMA, Fault.MISSING, role_name(one))
    if one not in seen.buckets:
        yield Finding(one, Kind.BUCKET, Fault.MISSING, bucket_name(one))
    if one not in seen.users or S3_CREDENTIALS not in standing.secrets:
        yield Finding(one, Kind.S3_USER, Fault.MISSING, bucket_name(one))


# --- putting right ----------------------------------------------------------------------------------------------------

_Repair = Callable[[Environment, Connection, EnvironmentPorts], Awaitable[bool | None]]


async def _mend(found: Finding, standing: Standing | None, ports: EnvironmentPorts, *, unknown: bool) -> Finding | None:
    """The finding with what was done about it; None when it has gone by itself."""
    if found.fault is Fault.UNKNOWN and not unknown:
        return found
    try:
        if found.fault in (Fault.UNKNOWN, Fault.ORPHANED):
            done = await _remove(found, ports)
        elif found.kind is Kind.JOB:
            done = await _queue(found, ports)
        else:
            done = await _restore(found, ports)
    except Exception as error:  # noqa: BLE001 - one thing that cannot be put right must not keep the others
        mended = msgspec.structs.replace(found, error=describe(error))
    else:
        if not done:
            return None
        mended = msgspec.structs.replace(found, done=done)
    if standing is not None:
        async with ports.database.unit() as connection:
            await insert_audit(connection, _entry(mended, standing))
    return mended


async def _remove(found: Finding, ports: EnvironmentPorts) -> str:
    """What is left of an environment that is gone, or was never here."""
    one = found.environment_id
    while True:
        async with ports.provisioner.unit() as connection:
            await schema.lock(connection, one)
            if await environments.read_standing(connection, one) is not None:
                return ""
            if not await _has(found.kind, one, connection, ports):
                return ""  # its deletion was about to remove it when we looked
            if not await _remove_some(found, connection, ports):
                return "removed"


async def _remove_some(found: Finding, connection: Connection, ports: EnvironmentPorts) -> bool:
    """True when there is more of it."""
    one = found.environment_id
    match found.kind:
        case Kind.SCHEMA:
            await login.drop_schema(connection, one)
        case Kind.ROLE:
            await login.drop_role(connection, one)
        case Kind.BUCKET:
            emptied = await ports.objects.empty_bucket(one)
            return emptied.more or not await ports.objects.delete_bucket(one)
        case Kind.S3_USER:
            await ports.objects.delete_user(one)
        case _:
            return await _remove_rows(one, ports)
    return False


async def _remove_rows(environment_id: UUID, ports: EnvironmentPorts) -> bool:
    full = False
    for table in ALL:
        async with ports.database.unit() as own:
            full |= await delete_rows(own, environment_id, table, thorough=True) >= BITE
    return full


async def _queue(found: Finding, ports: EnvironmentPorts) -> str:
    """The job that an environment in this state should have."""
    wanted = Status.PROVISIONING if found.name == Phase.PROVISION.kind else Status.DELETING
    async with ports.database.unit() as connection:
        standing = await environments.read_standing(connection, found.environment_id)
        if standing is None or standing[0] is not wanted:
            return ""
        await insert_platform_job(connection, ids.new_id(), found.name, found.environment_id, found.environment_id)
    nudge(ports.valkey)
    return "queued"


async def _restore(found: Finding, ports: EnvironmentPorts) -> str:
    """What a live environment lacks, by the step that makes it; a login is opened or closed as the status says."""
    one = found.environment_id
    async with ports.provisioner.unit() as connection:
        await schema.lock(connection, one)
        async with ports.database.unit() as own:
            environment = await environments.read_environment(own, one)
        if environment is None or environment.status not in (Status.READY, Status.SUSPENDED):
            return ""
        if not await _still(found, environment, connection, ports):
            return ""
        if found.kind is Kind.S3_USER:
            fresh = await ports.objects.make_key(one)
            await ports.keys.set_secret(one, S3_CREDENTIALS, msgspec.json.encode(fresh))
        for name in _RESTORING.get(found.kind, ()):
            await provision.STEPS[name](environment, connection, ports)
        if found.kind in (Kind.ROLE, Kind.LOGIN):
            await login.set_login(connection, one, open_=environment.status is Status.READY)
    tell_changed(ports, one)
    return "restored"


async def _still(found: Finding, environment: Environment, connection: Connection, ports: EnvironmentPorts) -> bool:
    """Whether it is so now, under the lock: it may have been made between the look and the records."""
    one = environment.id
    if found.kind is Kind.LOGIN:
        roles = await login.environment_roles(connection)
        return roles.get(one) is (environment.status is not Status.READY)
    if found.kind is Kind.S3_USER and await ports.keys.get_secret(one, S3_CREDENTIALS) is None:
        return True
    return not await _has(found.kind, one, connection, ports)


async def _has(kind: Kind, one: UUID, connection: Connection, ports: EnvironmentPorts) -> bool:
    """Whether the servers hold something of this environment now."""
    match kind:
        case Kind.ROLE:
            return one in await login.environment_roles(connection)
        case Kind.SCHEMA:
            return one in await login.environment_schemas(connection)
        case Kind.BUCKET:
            return one in await ports.objects.environments_with_buckets()
        case Kind.S3_USER:
            return one in await ports.objects.environments_with_users()
        case _:
            return True  # rows are counted where they are deleted


_RESTORING: dict[Kind, tuple[str, ...]] = {
    Kind.ROLE: ("role", "row_security", "schema"),  # the schema's grants went with the role
    Kind.SCHEMA: ("schema",),
    Kind.BUCKET: ("bucket",),
}


def _entry(mended: Finding, standing: Standing) -> AuditEntry:
    details = {"kind": mended.kind.value, "fault": mended.fault.value, "name": mended.name, "done": mended.done}
    return AuditEntry(
        id=ids.new_id(),
        organization_id=standing.organization_id,
        project_id=standing.project_id,
        environment_id=standing.id,
        actor="system",
        action="environment.reconcile",
        target=f"environment:{standing.id}",
        outcome=Outcome.FAILED.value if mended.error else Outcome.DONE.value,
        details=details | ({"error": mended.error} if mended.error else {}),
    )
