"""Organizations, projects, environments and their keys (native contract §2)."""

from datetime import datetime
from typing import Any, Generic

from waypost_sdk.http.plan import Plan, Stream
from waypost_sdk.http.resource import M, Resource, iteration, operation, read, segment
from waypost_sdk.model import Environment, Key, Organization, Project


class Organizations(Resource[M], Generic[M]):
    """`client.orgs`."""

    @iteration
    def list(self) -> Stream[Organization]:
        return self._pages("/v1/orgs", Organization)

    @operation
    def get(self, org: str | None = None) -> Plan[Organization]:
        """By id or slug; without one, that of the configured environment."""
        answer = yield from self._get(self._scope.org(org))
        return read(answer, Organization)

    @operation
    def create(self, name: str, *, slug: str | None = None, idempotency_key: str | None = None) -> Plan[Organization]:
        """A new organization; `admin_key` is told this once."""
        body = {"name": name} | ({"slug": slug} if slug else {})
        answer = yield from self._post("/v1/orgs", body, key=idempotency_key)
        return read(answer, Organization)


class Projects(Resource[M], Generic[M]):
    """`client.projects`."""

    @iteration
    def list(self, org: str | None = None) -> Stream[Project]:
        return self._pages(f"{self._scope.org(org)}/projects", Project)

    @operation
    def get(self, project: str | None = None, *, org: str | None = None) -> Plan[Project]:
        """By id or slug; without one, that of the configured environment."""
        answer = yield from self._get(self._scope.project(org, project))
        return read(answer, Project)

    @operation
    def create(
        self,
        name: str,
        *,
        slug: str | None = None,
        description: str | None = None,
        org: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Project]:
        body = {"name": name} | {key: value for key, value in (("slug", slug), ("description", description)) if value}
        answer = yield from self._post(f"{self._scope.org(org)}/projects", body, key=idempotency_key)
        return read(answer, Project)


class Environments(Resource[M], Generic[M]):
    """`client.environments`."""

    @iteration
    def list(self, *, org: str | None = None, project: str | None = None) -> Stream[Environment]:
        return self._pages(self._path(org, project), Environment)

    @operation
    def get(
        self, environment: str | None = None, *, org: str | None = None, project: str | None = None
    ) -> Plan[Environment]:
        """By id or slug, with its provisioning steps; without one, the configured environment."""
        answer = yield from self._get(f"{self._path(org, project)}/{segment(environment or self._scope.names()[2])}")
        return read(answer, Environment)

    @operation
    def create(
        self,
        name: str,
        *,
        slug: str | None = None,
        posture: str = "dev",
        backend: str | None = None,
        org: str | None = None,
        project: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Environment]:
        """Ask for a new environment; it is provisioned in the background: `get` tells its status and steps."""
        body: dict[str, Any] = {"name": name, "posture": posture}
        body.update({key: value for key, value in (("slug", slug), ("backend", backend)) if value is not None})
        answer = yield from self._post(self._path(org, project), body, key=idempotency_key)
        return read(answer, Environment)

    def _path(self, org: str | None, project: str | None) -> str:
        return f"{self._scope.project(org, project)}/environments"


class Keys(Resource[M], Generic[M]):
    """`client.keys`: API keys of the environment (`wpe_…`)."""

    @operation
    def create(self, name: str, *, role: str | None = None, expires_at: datetime | None = None) -> Plan[Key]:
        """A new key; `key` is told this once."""
        body: dict[str, Any] = {"name": name}
        body.update({key: value for key, value in (("role", role), ("expires_at", expires_at)) if value is not None})
        answer = yield from self._post(self._path, body)
        return read(answer, Key)

    @iteration
    def list(self) -> Stream[Key]:
        return self._pages(self._path, Key)

    @operation
    def delete(self, key_id: str) -> Plan[None]:
        yield from self._delete(f"{self._path}/{segment(key_id)}")

    @operation
    def rotate(self, key_id: str, *, overlap_seconds: float | None = None) -> Plan[Key]:
        """A new key in its place; the old one stays valid for `overlap_seconds`, 24 h unless given."""
        body = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        answer = yield from self._post(f"{self._path}/{segment(key_id)}/rotate", body)
        return read(answer, Key)

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/keys"
