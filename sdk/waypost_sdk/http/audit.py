"""The audit log: of the environment, or of the whole organization (governance contract, section 10)."""

from datetime import datetime
from typing import Any, Generic

import msgspec

from waypost_sdk.errors import UnavailableError
from waypost_sdk.http.plan import Answer, Item, NextLine, Open, Request, Stream, error_of
from waypost_sdk.http.resource import M, Query, Resource, given, iteration


class AuditScope(msgspec.Struct, kw_only=True):
    """What an entry is within."""

    organization_id: str | None = None
    project_id: str | None = None
    environment_id: str | None = None


class AuditEntry(msgspec.Struct, kw_only=True):
    """Who did what on what, how it ended, when and from where. `outcome` is done, denied or failed; `count` is above 1
    where equal denials of one minute are one entry."""

    id: str
    timestamp: datetime
    actor: str
    action: str
    outcome: str
    actor_type: str = ""
    target_type: str = ""
    target_id: str = ""
    resource_scope: AuditScope = msgspec.field(default_factory=AuditScope)
    request_id: str | None = None
    source_ip: str | None = None
    count: int = 1
    details: dict[str, Any] | None = None


class Audit(Resource[M], Generic[M]):
    """`client.audit`. Filters: `action` is `noun.verb` or `noun.*`, `target` is `type:id`, `since` and `until` are
    instants; with `org_wide` the whole organization's log, which `project` and `environment` (ids or slugs) narrow."""

    @iteration
    def list(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        org_wide: bool = False,
        project: str | None = None,
        environment: str | None = None,
        limit: int | None = None,
    ) -> Stream[AuditEntry]:
        """Entries, newest first."""
        filters = given(actor=actor, action=action, target=target, outcome=outcome, request_id=request_id)
        query = _query(filters, since, until, project, environment)
        return self._pages(self._path(org_wide), AuditEntry, query, limit)

    @iteration
    def export(
        self,
        format: str = "jsonl",  # noqa: A002 -- its name on the wire
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        org_wide: bool = False,
        project: str | None = None,
        environment: str | None = None,
    ) -> Stream[str]:
        """The lines of the export, `jsonl` or `csv` with a header, without their ends. UnavailableError when it breaks
        off: what came until then is not the whole."""
        filters = given(actor=actor, action=action, target=target, outcome=outcome, request_id=request_id)
        query = (("format", format), *_query(filters, since, until, project, environment))
        return _lines(f"{self._path(org_wide)}/export", query)

    def _path(self, org_wide: bool) -> str:
        return f"{self._scope.org() if org_wide else self._scope.environment()}/audit"


def _query(
    filters: dict[str, str],
    since: datetime | None,
    until: datetime | None,
    project: str | None,
    environment: str | None,
) -> Query:
    instants = {"from": since, "to": until}
    texts = filters | {name: instant.isoformat() for name, instant in instants.items() if instant is not None}
    return tuple((texts | given(project=project, environment=environment)).items())


def _lines(path: str, query: Query) -> Stream[str]:
    answer: Answer = yield Open(Request("GET", path, query))
    if answer.status >= 400:
        raise error_of(answer)
    try:
        while (line := (yield NextLine())) is not None:
            yield Item(line)
    except UnavailableError as error:
        raise UnavailableError(
            "export_broken", "The export broke off before its end; begin anew.", retryable=True
        ) from error
