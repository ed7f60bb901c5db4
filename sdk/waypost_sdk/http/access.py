"""Who may do what: members, invitations, keys, sessions, and what a credential may do (native contract §1, §2)."""

from datetime import datetime
from typing import Generic

from waypost_sdk.http.plan import Plan, Stream
from waypost_sdk.http.resource import M, Resource, given, iteration, operation, read, segment, tagged
from waypost_sdk.tenancy import Accepted, Invitation, Key, Member, Session, WhoAmI


class Members(Resource[M], Generic[M]):
    """`client.members`: people and their roles in an organization or one of its projects."""

    @iteration
    def list(self, *, project: str | None = None, org: str | None = None) -> Stream[Member]:
        """All of them; with `project`, an id or slug, those with a role in it."""
        return self._pages(self._path(org), Member, tuple(given(project=project).items()))

    @operation
    def get(self, member_id: str, *, org: str | None = None) -> Plan[Member]:
        answer = yield from self._get(f"{self._path(org)}/{segment(member_id)}")
        return tagged(answer, Member)

    @operation
    def add(
        self,
        role: str,
        *,
        email: str | None = None,
        person_id: str | None = None,
        project: str | None = None,
        org: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Member]:
        """Give a person a role: org_admin, project_admin, operator or viewer; with `project` only there."""
        body = given(email=email, person_id=person_id, role=role, project=project)
        answer = yield from self._post(self._path(org), body, key=idempotency_key)
        return tagged(answer, Member)

    @operation
    def update(self, member_id: str, role: str, *, org: str | None = None, if_match: str | None = None) -> Plan[Member]:
        """Another role in the same place."""
        answer = yield from self._patch(f"{self._path(org)}/{segment(member_id)}", {"role": role}, if_match)
        return tagged(answer, Member)

    @operation
    def remove(self, member_id: str, *, org: str | None = None, if_match: str | None = None) -> Plan[None]:
        """Take the role away. ConflictError for the last administrator."""
        yield from self._delete(f"{self._path(org)}/{segment(member_id)}", if_match)

    def _path(self, org: str | None) -> str:
        return f"{self._scope.org(org)}/members"


class Invitations(Resource[M], Generic[M]):
    """`client.invitations`: roles offered to people by one-time links."""

    @iteration
    def list(self, *, org: str | None = None) -> Stream[Invitation]:
        """Those that are open."""
        return self._pages(self._path(org), Invitation)

    @operation
    def create(
        self,
        email: str,
        role: str,
        *,
        project: str | None = None,
        expires_in_seconds: float | None = None,
        org: str | None = None,
    ) -> Plan[Invitation]:
        """Offer a role; `link` and `token` are told this once, and nothing is sent: give the link to the person."""
        body = given(email=email, role=role, project=project, expires_in_seconds=expires_in_seconds)
        answer = yield from self._post(self._path(org), body)
        return read(answer, Invitation)

    @operation
    def delete(self, invitation_id: str, *, org: str | None = None) -> Plan[None]:
        """Revoke it: its link leads nowhere from now on."""
        yield from self._delete(f"{self._path(org)}/{segment(invitation_id)}")

    @operation
    def accept(self, token: str, password: str, *, name: str | None = None) -> Plan[Accepted]:
        """Take the role. Somebody new sets a password, who has one already proves it.

        Needs no credential: `Client(url, anonymous=True)`.
        """
        body = given(token=token, password=password, name=name)
        answer = yield from self._post("/v1/invitations/accept", body)
        return read(answer, Accepted)

    def _path(self, org: str | None) -> str:
        return f"{self._scope.org(org)}/invitations"


class Keys(Resource[M], Generic[M]):
    """`client.keys`: API keys of the environment (`wpe_…`)."""

    @operation
    def create(
        self,
        name: str,
        *,
        role: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Key]:
        """A new key; `key` is told this once."""
        body = given(name=name, role=role, expires_at=expires_at)
        answer = yield from self._post(self._path, body, key=idempotency_key)
        return tagged(answer, Key)

    @iteration
    def list(self) -> Stream[Key]:
        return self._pages(self._path, Key)

    @operation
    def get(self, key_id: str) -> Plan[Key]:
        answer = yield from self._get(f"{self._path}/{segment(key_id)}")
        return tagged(answer, Key)

    @operation
    def delete(self, key_id: str, *, if_match: str | None = None) -> Plan[None]:
        """Revoke it: it is refused from now on."""
        yield from self._delete(f"{self._path}/{segment(key_id)}", if_match)

    @operation
    def rotate(self, key_id: str, *, overlap_seconds: float | None = None) -> Plan[Key]:
        """A new key in its place; the old one stays valid for `overlap_seconds`, 24 h unless given."""
        body = given(overlap_seconds=overlap_seconds)
        answer = yield from self._post(f"{self._path}/{segment(key_id)}/rotate", body)
        return tagged(answer, Key)

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/keys"


class ApiKeys(Resource[M], Generic[M]):
    """`client.api_keys`: API keys of the organization (`wp_…`)."""

    @operation
    def create(
        self,
        name: str,
        *,
        role: str | None = None,
        expires_at: datetime | None = None,
        org: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Key]:
        """A new key; `key` is told this once."""
        body = given(name=name, role=role, expires_at=expires_at)
        answer = yield from self._post(self._path(org), body, key=idempotency_key)
        return tagged(answer, Key)

    @iteration
    def list(self, *, org: str | None = None) -> Stream[Key]:
        return self._pages(self._path(org), Key)

    @operation
    def get(self, key_id: str, *, org: str | None = None) -> Plan[Key]:
        answer = yield from self._get(f"{self._path(org)}/{segment(key_id)}")
        return tagged(answer, Key)

    @operation
    def delete(self, key_id: str, *, org: str | None = None, if_match: str | None = None) -> Plan[None]:
        """Revoke it: it is refused from now on."""
        yield from self._delete(f"{self._path(org)}/{segment(key_id)}", if_match)

    @operation
    def rotate(self, key_id: str, *, overlap_seconds: float | None = None, org: str | None = None) -> Plan[Key]:
        """A new key in its place; the old one stays valid for `overlap_seconds`, 24 h unless given."""
        body = given(overlap_seconds=overlap_seconds)
        answer = yield from self._post(f"{self._path(org)}/{segment(key_id)}/rotate", body)
        return tagged(answer, Key)

    def _path(self, org: str | None) -> str:
        return f"{self._scope.org(org)}/api-keys"


class Sessions(Resource[M], Generic[M]):
    """`client.sessions`: people signing in and out."""

    @operation
    def create(self, email: str, password: str) -> Plan[Session]:
        """Sign in; `access_token` is told this once. Needs no credential: `Client(url, anonymous=True)`."""
        body = {"email": email, "password": password, "token": True}
        answer = yield from self._post("/v1/sessions", body)
        return read(answer, Session)

    @iteration
    def list(self) -> Stream[Session]:
        """One's own."""
        return self._pages("/v1/sessions", Session)

    @operation
    def end(self) -> Plan[None]:
        """End the session that this client speaks with."""
        yield from self._delete("/v1/sessions/current")

    @operation
    def end_all(self) -> Plan[None]:
        """End every session of this person, everywhere."""
        yield from self._delete("/v1/sessions")


class Who(Resource[M], Generic[M]):
    """`client.whoami`."""

    @operation
    def get(
        self, *, org: str | None = None, project: str | None = None, environment: str | None = None
    ) -> Plan[WhoAmI]:
        """Who speaks with this credential and, in the place that is named, what it may do and why."""
        query = given(org=org, project=project, environment=environment)
        answer = yield from self._get("/v1/whoami", tuple(query.items()))
        return read(answer, WhoAmI)
