"""`client.artifacts`: upload, find, download and delete stored evidence (native contract §6).

What is larger than one request may be goes into the bucket in parts, each tried again by itself, and an upload that was
cut off goes on where it stopped. Content is never held as a whole but by `read`.
"""

import builtins
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Generic

from waypost_sdk.artifact import (
    MAX_UPLOAD_BYTES,
    Address,
    Artifact,
    Part,
    PartAddresses,
    Parts,
)
from waypost_sdk.errors import ConflictError, InvalidError, UnavailableError, WaitTimeoutError
from waypost_sdk.http.content import Content, Form, Source
from waypost_sdk.http.plan import Answer, Backoff, Plan, Request, Sleep, Stream, Transfer, error_of, new_key, send
from waypost_sdk.http.resource import M, Resource, given, iteration, operation, read, segment

ADDRESSES = 50  # asked for at once; each works for an hour
FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0

Take = Callable[[bytes], object]


class Artifacts(Resource[M], Generic[M]):
    """`client.artifacts`. Every method raises WaypostError and its subclasses."""

    @operation
    def upload(
        self,
        source: Source,
        *,
        type: str = "file",  # noqa: A002 -- the contract's word
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        captured_at: datetime | None = None,
        job_id: str | None = None,
        resume: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Artifact]:
        """Upload bytes, a file by its path, or an open file that can seek. Content that is known already is not kept
        twice: the answer is its first artifact.

        `resume` is the id of an upload of the same content that was cut off.
        """
        if resume is not None:
            content = Content(source)
            return (yield from self._resume(content, content.sha256(), resume))
        fields = given(type=type, name=name, labels=dict(labels) if labels else None, captured_at=captured_at)
        return (yield from self.store(source, fields | given(job_id=job_id), idempotency_key))

    @operation
    def get(self, artifact_id: str) -> Plan[Artifact]:
        """One artifact, with what refers to it."""
        return self._read_one(artifact_id)

    @iteration
    def list(
        self,
        *,
        type: str | Iterable[str] | None = None,  # noqa: A002 -- the contract's word
        state: str | Iterable[str] | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        job_id: str | None = None,
        sha256: str | None = None,
        spec_hash: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> Stream[Artifact]:
        """Artifacts, newest first, page after page; `fields` is what ingest found in incident bundles."""
        query: list[tuple[str, str]] = []
        for word, values in (("type", type), ("state", state)):
            query += [(word, value) for value in ([values] if isinstance(values, str) else values or ())]
        for word, pairs in (("label", labels), ("field", fields)):
            query += [(f"{word}.{name}", value) for name, value in (pairs or {}).items()]
        query += list(given(job_id=job_id, sha256=sha256, spec_hash=spec_hash).items())
        for word, instant in (("created_after", created_after), ("created_before", created_before)):
            query += [(word, instant.astimezone(UTC).isoformat().replace("+00:00", "Z"))] if instant else []
        return self._pages(self._path, Artifact, tuple(query), limit)

    @operation
    def wait(self, artifact_id: str, timeout_seconds: float | None = None) -> Plan[Artifact]:
        """The artifact once it is ingested or rejected; WaitTimeoutError after `timeout_seconds` (None: never)."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = FIRST_POLL_SECONDS
        while (found := (yield from self._read_one(artifact_id))).state in ("uploading", "received"):
            if end is not None and time.monotonic() >= end:
                raise WaitTimeoutError("wait_timeout", f"Artifact {artifact_id} is still {found.state}.")
            yield Sleep(pause)
            pause = min(pause * 1.4, LONGEST_POLL_SECONDS)
        return found

    @operation
    def read(self, artifact_id: str) -> Plan[bytes]:
        """The content in memory."""
        return self._read_content(artifact_id)

    @operation
    def download(self, artifact_id: str, target: str | Path | IO[bytes]) -> Plan[int]:
        """Write the content to a path, or into a file that is open for writing; answers how many bytes that were.

        A cut connection goes on where it was. At a path the file appears when it is whole.
        """
        return self.fetch(artifact_id, target)

    @operation
    def address(self, artifact_id: str) -> Plan[Address]:
        """An address where anybody can read the content for an hour, without a credential."""
        answer = yield from self._get(f"{self._one(artifact_id)}/content", (("presigned", "true"),))
        return read(answer, Address)

    @operation
    def delete(self, artifact_id: str) -> Plan[None]:
        """ConflictError while something refers to it."""
        yield from self._delete(self._one(artifact_id))

    def store(self, source: Source, fields: Mapping[str, Any], key: str | None = None) -> Plan[Artifact]:
        """`upload` as a plan, for other plans; `fields` as in the contract."""
        content = Content(source)
        named = {"name": content.name} if content.name else {}
        metadata = {**named, **fields, "sha256": content.sha256()}
        if content.size_bytes <= MAX_UPLOAD_BYTES:
            return (yield from self._send_form(Form(metadata, content), key or new_key()))
        answer = yield from self._post(self._path, {**metadata, "size_bytes": content.size_bytes}, key=key)
        made = read(answer, Artifact)
        return made if made.state != "uploading" else (yield from self._send_parts(content, made, []))

    def load(self, artifact_id: str) -> Plan[bytes]:
        """`read` as a plan, for other plans."""
        return self._read_content(artifact_id)

    def fetch(self, artifact_id: str, target: str | Path | IO[bytes]) -> Plan[int]:
        """`download` as a plan, for other plans."""
        if not isinstance(target, str | Path):
            return (yield from self._receive(artifact_id, target.write))
        path = Path(target)
        unfinished = path.with_name(path.name + ".part")
        try:
            with unfinished.open("wb") as file:
                size = yield from self._receive(artifact_id, file.write)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return size

    def describe(self, artifact_id: str) -> Plan[Artifact]:
        """`get` as a plan, for other plans."""
        return self._read_one(artifact_id)

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/artifacts"

    def _one(self, artifact_id: str) -> str:
        return f"{self._path}/{segment(artifact_id)}"

    def _read_one(self, artifact_id: str) -> Plan[Artifact]:
        answer = yield from self._get(self._one(artifact_id))
        return read(answer, Artifact)

    def _read_content(self, artifact_id: str) -> Plan[bytes]:
        found = bytearray()
        yield from self._receive(artifact_id, found.extend)
        return bytes(found)

    # --- up ---------------------------------------------------------------------------------------------------------

    def _send_form(self, form: Form, key: str) -> Plan[Artifact]:
        request = Request("POST", self._path, headers=(("idempotency-key", key), ("content-type", form.content_type)))
        answer = yield from send(Transfer(request, form.pieces, form.size_bytes), self._scope.retry_seconds)
        return read(answer, Artifact)

    def _resume(self, content: Content, sha256: str, artifact_id: str) -> Plan[Artifact]:
        found = yield from self._read_one(artifact_id)
        if (found.sha256, found.size_bytes) != (sha256, content.size_bytes):
            raise ConflictError("other_content", f"The upload {artifact_id} is of other content than this.")
        if found.state != "uploading":
            return found
        answer = yield from self._get(f"{self._one(artifact_id)}/parts")
        return (yield from self._send_parts(content, found, read(answer, Parts).parts))

    def _send_parts(self, content: Content, artifact: Artifact, there: "builtins.list[Part]") -> Plan[Artifact]:
        """Send what is missing, and say that it is complete."""
        upload = artifact.upload
        one = self._one(artifact.id)
        if upload is not None and upload.url is not None:
            tag = yield from self._put(upload.url, content, 0, content.size_bytes)
            return read((yield from self._post(f"{one}/complete", _completion({1: tag}))), Artifact)
        count, size = (upload.part_count or 1, upload.part_size_bytes or content.size_bytes) if upload else (0, 0)
        tags = {part.number: part.etag for part in there}
        missing = [number for number in range(1, count + 1) if number not in tags]
        for first in range(0, len(missing), ADDRESSES):
            wanted = {"numbers": missing[first : first + ADDRESSES]}
            addresses = read((yield from self._post(f"{one}/parts", wanted)), PartAddresses)
            for part in addresses.parts:
                tags[part.number] = yield from self._put(part.url, content, (part.number - 1) * size, part.size_bytes)
        return read((yield from self._post(f"{one}/complete", _completion(tags))), Artifact)

    def _put(self, url: str, content: Content, start: int, length: int) -> Plan[str]:
        """Put a part; answers its ETag."""
        transfer = Transfer(Request("PUT", url), lambda: content.pieces(start, length), length, bare=True)
        answer = yield from send(transfer, self._scope.retry_seconds)
        return answer.headers.get("etag", "")

    # --- down -------------------------------------------------------------------------------------------------------

    def _receive(self, artifact_id: str, take: Take) -> Plan[int]:
        """All of the content, in as many requests as it takes."""
        backoff, received = Backoff(self._scope.retry_seconds), _Received(take)
        while True:
            before = received.size_bytes
            headers = (("range", f"bytes={before}-"), ("if-range", received.tag)) if before else ()
            transfer = Transfer(
                Request("GET", f"{self._one(artifact_id)}/content", headers=headers), take=received.take
            )
            try:
                answer: Answer = yield transfer
            except UnavailableError as error:
                if received.size_bytes > before:
                    backoff.reset()
                if received.size_bytes > before and not received.tag:
                    received.tag = f'"{(yield from self._read_one(artifact_id)).sha256}"'
                yield backoff.next(error)
                continue
            if answer.status < 400:
                if before and answer.status != 206:
                    raise InvalidError("content_changed", f"Artifact {artifact_id} is other content than before.")
                return received.size_bytes
            if answer.status == 416 and before == (yield from self._read_one(artifact_id)).size_bytes:
                return before  # only the end of the connection was missing
            failure = error_of(answer)
            if not failure.retryable:
                raise failure
            yield backoff.next(failure)


def _completion(tags: Mapping[int, str]) -> dict[str, Any]:
    """What says that all parts are there; without a tag the platform asks the object store."""
    known = all(tags.values())
    return {"parts": [{"number": number, "etag": tags[number]} for number in sorted(tags)] if known else []}


class _Received:
    """How much of a download is there."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self.size_bytes = 0
        self.tag = ""

    def take(self, piece: bytes) -> None:
        self._take(piece)
        self.size_bytes += len(piece)
