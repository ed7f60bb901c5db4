"""`artifact.ingest`: look at an artifact that was received, once; it is ingested or rejected, with reasons.

Verifies the SHA-256 of what came by a presigned upload, finds out what the content is, and describes incident bundles.
Run twice, it finds the artifact settled and does nothing. Content lies in an unlinked file while it is looked at, never
in memory as a whole. Refuses: to run or to keep anything that is in an archive.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Protocol
from uuid import UUID

import msgspec

from functions.artifact import content
from storage.postgres.artifact import change
from storage.postgres.artifact.row import read_artifact
from storage.postgres.database import Database
from storage.postgres.platform.job import PlatformJob
from waypost.artifact.bundle import Description
from waypost.artifact.model import Artifact, ArtifactState, ArtifactType, Reason
from waypost.errors import Category, WaypostError
from waypost.telemetry.log import get_logger

_log = get_logger("functions.artifact")


class Objects(Protocol):
    """What is used of the object store."""

    def stream(
        self, environment_id: UUID, key: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[memoryview]: ...


class _Read(msgspec.Struct, frozen=True):
    """What reading the content showed."""

    head: bytes
    sha256: bytes | None  # None: it was known
    size_bytes: int


async def ingest(job: PlatformJob, database: Database, objects: Objects) -> None:
    """The artifact that the job is about. Raises `unavailable` when the bucket is away: run it again later."""
    if job.environment_id is None:
        raise ValueError("an artifact belongs to an environment")
    async with database.unit() as connection:
        artifact = await read_artifact(connection, job.environment_id, job.subject)
    if artifact is None or artifact.state is not ArtifactState.RECEIVED:
        return
    with tempfile.TemporaryFile() as file:
        try:
            read = await _read(objects, artifact, file)
        except WaypostError as error:
            if error.category is not Category.NOT_FOUND:
                raise
            lost = Reason("content_lost", "The content is not in the object store.")
            await _settle(database, artifact, Description((lost,), {}, None), None, intact=False)
            return
        await _judge(database, artifact, read, file)


async def _judge(database: Database, artifact: Artifact, read: _Read, file: IO[bytes]) -> None:
    if read.sha256 is not None and (read.sha256 != artifact.sha256 or read.size_bytes != artifact.size_bytes):
        other = Reason("sha256_mismatch", f"The content's SHA-256 is {read.sha256.hex()}, another than declared.")
        await _settle(database, artifact, Description((other,), {}, None), None, intact=False)
        return
    is_bundle = artifact.type == ArtifactType.INCIDENT_BUNDLE
    found = content.content_type(read.head, None if is_bundle else artifact.declared_content_type)
    wrong = None if is_bundle else content.mismatch(artifact.declared_content_type, found)
    if wrong is not None:
        description = Description((wrong,), {}, None)
    elif content.needs_content(artifact.type):
        file.seek(0)
        description = await asyncio.to_thread(content.describe, artifact.type, found, file, read.size_bytes)
    else:
        description = Description((), {}, None)
    await _settle(database, artifact, description, found, intact=True)


async def _settle(
    database: Database, artifact: Artifact, described: Description, found: str | None, *, intact: bool
) -> None:
    state = ArtifactState.REJECTED if described.reasons else ArtifactState.INGESTED
    async with database.unit() as connection:
        kept = await change.settle(
            connection, artifact, state, reasons=described.reasons, facts=described.facts, content_type=found,
            spec_hash=described.spec_hash, intact=intact,
        )  # fmt: skip
    codes = [reason.code for reason in described.reasons]
    _log.info("artifact.ingested", artifact=str(artifact.id), state=state.value, reasons=codes, accepted=kept)


async def _read(objects: Objects, artifact: Artifact, file: IO[bytes]) -> _Read:
    """The content as far as it is needed: its beginning, its hash unless that is known, all of it for some types."""
    size, whole = artifact.size_bytes, content.needs_content(artifact.type)
    if size == 0:
        return _Read(b"", None if artifact.verified else hashlib.sha256().digest(), 0)
    end = None if not artifact.verified or whole else min(size, content.HEAD_BYTES)
    digest, head, count = hashlib.sha256(), bytearray(), 0
    async for piece in objects.stream(artifact.environment_id, artifact.object_key, 0, end):
        count += len(piece)
        if len(head) < content.HEAD_BYTES:
            head += piece[: content.HEAD_BYTES - len(head)]
        if not artifact.verified:
            digest.update(piece)
        if whole and count <= content.MAX_CHECKED_BYTES + len(piece):
            file.write(piece)
    return _Read(bytes(head), None if artifact.verified else digest.digest(), count if end is None else size)
