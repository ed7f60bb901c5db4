"""Nodes and their credentials, functions, the queue (native contract §3.2, §4)."""

from collections.abc import Iterable
from typing import Any, Generic

from waypost_sdk.http.plan import Plan, Stream
from waypost_sdk.http.resource import M, Resource, iteration, operation, read, segment
from waypost_sdk.model import FunctionStatus, NodeCredential, NodeStatus, Queue


class Nodes(Resource[M], Generic[M]):
    """`client.nodes`: the compute nodes of the environment."""

    @iteration
    def list(self) -> Stream[NodeStatus]:
        """Every node that is connected or was lost lately."""
        return self._pages(self._path, NodeStatus)

    @operation
    def get(self, node_id: str) -> Plan[NodeStatus]:
        answer = yield from self._get(f"{self._path}/{segment(node_id)}")
        return read(answer, NodeStatus)

    @operation
    def drain(self, node_id: str) -> Plan[NodeStatus | None]:
        """Give it no new work; it finishes what it has and is told to leave."""
        answer = yield from self._post(f"{self._path}/{segment(node_id)}/drain")
        return read(answer, NodeStatus) if answer.body else None

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/nodes"


class NodeCredentials(Resource[M], Generic[M]):
    """`client.node_credentials`: what nodes join with."""

    @operation
    def create(
        self, name: str, *, allowed_tags: Iterable[str] | None = None, functions: Iterable[str] | None = None
    ) -> Plan[NodeCredential]:
        """A new credential; `client_secret` is told this once. The lists confine it (`region=*`, `image.*`)."""
        body: dict[str, Any] = {"name": name}
        if allowed_tags is not None:
            body["allowed_tags"] = list(allowed_tags)
        if functions is not None:
            body["functions"] = list(functions)
        answer = yield from self._post(self._path, body)
        return read(answer, NodeCredential)

    @iteration
    def list(self) -> Stream[NodeCredential]:
        return self._pages(self._path, NodeCredential)

    @operation
    def delete(self, credential_id: str) -> Plan[None]:
        """Delete it; streams that joined with it are cut within 5 s."""
        yield from self._delete(f"{self._path}/{segment(credential_id)}")

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/node-credentials"


class Functions(Resource[M], Generic[M]):
    """`client.functions`: node functions that the environment has seen."""

    @iteration
    def list(self) -> Stream[FunctionStatus]:
        return self._whole(self._path, FunctionStatus)

    @operation
    def get(self, function: str) -> Plan[FunctionStatus]:
        answer = yield from self._get(f"{self._path}/{segment(function)}")
        return read(answer, FunctionStatus)

    @operation
    def pause(self, function: str, note: str | None = None) -> Plan[FunctionStatus | None]:
        """Start no more of its jobs; the note is shown to whoever waits."""
        return self._switch(function, "pause", note)

    @operation
    def resume(self, function: str, note: str | None = None) -> Plan[FunctionStatus | None]:
        return self._switch(function, "resume", note)

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/functions"

    def _switch(self, function: str, verb: str, note: str | None) -> Plan[FunctionStatus | None]:
        answer = yield from self._post(f"{self._path}/{segment(function)}/{verb}", {"note": note} if note else {})
        return read(answer, FunctionStatus) if answer.body else None


class Queues(Resource[M], Generic[M]):
    """`client.queue`."""

    @operation
    def get(self) -> Plan[Queue]:
        """Counts by state and function, and the oldest waiting job."""
        answer = yield from self._get(f"{self._scope.environment()}/queue")
        return read(answer, Queue)
