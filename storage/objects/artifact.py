"""Large objects of an environment: streamed up in parts, streamed down by range, presigned, listed.

An upload holds at most four parts on disk (unlinked files) and a megabyte or two in memory, however large it is.
Refuses nothing by itself: who may, and how much, was asked before.
"""

import asyncio
import html
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING
from uuid import UUID

import msgspec

from storage.objects.signature import Signer
from storage.objects.store import REGION, ObjectStore, S3Credentials, bucket_name, translated
from storage.secrets import S3_CREDENTIALS, EnvironmentKeys
from waypost.errors import Category, WaypostError, not_found, unavailable

if TYPE_CHECKING:
    import httpx

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 3  # of one upload on their way to S3
PIECE_BYTES = 256 << 10
WINDOW_BYTES = 4 << 20
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)
_UPLOAD_ID = re.compile(r"<UploadId>([^<]+)</UploadId>")


class Listed(msgspec.Struct, frozen=True):
    """An object as a listing shows it."""

    key: str
    size_bytes: int
    modified_at: datetime


class PartThere(msgspec.Struct, frozen=True):
    """A part that was put."""

    number: int
    size_bytes: int
    etag: str
    modified_at: str  # RFC 3339, comparable as text


class ArtifactObjects:
    """All environments' buckets as one process uses them for artifacts."""

    def __init__(
        self, endpoint: str, keys: EnvironmentKeys, store: ObjectStore, public_endpoint: str | None = None
    ) -> None:
        self._endpoint, self._keys, self._store = endpoint, keys, store
        self._public_endpoint = public_endpoint or endpoint  # of presigned addresses
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    # --- up -----------------------------------------------------------------------------------------------------------

    async def writer(self, environment_id: UUID, key: str) -> "Writer":
        """Begin an object; `finish` or `abort` it. Nothing is sent before there is a part's worth."""
        return Writer(self, await self.signer(environment_id), f"/{bucket_name(environment_id)}/{key}")

    async def begin_parts(self, environment_id: UUID, key: str) -> str:
        """Begin an upload in parts by somebody else; answers S3's id of it."""
        return await self._begin(await self.signer(environment_id), f"/{bucket_name(environment_id)}/{key}")

    async def complete_parts(self, environment_id: UUID, key: str, upload_id: str, tags: Sequence[str]) -> None:
        """Make the object of its parts, in order of `tags`. Raises 409 `parts_incomplete`; again: no error."""
        path = f"/{bucket_name(environment_id)}/{key}"
        await self._complete(await self.signer(environment_id), path, upload_id, tags)

    async def parts(self, environment_id: UUID, key: str, upload_id: str) -> list[PartThere]:
        """The parts that are there, by number; none where S3's policy does not let the environment's key ask. One that
        was put again may be there twice: SeaweedFS keeps both until the upload is completed."""
        signer, path = await self.signer(environment_id), f"/{bucket_name(environment_id)}/{key}"
        found: list[PartThere] = []
        while True:
            query = {"uploadId": upload_id, "part-number-marker": str(found[-1].number if found else 0)}
            answer = await self.send(signer, "GET", path, query, b"", 0)
            if answer.status_code in (403, 404):
                return found
            page = _parts(_good(answer).text)
            found += page
            if not page or "<IsTruncated>true" not in answer.text:
                return found

    async def abort_parts(self, environment_id: UUID, key: str, upload_id: str) -> None:
        """Forget the parts; no error when there are none."""
        path = f"/{bucket_name(environment_id)}/{key}"
        await self._abort(await self.signer(environment_id), path, upload_id)

    async def presigned_put(self, environment_id: UUID, key: str, seconds: int, upload_id: str, number: int = 1) -> str:
        """An address to PUT a part of the object to, until the upload is completed."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        signer = await self.signer(environment_id, self._public_endpoint)
        return signer.presigned("PUT", f"/{bucket_name(environment_id)}/{key}", query, seconds)

    # --- down ---------------------------------------------------------------------------------------------------------

    async def presigned_get(self, environment_id: UUID, key: str, seconds: int, disposition: str) -> str:
        """An address to read the object at, as an attachment."""
        query = {
            "response-content-disposition": disposition,
            "response-content-type": "application/octet-stream",
        }
        signer = await self.signer(environment_id, self._public_endpoint)
        return signer.presigned("GET", f"/{bucket_name(environment_id)}/{key}", query, seconds)

    async def stream(
        self, environment_id: UUID, key: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[memoryview]:
        """The bytes from `start` up to `end` (exclusive) in pieces; raises 404, 503. `start` < `end` <= the size.

        A window a request, as a request has to be over in REQUEST_SECONDS however slowly its bytes are taken.
        """
        from obstore import get_range_async, head_async

        store = await self._store.bucket(environment_id)
        with translated():
            stop = int((await head_async(store, key))["size"]) if end is None else end
            while start < stop:
                window = memoryview(await get_range_async(store, key, start=start, end=min(stop, start + WINDOW_BYTES)))
                if not window.nbytes:
                    raise unavailable("The object store")
                start += window.nbytes
                for at in range(0, window.nbytes, PIECE_BYTES):
                    yield window[at : at + PIECE_BYTES]

    async def size(self, environment_id: UUID, key: str) -> int | None:
        """How many bytes it has; None when there is no such object."""
        from obstore import head_async

        store = await self._store.bucket(environment_id)
        try:
            with translated():
                return int((await head_async(store, key))["size"])
        except WaypostError as error:
            if error.category is Category.NOT_FOUND:
                return None
            raise

    async def delete(self, environment_id: UUID, key: str) -> None:
        """Remove it; no error when there was none."""
        await self._store.delete(environment_id, key)

    async def list(self, environment_id: UUID, prefix: str) -> AsyncIterator[list[Listed]]:
        """Every object below a prefix, a thousand at a time."""
        from obstore import list as list_objects

        store = await self._store.bucket(environment_id)
        with translated():
            async for page in list_objects(store, prefix, chunk_size=1_000):
                yield [Listed(one["path"], one["size"], one["last_modified"]) for one in page]

    # --- requests -----------------------------------------------------------------------------------------------------

    async def signer(self, environment_id: UUID, endpoint: str | None = None) -> Signer:
        """What signs for an environment's key, at our own endpoint unless another is given; raises 404."""
        kept = await self._keys.get_secret(environment_id, S3_CREDENTIALS)
        if kept is None:
            raise not_found("environment")
        credentials = msgspec.json.decode(kept, type=S3Credentials)
        return Signer(endpoint or self._endpoint, REGION, credentials.access_key, credentials.secret_key)

    async def send(
        self, signer: Signer, method: str, path: str, query: dict[str, str], content: "IO[bytes] | bytes", length: int
    ) -> "httpx.Response":
        """One request with a body of so many bytes, from a file's beginning or from memory."""
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
            self._client = httpx.AsyncClient(timeout=httpx.Timeout(60, connect=3), limits=limits, trust_env=False)
        url, headers = signer.headers(method, path, query)
        body = content if isinstance(content, bytes) else _pieces(content)
        try:
            return await self._client.request(
                method, url, headers=headers | {"content-length": str(length)}, content=body
            )
        except httpx.HTTPError as error:
            raise unavailable("The object store") from error

    async def _begin(self, signer: Signer, path: str) -> str:
        answer = await self.send(signer, "POST", path, {"uploads": ""}, b"", 0)
        found = _UPLOAD_ID.search(_good(answer).text)
        if found is None:
            raise unavailable("The object store")
        return found[1]

    async def _complete(self, signer: Signer, path: str, upload_id: str, tags: Sequence[str]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = await self.send(signer, "POST", path, {"uploadId": upload_id}, body, len(body))
        if answer.status_code == 404 or answer.status_code == 400:
            raise WaypostError(
                "parts_incomplete",
                "The parts that were named are not those that were uploaded; upload what is missing and try again.",
                Category.CONFLICT,
            )
        if "<Error>" in _good(answer).text:  # S3 answers 200 before it knows
            raise unavailable("The object store")

    async def _abort(self, signer: Signer, path: str, upload_id: str) -> None:
        answer = await self.send(signer, "DELETE", path, {"uploadId": upload_id}, b"", 0)
        if answer.status_code != 404:
            _good(answer)


class Writer:
    """One object being written: parts go out, a few at once, while the next is gathered."""

    def __init__(self, objects: ArtifactObjects, signer: Signer, path: str) -> None:
        self._objects, self._signer, self._path = objects, signer, path
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever sends it, or `abort`
        self._held = 0  # bytes in `_file`
        self._upload_id: str | None = None
        self._tags: dict[int, str] = {}
        self._number = 0  # of parts begun
        self._sending: set[asyncio.Task[None]] = set()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a piece; waits while as many parts are on their way as may be. Raises what sending one raised."""
        self._file.write(data)
        self._held += len(data)
        if self._held >= PART_BYTES:
            await self._begin_part()

    async def finish(self) -> None:
        """Return when the whole object is durable."""
        if self._number == 0:
            with self._file as file:
                file.seek(0)
                _good(await self._objects.send(self._signer, "PUT", self._path, {}, file, self._held))
            return
        if self._held:
            await self._begin_part()
        await self._sent(0)
        tags = [self._tags[number] for number in sorted(self._tags)]
        await self._objects._complete(self._signer, self._path, self._upload_id or "", tags)  # noqa: SLF001 - its other half
        self._upload_id = None
        self._file.close()

    async def abort(self) -> None:
        """Leave nothing behind, if S3 can be reached; else the sweeper removes it."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._file.close()
        if self._upload_id is not None:
            await self._objects._abort(self._signer, self._path, self._upload_id)  # noqa: SLF001 - its other half

    async def _begin_part(self) -> None:
        await self._sent(PARTS_AT_ONCE - 1)
        if self._upload_id is None:
            self._upload_id = await self._objects._begin(self._signer, self._path)  # noqa: SLF001 - its other half
        file, length = self._file, self._held
        self._file, self._held = tempfile.TemporaryFile(), 0  # noqa: SIM115 - closed by whoever sends it
        self._number += 1
        self._sending.add(asyncio.create_task(self._send(self._number, file, length)))

    async def _send(self, number: int, file: IO[bytes], length: int) -> None:
        query = {"partNumber": str(number), "uploadId": self._upload_id or ""}
        with file:
            file.seek(0)
            answer = _good(await self._objects.send(self._signer, "PUT", self._path, query, file, length))
        self._tags[number] = answer.headers.get("etag", "")

    async def _sent(self, most: int) -> None:
        """Return when at most so many parts are on their way; raises what one of them raised."""
        while len(self._sending) > most:
            done, self._sending = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()


def _parts(text: str) -> list[PartThere]:
    """Of a ListPartsResult."""
    return [
        PartThere(
            int(_element(part, "PartNumber")),
            int(_element(part, "Size")),
            html.unescape(_element(part, "ETag")),
            _element(part, "LastModified"),
        )
        for part in _PART.findall(text)
    ]


def _element(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _good(answer: "httpx.Response") -> "httpx.Response":
    if answer.status_code >= 500:
        raise unavailable("The object store")
    if answer.status_code >= 300:
        raise WaypostError(
            "object_store_refused", f"The object store answered {answer.status_code}.", Category.INTERNAL
        )
    return answer
