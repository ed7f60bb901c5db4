"""Reading and deleting artifacts, and their content by range (native contract §6). Uploading is artifact_upload's.

Metadata is for whoever may view the environment, content for who may operate it (decision 22). Content is always an
attachment that no browser looks into. Refuses to delete what something refers to.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from litestar.types import ASGIApp

from gateway.audit import record
from gateway.endpoint import PAGE, Call, E, Endpoint, Parameter, endpoint, nothing, ok
from gateway.exchange import Answer, Headers, Receive, Send, exchange_of
from gateway.page import page_of, paged
from gateway.v1 import artifact_upload
from gateway.v1.artifact_view import (
    ArtifactPage,
    ArtifactView,
    ContentAddress,
    UploadView,
    artifact_view,
    part_count,
)
from gateway.v1.job import instant
from storage.postgres.artifact import change
from storage.postgres.artifact.garbage import collect
from storage.postgres.artifact.row import Filter, list_artifacts, read_artifact, references
from waypost import errors
from waypost.access.model import Permission
from waypost.artifact.decision import entity_tag, not_modified, read_range, read_sha256, still_referred_to
from waypost.artifact.model import URL_SECONDS, Artifact, ArtifactState, ArtifactType
from waypost.errors import WaypostError
from waypost.ids import parse_id

ONE = E + "/artifacts/{artifact}"

_FILTERS = (
    Parameter("type", "Only of these types.", repeatable=True),
    Parameter("state", "Only in these states.", repeatable=True),
    Parameter("sha256", "Only with this content."),
    Parameter("job_id", "Only from this job."),
    Parameter("spec_hash", "Only incident bundles of this specification."),
    Parameter("label.", "Only with this label: `label.KEY=VALUE`."),
    Parameter(
        "field.", "Only where ingest found this: `field.runtime=NAME`, `field.policy_mode=…`, `field.spec_ok=…`."
    ),
    Parameter("created_after", "Only made at or after this instant.", datetime),
    Parameter("created_before", "Only made before this instant.", datetime),
)


@endpoint(
    "GET", E + "/artifacts", summary="Artifacts, newest first", permission=Permission.VIEW_ENVIRONMENT,
    query=(*_FILTERS, *PAGE), answer=ArtifactPage,
)  # fmt: skip
async def list_(call: Call) -> Answer:
    wanted = _filter(call.query)
    page = page_of(call.query, "artifacts", call.environment.id, wanted)
    async with call.services.reading(call.environment) as connection:
        found = await list_artifacts(connection, call.environment.id, wanted, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda artifact: artifact.id)
    operates = call.may(Permission.OPERATE_ENVIRONMENT)
    return ok(ArtifactPage([artifact_view(one, operates=operates) for one in shown], cursor))


@endpoint(
    "GET", ONE, summary="One artifact", permission=Permission.VIEW_ENVIRONMENT, answer=ArtifactView, nodes=True
)  # fmt: skip
async def read(call: Call) -> Answer:
    """With what refers to it, the latest hundred."""
    async with call.services.reading(call.environment) as connection:
        artifact = await read_artifact(connection, call.environment.id, call.identifier("artifact", "artifact"))
        if artifact is None:
            raise errors.not_found("artifact")
        found = await references(connection, call.environment.id, artifact.id)
    upload = None
    if artifact.upload_id is not None:
        upload = UploadView(
            artifact.expires_at, part_size_bytes=artifact.part_size_bytes, part_count=part_count(artifact)
        )
    operates = call.may(Permission.OPERATE_ENVIRONMENT)
    return ok(artifact_view(artifact, operates=operates, references=found, upload=upload))


@endpoint(
    "GET", ONE + "/content", summary="The content, whole or a range of it; or an address to read it at",
    permission=Permission.OPERATE_ENVIRONMENT, kind="application/octet-stream", nodes=True, head=True,
    query=(Parameter("presigned", "`true`: answer an address that needs no credential for an hour.", bool),),
    also={206: "The range that was asked for.", 304: "The caller has it.", 416: "No byte of it is in the range."},
)  # fmt: skip
async def content(call: Call) -> ASGIApp:
    """`ETag` is the SHA-256; one range of bytes a request. Rejected content can be read as well, to see why."""
    async with call.services.reading(call.environment) as connection:
        artifact = await read_artifact(connection, call.environment.id, call.identifier("artifact", "artifact"))
    if artifact is None:
        raise errors.not_found("artifact")
    if artifact.state is ArtifactState.UPLOADING:
        raise errors.conflict("content_missing", "The upload of this artifact is not complete.")
    if _flag(call.query, "presigned"):
        url = await call.services.artifacts.presigned_get(
            artifact.environment_id, artifact.object_key, URL_SECONDS, _disposition(artifact)
        )
        return ok(ContentAddress(url, URL_SECONDS), headers=[(b"cache-control", b"no-store")])
    tag = entity_tag(artifact)
    if not_modified(call.exchange.header(b"if-none-match"), tag):
        return _Content(304, [(b"etag", tag.encode())], None, None)
    span = read_range(call.exchange.header(b"range"), call.exchange.header(b"if-range"), tag, artifact.size_bytes)
    return await _open(call, artifact, tag, span)


@endpoint(
    "DELETE", ONE, summary="Delete an artifact; its content goes with the last one that has it",
    permission=Permission.OPERATE_ENVIRONMENT, status=204,
)  # fmt: skip
async def delete(call: Call) -> Answer:
    """`409 artifact_in_use` while a job or a replay needs it. An upload that is not complete is given up."""
    services, environment_id = call.services, call.environment.id
    async with services.database.unit() as connection:
        artifact = await read_artifact(connection, environment_id, call.identifier("artifact", "artifact"), lock=True)
        if artifact is None:
            raise errors.not_found("artifact")
        holding = [
            f"{one.kind}:{one.id}" for one in await references(connection, environment_id, artifact.id) if one.holds
        ]
        if holding:
            raise still_referred_to(holding)
        await change.delete(connection, artifact)
        await record(connection, call, "artifact.delete", f"artifact:{artifact.id}", {"sha256": artifact.sha256.hex()})
    with contextlib.suppress(WaypostError):  # the sweeper does what cannot be done now
        await collect(services.database, services.artifacts, environment_id)
    return nothing()


class _Content:
    """An answer whose body is streamed from the bucket; an ASGI application. The first piece is here already."""

    def __init__(
        self, status: int, headers: Headers, length: int | None, pieces: AsyncIterator[memoryview] | None
    ) -> None:
        self._status, self._headers, self._length, self._pieces = status, headers, length, pieces

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        await exchange.start(self._status, b"application/octet-stream", self._headers, send, self._length)
        if self._pieces is not None:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _open(call: Call, artifact: Artifact, tag: str, span: tuple[int, int] | None) -> _Content:
    start, end = span or (0, artifact.size_bytes)
    headers = [
        (b"etag", tag.encode()),
        (b"accept-ranges", b"bytes"),
        (b"content-disposition", _disposition(artifact).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"cache-control", b"private, no-cache"),
    ]
    if span is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, artifact.size_bytes)))
    if call.exchange.method == "HEAD" or start == end:
        return _Content(206 if span else 200, headers, end - start, None)
    pieces = call.services.artifacts.stream(artifact.environment_id, artifact.object_key, start, end)
    first = await anext(pieces)  # so that what is missing is an error, not a broken answer
    return _Content(206 if span else 200, headers, end - start, _after(first, pieces))


async def _after(first: memoryview, rest: AsyncIterator[memoryview]) -> AsyncIterator[memoryview]:
    yield first
    async for piece in rest:
        yield piece


def _disposition(artifact: Artifact) -> str:
    """Always an attachment, under its name (RFC 6266)."""
    name = artifact.name.rpartition("/")[2] or f"artifact-{artifact.id}"
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _flag(query: dict[str, list[str]], name: str) -> bool:
    text = query.get(name, ["false"])[0]
    if text not in ("true", "false"):
        raise errors.invalid("invalid_parameter", f"{name} is true or false.", f"/{name}")
    return text == "true"


def _filter(query: dict[str, list[str]]) -> Filter:
    """Raises 422 for a value that none can have."""
    kinds, states = query.get("type"), query.get("state")
    for name, given, known in (("type", kinds, ArtifactType), ("state", states, ArtifactState)):
        if wrong := [value for value in given or () if value not in list(known)]:
            raise errors.invalid(
                "invalid_parameter", f"{name} is one of {', '.join(known)}, not {wrong[0]!r}.", f"/{name}"
            )
    sha256 = query.get("sha256", [None])[0]
    spec_hash = query.get("spec_hash", [None])[0]
    return Filter(
        types=kinds,
        states=states,
        sha256=None if sha256 is None else read_sha256(sha256, "/sha256"),
        job_id=_id(query, "job_id"),
        labels=_family(query, "label."),
        fields=_family(query, "field."),
        created_after=instant(query, "created_after"),
        created_before=instant(query, "created_before"),
        spec_hash=None if spec_hash is None else f"sha256:{read_sha256(spec_hash, '/spec_hash').hex()}",
    )


def _family(query: dict[str, list[str]], prefix: str) -> dict[str, str] | None:
    """Parameters of one family by what follows its name; None when there are none."""
    found = {name.removeprefix(prefix): values[-1] for name, values in query.items() if name.startswith(prefix)}
    if any("\0" in text for pair in found.items() for text in pair):
        raise errors.invalid("invalid_parameter", f"A {prefix}parameter has no NUL.", f"/{prefix}")
    return found or None


def _id(query: dict[str, list[str]], name: str) -> UUID | None:
    text = query.get(name, [None])[0]
    if text is None:
        return None
    found = parse_id(text)
    if found is None:
        raise errors.invalid("invalid_parameter", f"{name} is an id.", f"/{name}")
    return found


ENDPOINTS: list[Endpoint] = [*artifact_upload.ENDPOINTS, list_, read, content, delete]
