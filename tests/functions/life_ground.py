"""Environments in the middle of their lives: beginning what only the test carries out, and looking for remains."""

import asyncio
import os
import signal
import sys
from typing import Any
from uuid import UUID

from functions.environment import delete as deleting
from functions.environment.phase import EnvironmentPorts
from infra.local.folder import DataFolder
from jobs.platform import Later
from storage.postgres.environment import login
from storage.postgres.environment.rows import count_rows
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy import environment as environments
from storage.postgres.tenancy.unit import PostgresTenancy
from waypost.tenancy import life
from waypost.tenancy.model import Phase, Status


class Killed(BaseException):
    """Like a kill: nothing that catches errors sees it."""


async def begin(ports: EnvironmentPorts, environment_id: UUID, change: Any = life.delete_environment) -> PlatformJob:
    """What the request does; the platform's own worker leaves the job alone."""
    async with ports.database.unit() as connection:
        environment = await environments.read_environment(connection, environment_id)
        assert environment is not None
        job_id = await change(PostgresTenancy(connection), environment, actor="person:test", request_id="r-1")
        await connection.execute(
            "update control.platform_job set run_at = now() + interval '1 day' where id = $1", job_id
        )
        kind = await connection.fetchval("select kind from control.platform_job where id = $1", job_id)
    subject = environment_id if kind == Phase.DELETE.kind else job_id
    return PlatformJob(job_id, kind, environment_id, subject, "running", 1, 5, None)


async def delete(job: PlatformJob, ports: EnvironmentPorts) -> None:
    """As a worker does it: what is told to come later, because somebody adds up usage, comes later."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await deleting.delete(job, ports)
            except Later as later:
                await asyncio.sleep(later.seconds)


async def remains(ports: EnvironmentPorts, environment_id: UUID) -> dict[str, Any]:
    """What is left of an environment, beyond its tombstone; empty when nothing is."""
    async with ports.provisioner.unit() as connection:
        found: dict[str, Any] = {
            "role": environment_id in await login.environment_roles(connection),
            "schema": environment_id in await login.environment_schemas(connection),
        }
    found["bucket"] = environment_id in await ports.objects.environments_with_buckets()
    found["user"] = environment_id in await ports.objects.environments_with_users()
    async with ports.database.unit() as connection:
        found["rows"] = await count_rows(connection, environment_id)
        for table in ("environment_step", "environment_removal"):
            found[table] = await connection.fetchval(
                f"select count(*) from control.{table} where environment_id = $1",  # noqa: S608 - names that we made
                environment_id,
            )
        found["record"] = await connection.fetchval(
            "select status from control.environment where id = $1 and (status <> $2 or deleted_at is null)",
            *(environment_id, Status.DELETED.value),
        )
    return {name: what for name, what in found.items() if what}


async def kill_within(step: str, job: PlatformJob, platform: Any, s3: tuple[str, str, str]) -> None:
    """Run the phase in a process of its own and kill it with -9 inside that step, with the step's transaction open."""
    told = {
        "ENVIRONMENT": str(job.environment_id),
        "KIND": job.kind,
        "STEP": step,
        "WORKER": platform.database_url("waypost_worker"),
        "PROVISIONER": platform.database_url("waypost_provisioner"),
        "VALKEY": platform.valkey_url("worker"),
        "KEK": str(DataFolder(platform.data_dir).kek_file),
        "S3": s3[0],
        "S3_KEY": s3[1],
        "S3_SECRET": s3[2],
    }
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", _VICTIM, env=os.environ | told, stdout=asyncio.subprocess.PIPE
    )
    assert victim.stdout is not None
    async with asyncio.timeout(60):
        assert (await victim.stdout.readline()).strip() == b"reached"
    victim.send_signal(signal.SIGKILL)
    await victim.wait()


_VICTIM = """
import asyncio, os
from importlib import import_module
from pathlib import Path
from uuid import UUID
from functions.environment.phase import EnvironmentPorts
from storage.objects.admin import ObjectAdmin
from storage.postgres.database import Database
from storage.postgres.platform.job import PlatformJob
from storage.secrets import EnvironmentKeys
from storage.valkey.client import Valkey
from waypost.secret import open_ring

async def main():
    environment, kind, step = UUID(os.environ["ENVIRONMENT"]), os.environ["KIND"], os.environ["STEP"]
    name = kind.rpartition(".")[2]
    module = import_module("functions.environment." + name)
    real = module.STEPS[step]
    async def wait_for_death(*arguments):
        await real(*arguments)
        print("reached", flush=True)
        await asyncio.sleep(60)
    module.STEPS[step] = wait_for_death
    database = await Database.open(os.environ["WORKER"], name="victim")
    keys = EnvironmentKeys(database, open_ring(Path(os.environ["KEK"]), None))
    provisioner = await Database.open(os.environ["PROVISIONER"], name="victim")
    admin = ObjectAdmin(os.environ["S3"], os.environ["S3_KEY"], os.environ["S3_SECRET"])
    ports = EnvironmentPorts(database, provisioner, keys, admin, await Valkey.open(os.environ["VALKEY"]))
    job = PlatformJob(environment, kind, environment, environment, "running", 1, 5, None)
    await getattr(module, name)(job, ports)

asyncio.run(main())
"""


async def fill(ports: EnvironmentPorts, environment_id: UUID) -> None:
    """A row of every kind that a used environment has."""
    async with ports.database.unit() as connection:
        await connection.execute(_ROWS.replace("ENVIRONMENT", str(environment_id)))


# Two jobs that wait in their queue, one each for its time and for its key, one that ended, and what goes with them.
_ROWS = """
do $$
declare
    own constant uuid := 'ENVIRONMENT';
    fresh constant uuid := gen_random_uuid();
    jobs constant uuid[] := array(select uuidv7() from generate_series(1, 5));
    way integer;
begin
    insert into control.route (environment_id, function, selectors) values (own, 'f', '[]') returning id into way;
    insert into control.job (id, environment_id, route, rank, submitted_by)
        select id, own, way, 4, 'x' from unnest(jobs) id;
    insert into control.job_label (environment_id, label, job_id) select own, 'a=b', id from unnest(jobs) id;
    insert into control.ready (route, rank, key, job_id, environment_id)
        values (way, 4, jobs[1], jobs[1], own), (way, 4, jobs[2], jobs[2], own);
    insert into control.due (job_id, due_at, environment_id, route, rank, key)
        values (jobs[3], now() + interval '1 day', own, way, 4, jobs[3]);
    insert into control.hold (environment_id, concurrency_key, rank, key, job_id, route)
        values (own, 'k', 4, jobs[4], jobs[4], way);
    insert into control.job_end (job_id, environment_id, route, state, number) values (jobs[5], own, way, 1, 1);
    insert into control.attempt
        (environment_id, job_id, number, attempt_id, session, node, started_at, outcome, retry_key)
        values (own, jobs[5], 1, 1, 1, fresh, now(), 1, fresh);
    insert into control.cancel_request (job_id, environment_id, requested_by) values (jobs[5], own, 'x');
    insert into control.job_log (environment_id, job_id, number, sequence, lines) values (own, jobs[5], 1, 1, 'x');
    insert into control.attempt_log (environment_id, job_id, number, lines, bytes) values (own, jobs[5], 1, 1, 1);
    insert into control.log_object (environment_id, job_id, number, first_line, lines, object_key)
        values (own, jobs[5], 1, 0, 1, 'x');
    insert into control.bulk_replay (environment_id, id, state, job_ids, matched, selection, created_by)
        values (own, fresh, 'canceled', '', 0, '{}', 'x');
    insert into control.retention_sweep (environment_id, next_at, erased_until)
        values (own, now() + interval '1 day', now()) on conflict do nothing;
    insert into control.idempotency (environment_id, scope, key, reference, request_hash, expires_at)
        values (own, 'jobs', 'k', fresh, 'x', now() + interval '1 day');
    insert into control.route_delta (environment_id, route, waiting) values (own, way, 4);
    insert into control.route_count (route, environment_id) values (way, own);
    insert into control.route_minute (route, minute, environment_id) values (way, now(), own);
    insert into control.function_pause (environment_id, function, paused_by) values (own, 'f', 'x');
    insert into control.node_credential (id, environment_id, client_id, secret_hash, name, created_by)
        values (fresh, own, fresh, 'x', 'n', 'x');
    insert into control.node (id, environment_id, session, credential_id, name, tags, functions, max_in_flight)
        values (fresh, own, 1, fresh, 'n', '{}', '[]', 1);
    insert into control.api_key
        (id, public_id, organization_id, environment_id, name, role, secret_hash, created_by)
        select fresh, fresh, organization_id, own, 'k', 'viewer', 'x', 'x' from control.environment where id = own;
    insert into control.trigger (id, environment_id, kind, name, job, settings, created_by)
        values (fresh, own, 'schedule', 't', '{}', '{}', 'x');
    insert into control.trigger_secret (trigger_id, environment_id, ordinal, sealed) values (fresh, own, 1, 'x');
    insert into control.schedule (trigger_id, environment_id, last_due_at) values (fresh, own, now());
    insert into control.firing (environment_id, trigger_id, id, at, outcome)
        values (own, fresh, fresh, now(), 'filtered');
    insert into control.usage_event (environment_id, source, id, meter, quantity, at)
        values (own, 's', 'i', 'm', 1, now());
    insert into control.artifact_blob (environment_id, id, sha256, size_bytes, refs)
        values (own, fresh, sha256('x'), 1, 1);
    insert into control.artifact
        (environment_id, id, type, name, state, object, verified, sha256, size_bytes, created_by)
        values (own, fresh, 'file', 'n', 'ingested', fresh, true, sha256('x'), 1, 'x');
    insert into control.artifact_reference (environment_id, artifact_id, kind, id) values (own, fresh, 'job', jobs[1]);
    insert into control.artifact_garbage (environment_id, object_key) values (own, 'artifacts/x');
    insert into control.artifact_audit (environment_id, next_at) values (own, now() + interval '1 day')
        on conflict do nothing;
    insert into control.environment_storage (environment_id, bytes, objects) values (own, 1, 1)
        on conflict do nothing;
    insert into control.subscription (id, environment_id, url, events, created_by)
        values (fresh, own, 'https://example.com/', '{environment.ready}', 'x');
    insert into control.subscription_secret (subscription_id, environment_id, ordinal, sealed)
        values (fresh, own, 1, 'x');
    insert into control.delivery (environment_id, subscription_id, id, event_id, event, body)
        values (own, fresh, fresh, fresh, 'job.failed', 'x');
    insert into control.delivery_queue (environment_id, subscription_id, delivery_id, due_at)
        values (own, fresh, fresh, now() + interval '1 day');
    insert into control.delivery_attempt (environment_id, subscription_id, delivery_id, number, started_at, duration_ms)
        values (own, fresh, fresh, 1, now(), 1);
end $$
"""
FILLED = {"jobs": "5", "canceled": "4", "keys": "1", "node_credentials": "1", "nodes": "1", "routes": "1"}
