"""Organizations, projects and environments (native contract §2)."""

import time
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from waypost_sdk.errors import ConflictError, NotFoundError, WaitTimeoutError
from waypost_sdk.http.plan import Item, Plan, Sleep, Stream, collect
from waypost_sdk.http.resource import M, Resource, given, iteration, operation, read, segment, tagged
from waypost_sdk.tenancy import Environment, Organization, Project, Retention, RetentionPreview

POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 1.0

Thing = TypeVar("Thing", Environment, Project)


class Organizations(Resource[M], Generic[M]):
    """`client.organizations`."""

    @iteration
    def list(self) -> Stream[Organization]:
        """Those that the credential sees."""
        return self._pages("/v1/orgs", Organization)

    @operation
    def get(self, org: str | None = None) -> Plan[Organization]:
        """By id or slug; without one, that of the configured environment."""
        answer = yield from self._get(self._scope.org(org))
        return tagged(answer, Organization)

    @operation
    def create(self, name: str, *, slug: str | None = None, idempotency_key: str | None = None) -> Plan[Organization]:
        """A new organization; `admin_key` is told this once."""
        answer = yield from self._post("/v1/orgs", given(name=name, slug=slug), key=idempotency_key)
        return tagged(answer, Organization)

    @operation
    def update(
        self,
        org: str | None = None,
        *,
        name: str | None = None,
        slug: str | None = None,
        settings: Mapping[str, str | int | float | bool] | None = None,
        if_match: str | None = None,
    ) -> Plan[Organization]:
        """Change what is given, `settings` as a whole. With `if_match`, only what you have seen: else ConflictError."""
        answer = yield from self._patch(self._scope.org(org), given(name=name, slug=slug, settings=settings), if_match)
        return tagged(answer, Organization)


class Projects(Resource[M], Generic[M]):
    """`client.projects`."""

    @iteration
    def list(self, org: str | None = None) -> Stream[Project]:
        return self._pages(f"{self._scope.org(org)}/projects", Project)

    @operation
    def get(self, project: str | None = None, *, org: str | None = None) -> Plan[Project]:
        """By id or slug; without one, that of the configured environment."""
        answer = yield from self._get(self._scope.project(org, project))
        return tagged(answer, Project)

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
        body = given(name=name, slug=slug, description=description)
        answer = yield from self._post(f"{self._scope.org(org)}/projects", body, key=idempotency_key)
        return tagged(answer, Project)

    @operation
    def update(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        slug: str | None = None,
        description: str | None = None,
        org: str | None = None,
        if_match: str | None = None,
    ) -> Plan[Project]:
        """Change what is given."""
        body = given(name=name, slug=slug, description=description)
        answer = yield from self._patch(self._scope.project(org, project), body, if_match)
        return tagged(answer, Project)

    @operation
    def delete(self, project: str, *, org: str | None = None, if_match: str | None = None) -> Plan[None]:
        """Delete it with all of its environments; they go in the background: see `wait_until_deleted`."""
        yield from self._delete(self._scope.project(org, project), if_match)

    @operation
    def wait_until_deleted(
        self, project: str, timeout_seconds: float | None = None, *, org: str | None = None
    ) -> Plan[None]:
        """Return once it is gone, with all of its environments. Raises WaitTimeoutError."""
        yield from collect(_watched(self, self._scope.project(org, project), timeout_seconds, Project, there=False))


class Environments(Resource[M], Generic[M]):
    """`client.environments`. Without `environment`, each is about the configured one."""

    @iteration
    def list(self, *, org: str | None = None, project: str | None = None) -> Stream[Environment]:
        return self._pages(f"{self._scope.project(org, project)}/environments", Environment)

    @operation
    def get(
        self, environment: str | None = None, *, org: str | None = None, project: str | None = None
    ) -> Plan[Environment]:
        """By id or slug, with the steps of what is or was last done to it."""
        answer = yield from self._get(self._path(environment, org, project))
        return tagged(answer, Environment)

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
        """Ask for a new environment; it is provisioned in the background: see `wait_until_ready`."""
        body = given(name=name, slug=slug, posture=posture, backend=backend)
        path = f"{self._scope.project(org, project)}/environments"
        answer = yield from self._post(path, body, key=idempotency_key)
        return tagged(answer, Environment)

    @operation
    def update(
        self,
        environment: str | None = None,
        *,
        name: str | None = None,
        slug: str | None = None,
        posture: str | None = None,
        limits: Mapping[str, int | None] | None = None,
        retention: Mapping[str, int | None] | None = None,
        org: str | None = None,
        project: str | None = None,
        if_match: str | None = None,
    ) -> Plan[Environment]:
        """Change what is given; of `limits` and `retention` (days) those that are named, and None takes one back to
        the organization's and to the operator's."""
        body = given(name=name, slug=slug, posture=posture, limits=limits, retention=retention)
        answer = yield from self._patch(self._path(environment, org, project), body, if_match)
        return tagged(answer, Environment)

    @operation
    def retention(
        self, environment: str | None = None, *, org: str | None = None, project: str | None = None
    ) -> Plan[Retention]:
        """How long its things are kept, and what its last sweep took."""
        answer = yield from self._get(f"{self._path(environment, org, project)}/retention")
        return read(answer, Retention)

    @operation
    def preview_retention(
        self,
        environment: str | None = None,
        *,
        retention: Mapping[str, int | None] | None = None,
        org: str | None = None,
        project: str | None = None,
    ) -> Plan[RetentionPreview]:
        """What a sweep would take now, with the days in force or with others; nothing is changed."""
        path = f"{self._path(environment, org, project)}/retention/preview"
        answer = yield from self._post(path, given(retention=retention))
        return read(answer, RetentionPreview)

    @operation
    def suspend(
        self, environment: str | None = None, *, org: str | None = None, project: str | None = None
    ) -> Plan[Environment]:
        """Take no more work; what it holds stays."""
        answer = yield from self._post(f"{self._path(environment, org, project)}/suspend")
        return tagged(answer, Environment)

    @operation
    def resume(
        self, environment: str | None = None, *, org: str | None = None, project: str | None = None
    ) -> Plan[Environment]:
        """Take work again."""
        answer = yield from self._post(f"{self._path(environment, org, project)}/resume")
        return tagged(answer, Environment)

    @operation
    def delete(
        self, environment: str, *, org: str | None = None, project: str | None = None, if_match: str | None = None
    ) -> Plan[Environment | None]:
        """Delete it with everything in it, in the background: see `wait_until_deleted`."""
        answer = yield from self._delete(self._path(environment, org, project), if_match)
        return read(answer, Environment) if answer.status < 400 and answer.body else None

    @operation
    def wait_until_ready(
        self,
        environment: str | None = None,
        timeout_seconds: float | None = None,
        *,
        org: str | None = None,
        project: str | None = None,
    ) -> Plan[Environment]:
        """The environment once nothing is being done to it any more: look at its `status`. Raises WaitTimeoutError."""
        seen = yield from collect(_watched(self, self._path(environment, org, project), timeout_seconds, Environment))
        return seen[-1]

    @operation
    def wait_until_deleted(
        self,
        environment: str,
        timeout_seconds: float | None = None,
        *,
        org: str | None = None,
        project: str | None = None,
    ) -> Plan[None]:
        """Return once it is gone. Raises WaitTimeoutError, ConflictError when deleting it came to a stop."""
        path = self._path(environment, org, project)
        seen = yield from collect(_watched(self, path, timeout_seconds, Environment, there=False))
        if seen and seen[-1].settled and seen[-1].status != "deleted":
            detail = seen[-1].status_reason or f"it is {seen[-1].status}"
            raise ConflictError("not_deleted", f"The environment {environment} was not deleted: {detail}.")

    @iteration
    def watch(
        self,
        environment: str | None = None,
        timeout_seconds: float | None = None,
        *,
        org: str | None = None,
        project: str | None = None,
    ) -> Stream[Environment]:
        """The environment now and at every change, until nothing is being done to it or it is gone.

        Raises WaitTimeoutError after `timeout_seconds` (None: never).
        """
        return _watched(self, self._path(environment, org, project), timeout_seconds, Environment)

    def _path(self, environment: str | None, org: str | None, project: str | None) -> str:
        return f"{self._scope.project(org, project)}/environments/{segment(environment or self._scope.part(2))}"


def _watched(
    resource: Resource[Any], path: str, timeout_seconds: float | None, kind: type[Thing], *, there: bool = True
) -> Stream[Thing]:
    """It at every change, until it is settled or gone."""
    end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    last: Thing | None = None
    pause = POLL_SECONDS
    while True:
        try:
            answer = yield from resource._get(path)  # noqa: SLF001 -- a part of the resources of this module
        except NotFoundError:
            if last is None and there:
                raise
            return
        found = tagged(answer, kind)
        if found != last:
            last, pause = found, POLL_SECONDS
            yield Item(found)
        if found.settled:
            return
        left = LONGEST_POLL_SECONDS if end is None else end - time.monotonic()
        if left <= 0:
            detail = f"{found.slug} is still {found.status} after {timeout_seconds} s; it goes on."
            raise WaitTimeoutError("wait_timeout", detail)
        yield Sleep(min(pause, left))
        pause = min(pause * 1.4, LONGEST_POLL_SECONDS)
