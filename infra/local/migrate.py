"""`waypost migrate`: how the schemas stand to this program, and bringing them there (decision 8).

Control first, then every environment: by a platform job each where a worker runs, else here. One environment that
cannot be migrated does not stop the others; the answer names it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from infra.local.admin.connection import Platform, open_platform
from infra.local.problem import ExitCode

_LOOK_SECONDS = 0.2
_PROVISIONER, _OWNER = "WAYPOST_PROVISIONER_DATABASE_URL", "WAYPOST_OWNER_DATABASE_URL"

Told = Callable[[str], None]


class Standing(msgspec.Struct):
    """How the schemas stand. `environments` None: nobody gave the provisioner's login to look."""

    control: dict[str, Any]
    environments: list[dict[str, Any]] | None = None

    @property
    def states(self) -> set[str]:
        return {self.control["state"], *(one["state"] for one in self.environments or ())}


def run(url: str, data_dir: Path | None, told: Told | None) -> tuple[Standing, int]:
    """What the command does: look, or with `told` migrate; the standing and the exit code. Raises as `apply`."""

    async def work() -> tuple[Standing, int]:
        async with opened(url, data_dir) as platform:
            return await (check(platform) if told is None else apply(platform, told))

    return asyncio.run(work())


def show(standing: Standing) -> None:
    """For a terminal: control, then one line an environment."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for title in ("schema", "version", "needed", "state", ""):
        table.add_column(title)
    named = [("control", standing.control)]
    named += [(f"{one['slug']} {one['id']}", one) for one in standing.environments or ()]
    for name, one in named:
        table.add_row(name, one["version"] or "none", one["needed"], one["state"], one.get("error", ""))
    Console().print(table)


@asynccontextmanager
async def opened(url: str, data_dir: Path | None) -> AsyncIterator[Platform]:
    """The running folder; the settings, where a login is given and no folder. Raises LocalError."""
    if data_dir is None and url:
        async with AsyncExitStack() as stack:
            yield Platform(os.environ | {_OWNER: url}, None, stack)
    else:
        async with open_platform(data_dir) as platform:
            yield platform


async def check(platform: Platform) -> tuple[Standing, int]:
    """The standing and the exit code: 0 when nothing is to do, 10 when something is, or is newer than this program."""
    standing = await look(platform)
    return standing, 0 if standing.states <= {"current"} else ExitCode.VERSION


async def apply(platform: Platform, told: Told) -> tuple[Standing, int]:
    """Migrate what is behind; the standing afterwards, and 0, 1 (something failed) or 10 (something is newer).

    Raises `schema_newer` and leaves everything as it is when control is newer.
    """
    from storage.postgres.migration import upgrade_control

    await asyncio.to_thread(upgrade_control, platform.url("waypost_owner"))
    if not platform.has(_PROVISIONER):
        return await check(platform)
    errors = await _migrate_environments(platform, told)
    standing = await look(platform)
    for one in standing.environments or ():
        if one["state"] == "behind":
            reason = errors.get(one["id"], "its job was run by a worker of an older version")
            one |= {"state": "failed", "error": reason}
    if "failed" in standing.states:
        return standing, ExitCode.OTHER
    return standing, 0 if standing.states <= {"current"} else ExitCode.VERSION


async def look(platform: Platform) -> Standing:
    """Read every version; raises `unavailable`."""
    from storage.postgres.environment.version import read_versions
    from storage.postgres.version import CONTROL_VERSION, ENVIRONMENT_VERSION, control_version

    async with (await platform.database("waypost_owner")).unit() as connection:
        found = await control_version(connection)
    standing = Standing({"version": found, "needed": CONTROL_VERSION, "state": _state(found, CONTROL_VERSION)})
    if platform.has(_PROVISIONER):
        standing.environments = []
        if found is not None:
            async with (await platform.database("waypost_provisioner")).unit() as connection:
                versions = [one for one in await read_versions(connection) if one.version is not None]
            standing.environments = [
                {
                    "id": one.environment_id,
                    "slug": one.slug,
                    "version": one.version,
                    "needed": ENVIRONMENT_VERSION,
                    "state": _state(one.version, ENVIRONMENT_VERSION),
                }
                for one in versions
            ]
    return standing


def _state(found: str | None, needed: str) -> str:
    if found is None or found < needed:
        return "behind"
    return "current" if found == needed else "newer"


async def _migrate_environments(platform: Platform, told: Told) -> dict[UUID, str]:
    """By the workers that run, the rest here; what could not be migrated, with the reason."""
    from storage.postgres.environment.outdated import queue_migrations

    database = await platform.database("waypost_worker")
    errors: dict[UUID, str] = {}
    if await _worker_runs(platform):
        jobs = await queue_migrations(database, await platform.database("waypost_provisioner"))
        await _nudge(platform)
        errors = await _wait(platform, jobs, told)
    return errors | await _migrate_here(platform, set(errors), told)


async def _wait(platform: Platform, jobs: dict[UUID, UUID], told: Told) -> dict[UUID, str]:
    """Until every job has ended, or no worker is left to run them."""
    from storage.postgres.platform.job import read_platform_job

    database = await platform.database("waypost_worker")
    errors: dict[UUID, str] = {}
    waiting = dict(jobs)
    while waiting and await _worker_runs(platform):
        async with database.unit() as connection:
            found = {one: await read_platform_job(connection, job_id) for one, job_id in waiting.items()}
        for environment_id, job in found.items():
            if job is not None and job.state in ("queued", "running"):
                continue
            del waiting[environment_id]
            if job is not None and job.state != "completed":
                errors[environment_id] = job.error or job.state
        told(f"{len(jobs) - len(waiting)} of {len(jobs)} environments")
        if waiting:
            await asyncio.sleep(_LOOK_SECONDS)
    return errors


async def _migrate_here(platform: Platform, without: set[UUID], told: Told) -> dict[UUID, str]:
    """What no worker has migrated and none has failed at, one after the other."""
    from functions.environment.migrate import entry, upgrade
    from storage.postgres.audit.entry import insert_audit
    from storage.postgres.environment.outdated import is_behind
    from storage.postgres.environment.version import read_versions
    from storage.postgres.tenancy.environment import read_environment
    from waypost.errors import WaypostError

    async with (await platform.database("waypost_provisioner")).unit() as connection:
        behind = [one.environment_id for one in await read_versions(connection) if is_behind(one)]
    errors: dict[UUID, str] = {}
    database = await platform.database("waypost_worker")
    for environment_id in behind:
        if environment_id in without:
            continue
        try:
            await asyncio.to_thread(upgrade, platform.url("waypost_provisioner"), environment_id)
        except WaypostError as error:
            errors[environment_id] = error.detail
            continue
        told(f"environment {environment_id}")
        async with database.unit() as connection:
            environment = await read_environment(connection, environment_id)
            if environment is not None:
                await insert_audit(connection, entry(environment, "system:admin"))
    return errors


async def _worker_runs(platform: Platform) -> bool:
    from storage.postgres.ledger.session import worker_runs

    async with (await platform.database("waypost_worker")).unit() as connection:
        return await worker_runs(connection)


async def _nudge(platform: Platform) -> None:
    """Workers look every second; told, at once."""
    from jobs.platform import nudge

    if platform.has("WAYPOST_VALKEY_URL"):
        nudge(await platform.valkey())
