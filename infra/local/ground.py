"""The ground under the processes: roles and database, the control schema, the first tenancy. A process of its own.

`python -P -m infra.local.ground <data folder>` with PostgreSQL up; it ends when all is in place. So the supervisor
loads neither driver nor Alembic, and a start on ground that has not changed skips it (`fingerprint`).

One JSON line on stdout says how it went: `{"problem", "code"}`, or `{}`.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from infra.local.folder import DataFolder, newer_version, write_secret
from infra.local.problem import ExitCode, LocalError

ORGANIZATION = PROJECT = "default"
ENVIRONMENT = "dev"
ACTOR = "system:local"


def fingerprint(folder: DataFolder) -> str:
    """Changes when anything that `lay` would do may have changed: the code of it, a password, or the key."""
    storage = Path(__file__).parents[2] / "storage" / "postgres"
    digest = hashlib.sha256()
    for path in (
        storage / "cluster.py",
        storage / "cluster.sql",
        storage / "migration.py",
        storage / "version.py",
        *sorted((storage / "control").rglob("*.*")),
        *sorted((storage / "environment").rglob("*.*")),
    ):
        if path.suffix in (".py", ".sql"):
            digest.update(path.read_bytes())
    digest.update((folder.secrets / "passwords.json").read_bytes())
    digest.update(
        ",".join(folder.key_ring().ids).encode()
    )  # another key than the data's is found before anything starts
    return digest.hexdigest()


async def lay(folder: DataFolder) -> None:
    """Roles, database, control schema and first tenancy, whatever is missing; environments' migrations are queued.

    Raises LocalError.
    """
    from storage.postgres import cluster
    from storage.postgres.migration import upgrade_control
    from waypost.errors import WaypostError

    passwords = folder.passwords()

    def url(role: str, database: str = "waypost") -> str:
        return f"postgresql://{role}:{passwords[role]}@/{database}?host={folder.socket_dir}"

    await cluster.prepare(url("postgres", "postgres"), {role: passwords[role] for role in cluster.LOGIN_ROLES})
    try:
        upgrade_control(url("waypost_owner"))
    except WaypostError as error:
        if error.code == "schema_newer":
            raise newer_version(folder.root, error.detail) from error
        raise
    await _first_tenancy(folder, url("waypost_gateway"))
    await _queue_migrations(url("waypost_worker"), url("waypost_provisioner"))


async def _queue_migrations(worker_url: str, provisioner_url: str) -> None:
    """Environments of an earlier version are migrated by the worker that is about to start."""
    from storage.postgres.database import Database
    from storage.postgres.environment.outdated import queue_migrations

    worker = await Database.open(worker_url, name="waypost-up", pool_size=1)
    provisioner = await Database.open(provisioner_url, name="waypost-up", pool_size=1)
    try:
        await queue_migrations(worker, provisioner)
    finally:
        await asyncio.gather(worker.close(), provisioner.close())


async def _first_tenancy(folder: DataFolder, url: str) -> None:
    """Organization, project, environment and the administrator's key, by the operations that the API uses."""
    from storage.postgres.database import Database
    from storage.postgres.tenancy.organization import list_organizations
    from storage.postgres.tenancy.unit import PostgresTenancy
    from storage.secrets import require_keks
    from waypost.access.model import Role
    from waypost.secret import SealError
    from waypost.tenancy import operation
    from waypost.tenancy.model import Posture

    database, keks = await Database.open(url, name="waypost-up", pool_size=1), folder.key_ring()
    try:
        async with database.unit() as connection:
            await require_keks(connection, keks)
            if await list_organizations(connection, only=None, before=None, limit=1):
                return
            unit = PostgresTenancy(connection)
            organization = await operation.create_organization(unit, actor=ACTOR, name="Default", slug=ORGANIZATION)
            project = await operation.create_project(unit, organization.id, actor=ACTOR, name="Default", slug=PROJECT)
            await operation.create_environment(
                unit, keks.current(), project, actor=ACTOR, name="Development", slug=ENVIRONMENT, posture=Posture.DEV
            )
            _, text = await operation.create_api_key(
                unit,
                actor=ACTOR,
                organization_id=organization.id,
                environment_id=None,
                name="First administrator",
                role=Role.ORG_ADMIN,
            )
            # Before the commit: a kill in between makes all of it again, and never a key that nobody has.
            write_secret(folder.admin_key_file, text.encode() + b"\n")
    except SealError as error:
        raise LocalError(
            f"{folder.root} cannot be opened: {error}. Nothing was changed.", ExitCode.CREDENTIALS
        ) from error
    finally:
        await database.close()


def main() -> int:
    folder = DataFolder(Path(sys.argv[1]))
    try:
        asyncio.run(lay(folder))
    except LocalError as problem:
        answer: dict[str, object] = {"problem": problem.sentence, "code": int(problem.code)}
    except Exception as error:  # noqa: BLE001 - the edge of this process; the traceback goes to its log
        import traceback

        traceback.print_exc()
        answer = {"problem": f"The control database could not be prepared: {error}", "code": int(ExitCode.SERVER)}
    else:
        answer = {}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if answer else 0


if __name__ == "__main__":
    sys.exit(main())
