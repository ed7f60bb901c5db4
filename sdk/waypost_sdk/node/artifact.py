"""A node's way to artifacts: with the token of its stream, in the environment that the token is of.

What is too large for a frame goes this way by itself: a payload that is an artifact is fetched before the handler is
called, a result over the limit is put and named instead. `job.artifacts` is the same for handlers: awaited in async
functions, plain in plain ones.
"""

import asyncio
from collections.abc import Generator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Generic

import httpx

from waypost_sdk.artifact import Artifact, reference
from waypost_sdk.errors import NotAvailableError, TooLargeError
from waypost_sdk.http.artifact import Artifacts
from waypost_sdk.http.content import Source
from waypost_sdk.http.drive import AsyncDriver, SyncDriver
from waypost_sdk.http.plan import Plan
from waypost_sdk.http.resource import M, Resource, Scope, given, operation
from waypost_sdk.node.token import TokenSource

TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 30.0
MAX_PAYLOAD_BYTES = 256 << 20  # of a payload that is fetched into memory


class JobArtifacts(Resource[M], Generic[M]):
    """`job.artifacts`: what this attempt puts is noted with its job, and kept at least while that runs."""

    def __init__(self, driver: Any, scope: Scope, job_id: str) -> None:
        super().__init__(driver, scope)
        self._job_id = job_id
        self._artifacts: Artifacts[M] = Artifacts(driver, scope)

    @operation
    def put(
        self,
        source: Source,
        *,
        name: str | None = None,
        type: str = "file",  # noqa: A002 -- the contract's word
        labels: Mapping[str, str] | None = None,
        captured_at: datetime | None = None,
    ) -> Plan[Artifact]:
        """Keep bytes, a file by its path, or an open file; of any size. Put again by another attempt, content that is
        known is not kept twice."""
        fields = given(type=type, name=name, labels=dict(labels) if labels else None, captured_at=captured_at)
        return self._artifacts.store(source, fields | {"job_id": self._job_id})

    @operation
    def get(self, artifact_id: str) -> Plan[bytes]:
        """The content in memory."""
        return self._artifacts.load(artifact_id)

    @operation
    def describe(self, artifact_id: str) -> Plan[Artifact]:
        """What is known about it."""
        return self._artifacts.describe(artifact_id)

    @operation
    def download(self, artifact_id: str, target: str | Path | IO[bytes]) -> Plan[int]:
        """Write the content to a path or into an open file; answers how many bytes."""
        return self._artifacts.fetch(artifact_id, target)

    @operation
    def payload(self, artifact_id: str) -> Plan[bytes]:
        """The JSON text of a payload that is an artifact. Raises TooLargeError for one that no memory should hold."""
        found = yield from self._artifacts.describe(artifact_id)
        if found.size_bytes > MAX_PAYLOAD_BYTES:
            raise TooLargeError(
                "payload_too_large",
                f"The payload is an artifact of {found.size_bytes} bytes; at most {MAX_PAYLOAD_BYTES} are fetched.",
            )
        return (yield from self._artifacts.load(artifact_id))

    @operation
    def result(self, text: bytes) -> Plan[dict[str, str]]:
        """Keep a result's JSON text; what stands for it."""
        fields = {"type": "payload", "name": "result.json", "job_id": self._job_id}
        return reference((yield from self._artifacts.store(text, fields)).id)


class Access:
    """Both ways of performing, shared by all jobs of a node. Made inside its loop."""

    def __init__(self, url: str, tokens: TokenSource) -> None:
        self._url, self._scope, self._auth = url, _Scope(tokens), _Token(tokens)
        self._awaited: AsyncDriver | None = None
        self._blocking: SyncDriver | None = None

    def of(self, job_id: str, *, is_async: bool) -> JobArtifacts[Any]:
        """For one job: awaited in the loop, or blocking in a thread."""
        if is_async:
            self._awaited = self._awaited or AsyncDriver(self._url, {}, TIMEOUT_SECONDS, self._auth)
            return JobArtifacts(self._awaited, self._scope, job_id)
        self._blocking = self._blocking or SyncDriver(self._url, {}, TIMEOUT_SECONDS, self._auth)
        return JobArtifacts(self._blocking, self._scope, job_id)

    async def close(self) -> None:
        """Give the connections back."""
        if self._awaited is not None:
            await self._awaited.close()
        if self._blocking is not None:
            self._blocking.close()


class _Scope(Scope):
    """The environment that the token names."""

    def __init__(self, tokens: TokenSource) -> None:
        super().__init__(None, RETRY_SECONDS)
        self._tokens = tokens

    def environment(self) -> str:
        path = self._tokens.environment_path
        if path is None:
            raise NotAvailableError("not_available", "This platform does not let nodes put and get artifacts.")
        return path


class _Token(httpx.Auth):
    """The node's own token, fresh, on every request."""

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens
        self._loop = asyncio.get_running_loop()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = asyncio.run_coroutine_threadsafe(self._tokens.token(), self._loop).result()
        request.headers["authorization"] = f"Bearer {token}"
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> Any:
        request.headers["authorization"] = f"Bearer {await self._tokens.token()}"
        yield request
