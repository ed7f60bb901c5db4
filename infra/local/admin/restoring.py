"""Bringing a backup back: into a data folder that is empty, or into a cluster whose database is.

Everything that can be refused is refused before anything is made: the manifest, every byte against its checksum, the
key. What ran when the backup was made does not run any more: its sessions are over, so what they held is retried.
The schemas stay at the versions that they had; the next start migrates them.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from infra.local.admin import saving
from infra.local.admin.archive import ADMIN_KEY, DATABASE, KEK, OBJECTS, ROLES, Reader
from infra.local.admin.connection import Platform, of_folder
from infra.local.admin.progress import Progress, size
from infra.local.admin.serving import serve_storage
from infra.local.folder import MIN_FREE_BYTES, DataFolder, write_secret
from infra.local.problem import ExitCode, LocalError
from storage.objects import backup as objects
from storage.objects.seal import BUCKET
from storage.objects.store import bucket_name, is_bucket_name
from storage.postgres import cluster
from storage.postgres.backup import role, tool
from storage.postgres.backup.seal import copy_again, last_seals
from storage.postgres.backup.snapshot import count_rows, epoch_after, forget_processes, require_later
from storage.postgres.tenancy.secret import replace_secret
from storage.postgres.version import CONTROL_VERSION, ENVIRONMENT_VERSION
from storage.secrets import DATABASE_PASSWORD, S3_CREDENTIALS, place
from waypost.secret import KeyEncryptionKey, SealError
from waypost.secret.model import decode_key, private_lines


def check(source: Path, kek_file: Path | None, progress: Progress) -> tuple[Reader, bytes]:
    """The backup, every byte of which was looked at, and the text of the key file that opens it. Raises LocalError."""
    reader = Reader.open(source)
    try:
        _check_versions(reader)
        key = _key_text(reader, kek_file)
        progress.stage("checksums")
        reader.verify(lambda done: progress.tell(size(done)))
        progress.done(f"{len(reader.manifest.parts)} parts as they were written")
    except BaseException:
        reader.close()
        raise
    return reader, key


@asynccontextmanager
async def into_folder(root: Path, key: bytes, reader: Reader) -> AsyncIterator[Platform]:
    """A platform's storage in an empty folder; a data folder when the block ends well, empty again when it does not."""
    manifest = reader.manifest
    saving.require_room(
        root, 3 * manifest.database_bytes + manifest.object_bytes + MIN_FREE_BYTES, "A restore may need"
    )
    folder = DataFolder(root)
    folder.open_empty()
    try:
        write_secret(folder.kek_file, key)
        if reader.has(ADMIN_KEY):
            with reader.part(ADMIN_KEY) as file:
                write_secret(folder.admin_key_file, file.read())
        async with serve_storage(folder, epoch_after(manifest.transaction)) as endpoint, AsyncExitStack() as stack:
            passwords = folder.passwords()
            values = of_folder(folder, {"WAYPOST_S3_ENDPOINT": endpoint})
            values.pop("WAYPOST_KEK", None)
            values["WAYPOST_KEK_FILE"] = str(folder.kek_file)
            platform = Platform(values, folder, stack)
            await cluster.prepare(
                cluster.with_database(platform.url("postgres"), "postgres"),
                {name: passwords[name] for name in cluster.LOGIN_ROLES},
            )
            yield platform
        folder.finish_filling()
    except BaseException:
        folder.remove_filling()
        raise
    finally:
        if folder.socket_dir.parent != folder.root:
            shutil.rmtree(folder.socket_dir, ignore_errors=True)
        folder.close()


async def restore(platform: Platform, reader: Reader, progress: Progress) -> dict[str, Any]:
    """Bring everything into the platform's storage; the summary. Raises LocalError or WaypostError half way."""
    await _check_empty(platform)
    await require_later(platform.url("postgres"), reader.manifest.transaction)
    with reader.part(ROLES) as file:
        roles = msgspec.json.decode(file.read(), type=role.Roles)
    await role.make_roles(platform.url("waypost_provisioner"), roles)
    progress.stage("database")
    with reader.part(DATABASE) as file:
        await tool.restore(platform.url("postgres"), saving.programs(), file, lambda done: progress.tell(size(done)))
    await _check_counts(platform, reader)
    await forget_processes(platform.url("waypost_owner"))
    progress.done(f"{reader.manifest.counts['job']} jobs")
    progress.stage("objects")
    await _load_objects(platform, reader, progress)
    progress.stage("credentials")
    renewed = await _renew_credentials(platform, roles, set(reader.manifest.buckets))
    progress.done(f"of {renewed} environments")
    await saving.audit(platform, "platform.restore")
    where = None if platform.folder is None else str(platform.folder.root)
    return {"restored": where} | saving.summary(reader.source, reader.manifest)


async def _load_objects(platform: Platform, reader: Reader, progress: Progress) -> None:
    """Of the environments that the database knows, and of the platform itself; not of one made after the snapshot."""
    owner, s3 = platform.url("waypost_owner"), objects.connect(*platform.s3)
    async with (await platform.database()).unit() as connection:
        known = {bucket_name(row["id"]) for row in await connection.fetch("select id from control.environment")}
    buckets = [bucket for bucket in reader.manifest.buckets if bucket in known or not is_bucket_name(bucket)]
    seals = await last_seals(owner)

    def wanted(bucket: str, key: str) -> bool:
        return bucket in buckets and (seals is None or seals.knows(bucket, key))

    with reader.part(OBJECTS) as file:
        count, done = await asyncio.to_thread(
            objects.load, s3, buckets, file, wanted, lambda n, so_far: progress.tell(f"{n}, {size(so_far)}")
        )
    if seals is not None and BUCKET in buckets:
        kept = await asyncio.to_thread(lambda: {one.key for one in objects.list_objects(s3, BUCKET)})
        await copy_again(owner, kept)
    progress.done(f"{count} in {len(buckets)} buckets, {size(done)}")


async def _renew_credentials(platform: Platform, roles: role.Roles, buckets: set[str]) -> int:
    """The environments' logins get their passwords, their buckets' keys are made anew and kept; how many."""
    keys, admin = await platform.keys(), platform.object_admin
    database = await platform.database()
    async with database.unit() as connection:
        kept = await connection.fetch("select environment_id, name from control.environment_secret order by 1, 2")
    present = {(row["environment_id"], row["name"]) for row in kept}
    passwords: list[tuple[str, str]] = []
    for one in roles.roles:
        environment_id = UUID(one.name.removeprefix("env_"))
        if (environment_id, DATABASE_PASSWORD) in present:
            password = await keys.get_secret(environment_id, DATABASE_PASSWORD)
            passwords.append((one.name, (password or b"").decode()))
    await role.set_passwords(platform.url("waypost_provisioner"), passwords)
    for environment_id, name in sorted(present):
        if name == S3_CREDENTIALS and bucket_name(environment_id) in buckets:
            fresh = msgspec.json.encode(await admin.make_key(environment_id))
            sealed = (await keys.data_key(environment_id)).seal(place(environment_id, S3_CREDENTIALS), fresh)
            async with database.unit() as connection:
                await replace_secret(connection, environment_id, S3_CREDENTIALS, sealed)
    return len(passwords)


async def _check_empty(platform: Platform) -> None:
    connection = await asyncpg.connect(platform.url("postgres"))
    try:
        if await connection.fetchval("select to_regnamespace('control') is not null"):
            raise LocalError(
                "The database holds a control schema already: restore into an empty one.", ExitCode.CONFLICT
            )
    finally:
        await connection.close()


async def _check_counts(platform: Platform, reader: Reader) -> None:
    connection = await asyncpg.connect(platform.url("postgres"))
    try:
        found = await count_rows(connection)
    finally:
        await connection.close()
    expected = {table: reader.manifest.counts.get(table) for table in found}
    if found != expected:
        differing = ", ".join(
            f"{table}: {found[table]} of {expected[table]}" for table in found if found[table] != expected[table]
        )
        raise LocalError(f"The restored database does not hold what the backup counted ({differing}).")


def _check_versions(reader: Reader) -> None:
    manifest = reader.manifest
    found = [("control schema", manifest.control_version, CONTROL_VERSION)]
    found += [("environments' schema", version, ENVIRONMENT_VERSION) for version in manifest.environment_versions]
    for what, version, known in found:
        if version > known:
            raise LocalError(
                f"The {what} in {reader.source} is at version {version}, newer than this program knows ({known}): "
                f"restore it with Waypost {manifest.waypost} or later. Nothing was restored.",
                ExitCode.VERSION,
            )


def _key_text(reader: Reader, kek_file: Path | None) -> bytes:
    wanted = reader.manifest.kek_ids
    if kek_file is None and not reader.has(KEK):
        raise LocalError(
            f"{reader.source} does not hold the key-encryption key {', '.join(wanted)}: name its file with --kek.",
            ExitCode.CREDENTIALS,
        )
    try:
        lines = private_lines(kek_file) if kek_file is not None else _kept_key(reader)
        found = [KeyEncryptionKey(decode_key(line, str(kek_file or reader.source))).id for line in lines]
    except SealError as error:
        raise LocalError(f"The key-encryption key cannot be used: {error}.", ExitCode.CREDENTIALS) from error
    if not set(wanted) <= set(found):
        raise LocalError(
            f"The key file holds {', '.join(found)}; {reader.source} needs {', '.join(wanted)}. Nothing was restored.",
            ExitCode.CREDENTIALS,
        )
    return "".join(f"{line}\n" for line in lines).encode()


def _kept_key(reader: Reader) -> list[str]:
    with reader.part(KEK) as file:
        return file.read().decode("ascii", "replace").split()
