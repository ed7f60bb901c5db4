"""Uploading artifacts: through the gateway as it comes (64 MiB), or by presigned addresses straight into the bucket.

Content that came through here was hashed on its way and is shared by its SHA-256 at once; of a presigned upload only
`artifact.ingest` knows whether it is what was declared. Nothing of a body is kept in memory.
"""

import contextlib
import hashlib
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.audit import record
from gateway.endpoint import Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.multipart import Form, boundary_of, read_form
from gateway.v1.artifact_view import (
    ArtifactView,
    PartAddress,
    PartAddresses,
    PartPage,
    PartView,
    UploadView,
    artifact_view,
    part_count,
    part_size,
)
from jobs.platform import nudge
from storage.objects.artifact import PartThere, Writer
from storage.postgres.artifact import change
from storage.postgres.artifact.row import read_artifact
from storage.postgres.database import Connection
from storage.postgres.platform.job import insert_platform_job
from waypost import clock, document, errors
from waypost.access.model import Permission
from waypost.artifact.decision import (
    Metadata,
    check_metadata,
    file_name,
    read_sha256,
    sha256_mismatch,
    upload_too_large,
)
from waypost.artifact.model import (
    INGEST,
    MAX_METADATA_BYTES,
    MAX_PRESIGNED_BYTES,
    MAX_REQUEST_BYTES,
    MAX_UPLOAD_BYTES,
    PART_BYTES,
    UPLOAD_SECONDS,
    URL_SECONDS,
    Artifact,
    ArtifactState,
    object_key,
)
from waypost.errors import Category, WaypostError
from waypost.ids import new_id
from waypost.limit.model import STORED_BYTES
from waypost.retention.model import ARTIFACTS

MAX_PARTS = 1_000  # addresses in one answer


class NewUpload(Metadata, forbid_unknown_fields=True, kw_only=True):
    """An artifact whose content is put into the bucket by presigned addresses. With a multipart body instead, the part
    `metadata` has the same fields without `size_bytes`, and the part `file` is the content."""

    size_bytes: Annotated[int, Meta(ge=0, le=MAX_PRESIGNED_BYTES)]
    sha256: str


class PartsWanted(msgspec.Struct, forbid_unknown_fields=True):
    """Numbers of parts, from 1."""

    numbers: Annotated[list[Annotated[int, Meta(ge=1, le=10_000)]], Meta(min_length=1, max_length=MAX_PARTS)]


class PartDone(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    etag: Annotated[str, Meta(pattern=r"^\"?[0-9a-zA-Z+/=_-]{1,128}\"?$")]


class Completion(msgspec.Struct, forbid_unknown_fields=True):
    """The parts with the `ETag` that S3 answered to each; none: all that are there."""

    parts: Annotated[list[PartDone], Meta(max_length=10_000)] = []


class _Received:
    """The content on its way into the bucket."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    async def take(self, piece: bytes | bytearray) -> None:
        self.size_bytes += len(piece)
        if self.size_bytes > MAX_UPLOAD_BYTES:
            raise upload_too_large()
        self._hash.update(piece)
        await self._writer.write(piece)

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()


@endpoint(
    "POST",
    E + "/artifacts",
    summary="Upload an artifact: multipart (metadata, file), or JSON for a presigned upload",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewUpload,
    answer=ArtifactView,
    status=201,
    also={200: "The content is known: its first artifact."},
    idempotent=True,
    body_limit=MAX_REQUEST_BYTES,
    nodes=True,
    example={"name": "core.dump", "size_bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
)
async def upload(call: Call) -> Answer:
    """`201` with the artifact, or `200` with the first one of the same content and type."""
    boundary = boundary_of(call.exchange)
    if boundary is None:
        kind = (call.exchange.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise WaypostError(
                "unsupported_media_type",
                "Send multipart/form-data with metadata and file, or application/json for a presigned upload.",
                Category.MEDIA_TYPE,
            )
        return await _presign(call)
    call.services.require_readable(call.environment)
    announced = int(call.exchange.header(b"content-length") or 0)
    await call.services.admission.store(call.environment, call.place.limits[STORED_BYTES], announced)
    return await _receive(call, boundary)


async def _receive(call: Call, boundary: str) -> Answer:
    objects, environment_id, own = call.services.artifacts, call.environment.id, new_id()
    writer = await objects.writer(environment_id, object_key(own))
    content = _Received(writer)
    kept = False
    try:
        form = await read_form(
            call.exchange, boundary, cap=MAX_REQUEST_BYTES, max_field_bytes=MAX_METADATA_BYTES, take=content.take
        )
        new = _artifact_of(call, form, content, own)
        await writer.finish()
        answer, kept = await _keep(call, new)
    finally:
        if not kept:
            await _discard(call, writer, own)
    return answer


def _artifact_of(call: Call, form: Form, content: _Received, own: UUID) -> Artifact:
    """What is to be kept of it; raises 422, also when the content is not what was declared."""
    given = document.read(form.fields.get("metadata") or b"{}", Metadata)
    declared = check_metadata(given)
    if declared is not None and declared != content.sha256:
        raise sha256_mismatch(declared, content.sha256)
    return _new(
        call, given, own, given.name or file_name(form.file_name or ""), content.sha256, content.size_bytes,
        state=ArtifactState.RECEIVED, verified=True, declared_content_type=(form.content_type or None),
    )  # fmt: skip


def _keep_seconds(call: Call) -> float:
    """How long the environment keeps artifacts, from now on."""
    return call.services.retention_of(call.environment)[ARTIFACTS] * 86_400.0


async def _keep(call: Call, new: Artifact) -> tuple[Answer, bool]:
    """The answer, and whether the object that was written is what the artifact has now."""
    kept: list[bool] = []

    async def work(connection: Connection) -> Answer:
        found, is_new = await change.keep(connection, new, _keep_seconds(call))
        if is_new:
            await insert_platform_job(connection, new_id(), INGEST, found.environment_id, found.id)
            await _record(connection, call, "artifact.create", found)
        kept.append(found.object == new.object)
        return _answer(call, found, 201 if is_new else 200)

    sent = msgspec.json.encode(
        (new.type, new.name, new.sha256.hex(), new.captured_at, new.labels, new.job_id), order="deterministic"
    )
    answer = await once(call, call.environment.id, "artifacts", work, sent)
    nudge(call.services.valkey)
    return answer, bool(kept and kept[0])


async def _discard(call: Call, writer: Writer, own: UUID) -> None:
    """What came to nothing leaves nothing, if S3 can be reached; else the sweeper finds it."""
    services, environment_id = call.services, call.environment.id
    try:
        await writer.abort()
        await services.artifacts.delete(environment_id, object_key(own))
        async with services.database.unit() as connection:
            await change.forget_garbage(connection, environment_id, object_key(own))
    except WaypostError:
        return


async def _presign(call: Call) -> Answer:
    new_upload = await call.read(NewUpload)
    check_metadata(new_upload)
    sha256, size = read_sha256(new_upload.sha256, "/sha256"), new_upload.size_bytes
    await call.services.admission.store(call.environment, call.place.limits[STORED_BYTES], size)
    environment_id, own = call.environment.id, new_id()
    objects, begun = call.services.artifacts, False
    # In parts, even when it is one: once they are assembled, no address writes to the object any more.
    upload_id = await objects.begin_parts(environment_id, object_key(own))
    new = msgspec.structs.replace(
        _new(call, new_upload, own, new_upload.name, sha256, size, state=ArtifactState.UPLOADING, verified=False),
        upload_id=upload_id,
        part_size_bytes=max(PART_BYTES, -(-size // 10_000)),
    )

    async def work(connection: Connection) -> Answer:
        nonlocal begun
        known = await change.find_known(connection, environment_id, sha256, size, new.type)
        if known is not None:
            return _answer(call, known, 200)
        kept = await change.begin_upload(connection, new, UPLOAD_SECONDS)
        await _record(connection, call, "artifact.create", kept)
        begun = True
        return _answer(call, kept, 201, await _upload_view(call, kept))

    try:
        return await once(call, environment_id, "artifacts", work)
    finally:
        if not begun:
            with contextlib.suppress(WaypostError):
                await objects.abort_parts(environment_id, object_key(own), upload_id)


async def _upload_view(call: Call, artifact: Artifact) -> UploadView:
    count, url = part_count(artifact), None
    if count == 1:
        url = await call.services.artifacts.presigned_put(
            artifact.environment_id, artifact.object_key, URL_SECONDS, artifact.upload_id or ""
        )
    return UploadView(artifact.expires_at, url, artifact.part_size_bytes, count)


@endpoint(
    "POST",
    E + "/artifacts/{artifact}/parts",
    summary="Presigned addresses for parts of an upload; again for those that expired",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=PartsWanted,
    answer=PartAddresses,
    nodes=True,
    example={"numbers": [1]},
)
async def parts(call: Call) -> Answer:
    """PUT each part to its address, in any order, again where it failed; keep the `ETag` of each answer."""
    wanted = await call.read(PartsWanted)
    async with call.services.database.unit() as connection:
        artifact = await _uploading(connection, call)
    count = part_count(artifact)
    over = next((number for number in wanted.numbers if number > count), None)
    if over is not None:
        raise errors.invalid("no_such_part", f"The upload has {count} parts; there is no part {over}.", "/numbers")
    found = [
        PartAddress(
            number,
            await call.services.artifacts.presigned_put(
                artifact.environment_id, artifact.object_key, URL_SECONDS, artifact.upload_id or "", number
            ),
            part_size(artifact, number),
        )
        for number in wanted.numbers
    ]
    return ok(PartAddresses(found, URL_SECONDS), headers=[(b"cache-control", b"no-store")])


@endpoint(
    "GET",
    E + "/artifacts/{artifact}/parts",
    summary="The parts of an upload that are there, for going on with one that was cut off",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=PartPage,
    nodes=True,
)
async def parts_there(call: Call) -> Answer:
    """By number, with the `ETag` that `complete` wants; whole parts only. None where the object store does not tell."""
    async with call.services.database.unit() as connection:
        artifact = await _uploading(connection, call)
    found = await _there(call, artifact)
    whole = [
        PartView(part.number, part.size_bytes, part.etag)
        for part in found
        if part.number <= part_count(artifact) and part.size_bytes == part_size(artifact, part.number)
    ]
    return ok(PartPage(whole))


@endpoint(
    "POST",
    E + "/artifacts/{artifact}/complete",
    summary="Say that all of an upload is there; it is verified by artifact.ingest",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=Completion,
    answer=ArtifactView,
    idempotent=True,
    nodes=True,
    example={"parts": []},
)
async def complete(call: Call) -> Answer:
    """`200` with the artifact, `received`. Raises 409 when some of the content is missing, 422 for a wrong size."""
    done = await call.read(Completion)
    async with call.services.database.unit() as reading:
        before = await read_artifact(reading, call.environment.id, call.identifier("artifact", "artifact"))
    if before is not None and before.state is ArtifactState.UPLOADING:
        await _check_there(call, before, done)

    async def work(connection: Connection) -> Answer:
        artifact = await _uploading(connection, call)
        found = await change.mark_received(connection, artifact.environment_id, artifact.id, _keep_seconds(call))
        if found is None:
            raise errors.not_found("upload")
        await insert_platform_job(connection, new_id(), INGEST, found.environment_id, found.id)
        await _record(connection, call, "artifact.complete", found)
        return _answer(call, found, 200)

    answer = await once(call, call.environment.id, "artifacts.complete", work)
    nudge(call.services.valkey)
    return answer


async def _there(call: Call, artifact: Artifact) -> list[PartThere]:
    """The newest of each number, one of the right size before any other."""
    objects, upload_id = call.services.artifacts, artifact.upload_id or ""
    found = await objects.parts(artifact.environment_id, artifact.object_key, upload_id)
    best: dict[int, PartThere] = {}
    for part in sorted(found, key=lambda one: (one.size_bytes == part_size(artifact, one.number), one.modified_at)):
        best[part.number] = part
    return [best[number] for number in sorted(best)]


async def _check_there(call: Call, artifact: Artifact, done: Completion) -> None:
    """Return when the object is whole, as an earlier try may have left it; raises 409, 422."""
    objects, environment_id, key = call.services.artifacts, artifact.environment_id, artifact.object_key
    size = await objects.size(environment_id, key)
    if size is None:
        await _assemble(call, artifact, done)
        size = await objects.size(environment_id, key)
    if size != artifact.size_bytes:
        raise _wrong_size(size or 0, artifact.size_bytes)


async def _assemble(call: Call, artifact: Artifact, done: Completion) -> None:
    """Make one object of the parts that were named, or of all that are there."""
    there, count = await _there(call, artifact), part_count(artifact)
    tags = {part.number: part.etag for part in done.parts} or {part.number: part.etag for part in there}
    if not tags:
        raise errors.conflict("content_missing", "Nothing was put at the addresses of this upload yet.")
    missing = [number for number in range(1, count + 1) if number not in tags]
    if missing or len(tags) != count:
        raise errors.invalid(
            "parts_missing", f"There are to be {count} parts, each named once; missing: {missing[:20]}.", "/parts"
        )
    for part in there:  # before they are assembled, so that a wrong one can be put again
        if part.number in tags and part.size_bytes != part_size(artifact, part.number):
            raise _wrong_size(part.size_bytes, part_size(artifact, part.number), part.number)
    await call.services.artifacts.complete_parts(
        artifact.environment_id, artifact.object_key, artifact.upload_id or "", [tags[n] for n in sorted(tags)]
    )


def _wrong_size(found: int, declared: int, part: int | None = None) -> WaypostError:
    what = "The content" if part is None else f"Part {part}"
    return errors.invalid("size_mismatch", f"{what} has {found} bytes, not {declared} as declared.", "/size_bytes")


async def _uploading(connection: Connection, call: Call) -> Artifact:
    """The artifact of the path, locked, while its content is to come; raises 404, 409."""
    identifier = call.identifier("artifact", "artifact")
    artifact = await read_artifact(connection, call.environment.id, identifier, lock=True)
    if artifact is None:
        raise errors.not_found("artifact")
    if artifact.state is not ArtifactState.UPLOADING:
        raise errors.conflict("upload_complete", "The content of this artifact is complete.")
    return artifact


def _new(
    call: Call, given: Metadata, own: UUID, name: str, sha256: bytes, size: int, *, state: ArtifactState,
    verified: bool, declared_content_type: str | None = None,
) -> Artifact:  # fmt: skip
    return Artifact(
        environment_id=call.environment.id,
        id=own,
        type=given.type,
        name=name,
        state=state,
        object=own,
        verified=verified,
        sha256=sha256,
        size_bytes=size,
        declared_content_type=declared_content_type,
        labels=given.labels,
        captured_at=given.captured_at,
        job_id=given.job_id,
        created_by=call.principal.actor,
        created_at=clock.now(),
        updated_at=clock.now(),
    )


def _answer(call: Call, artifact: Artifact, status: int, upload_view: UploadView | None = None) -> Answer:
    location = f"{call.place.path}/artifacts/{artifact.id}".encode()
    headers = [(b"location", location)] + ([(b"cache-control", b"no-store")] if upload_view else [])
    return ok(artifact_view(artifact, operates=True, upload=upload_view), status, headers)


async def _record(connection: Connection, call: Call, action: str, artifact: Artifact) -> None:
    details = {"type": artifact.type, "size_bytes": str(artifact.size_bytes), "sha256": artifact.sha256.hex()}
    await record(connection, call, action, f"artifact:{artifact.id}", details)


ENDPOINTS: list[Endpoint] = [upload, parts, parts_there, complete]
