"""The audit log: of an organization, of one environment; as pages and as an export (governance contract §10).

An export is read in pages of its own, each a short transaction: a cursor in the database would hold a connection for as
long as a slow client reads, and hold back the horizon up to which entries can be sealed.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar.types import ASGIApp

from gateway.endpoint import ORG, PAGE, Call, E, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer, Receive, Send, exchange_of
from gateway.page import page_of, paged
from gateway.v1.audit_view import FORMATS, AuditView, audit_view
from gateway.v1.view import page_view
from storage.postgres.audit.listing import list_entries, place_of_slug
from waypost import errors
from waypost.access.model import Permission
from waypost.audit.model import AuditFilter, Outcome, WrittenEntry
from waypost.ids import parse_id
from waypost.telemetry.log import get_logger
from waypost.tenancy.decision import is_slug

EXPORT_PAGE = 500  # entries in memory at once
MAX_FILTER_CHARACTERS = 200

_log = get_logger("gateway.audit")

_ACTION = re.compile(r"[a-z][a-z0-9_]*\.(\*|[a-z][a-z0-9_.]*)")


class AuditPage(msgspec.Struct):
    items: list[AuditView]
    next_cursor: str | None


FILTERS = (
    Parameter("actor", "Who: `key:<id>`, `person:<id>`, `system` …"),
    Parameter("action", "What: `environment.create`, or `environment.*` for all of a noun."),
    Parameter("target", "On what: `api_key:<id>`, `function:<name>` …"),
    Parameter("outcome", "`done`, `denied` or `failed`."),
    Parameter("request_id", "The X-Request-Id of the request."),
    Parameter("from", "Not before this instant (RFC 3339).", datetime),
    Parameter("to", "Before this instant (RFC 3339).", datetime),
)
WITHIN = (
    Parameter("project", "Within a project: its id or slug."),
    Parameter("environment", "Within an environment: its id, or its slug in the organization."),
)
FORMAT = Parameter("format", "`jsonl` (default) or `csv`.")


@endpoint(
    "GET",
    ORG + "/audit",
    summary="The organization's audit log, newest first",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    query=(*FILTERS, *WITHIN, *PAGE),
    answer=AuditPage,
)
async def read_audit(call: Call) -> Answer:
    return await _page(call)


@endpoint(
    "GET",
    E + "/audit",
    summary="The environment's audit log, newest first",
    permission=Permission.MANAGE_ENVIRONMENT,
    query=(*FILTERS, *PAGE),
    answer=AuditPage,
)
async def read_environment_audit(call: Call) -> Answer:
    return await _page(call)


@endpoint(
    "GET",
    ORG + "/audit/export",
    summary="The organization's audit log as one document, newest first",
    permission=Permission.MANAGE_ORG_MEMBERSHIPS,
    query=(*FILTERS, *WITHIN, FORMAT),
    answer=AuditView,
    kind="application/jsonl",
)
async def export_audit(call: Call) -> ASGIApp:
    """One entry a line (JSON Lines), or `format=csv` with a header. Text cells of the CSV that a spreadsheet would take
    for a formula begin with an apostrophe."""
    return await _export(call)


@endpoint(
    "GET",
    E + "/audit/export",
    summary="The environment's audit log as one document, newest first",
    permission=Permission.MANAGE_ENVIRONMENT,
    query=(*FILTERS, FORMAT),
    answer=AuditView,
    kind="application/jsonl",
)
async def export_environment_audit(call: Call) -> ASGIApp:
    """As the organization's export, of this environment."""
    return await _export(call)


async def _page(call: Call) -> Answer:
    wanted = await _wanted(call)
    page = page_of(call.query, "audit", wanted)
    async with call.services.database.unit() as connection:
        found = await list_entries(connection, wanted, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda entry: entry.id)
    return ok(page_view([audit_view(entry) for entry in shown], cursor))


async def _wanted(call: Call) -> AuditFilter:
    """The filters of the query within the path's place; raises 422 for one that cannot be read."""
    scope, given = call.place.scope, {name: values[-1] for name, values in call.query.items()}
    for name in ("actor", "target", "request_id"):
        if name in given and not _is_plain(given[name]):
            raise errors.invalid("invalid_parameter", f"{name} is empty, too long or holds controls.", f"/{name}")
    action, outcome = given.get("action"), given.get("outcome")
    if action is not None and _ACTION.fullmatch(action) is None:
        raise errors.invalid("invalid_parameter", "action is noun.verb, or noun.* for all of a noun.", "/action")
    if outcome is not None and outcome not in set(Outcome):
        raise errors.invalid("invalid_parameter", f"outcome is one of {', '.join(Outcome)}.", "/outcome")
    project_id, environment_id = await _within(call, given)
    return AuditFilter(
        organization_id=scope.organization_id,
        project_id=project_id,
        environment_id=scope.environment_id or environment_id,
        actor=given.get("actor"),
        action=action,
        target=given.get("target"),
        outcome=outcome,
        request_id=given.get("request_id"),
        since=_instant(given, "from"),
        until=_instant(given, "to"),
    )


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= MAX_FILTER_CHARACTERS and text.isprintable()


def _instant(given: dict[str, str], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        instant = None
    if instant is None or instant.tzinfo is None or not 1970 < instant.year < 9999:
        raise errors.invalid("invalid_parameter", f"{name} is an instant such as 2026-11-21T09:00:00Z.", f"/{name}")
    return instant


async def _within(call: Call, given: dict[str, str]) -> tuple[UUID | None, UUID | None]:
    """The ids of `project` and `environment`. An id need not be there any more: its entries outlive it."""
    found: dict[str, UUID | None] = {"project": None, "environment": None}
    for table in found:
        text = given.get(table)
        if text is None:
            continue
        found[table] = parse_id(text)
        if found[table] is None and is_slug(text):
            async with call.services.database.unit() as connection:
                found[table] = await place_of_slug(connection, table, call.place.scope.organization_id, text)
        if found[table] is None:
            raise errors.invalid("invalid_parameter", f"There is no {table} {text[:50]!r} here.", f"/{table}")
    return found["project"], found["environment"]


class Export:
    """An export under way; an ASGI application."""

    def __init__(self, call: Call, wanted: AuditFilter, form: str) -> None:
        self._call, self._wanted, self._form = call, wanted, form

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        kind, head, render = FORMATS[self._form]
        name = f'attachment; filename="audit.{self._form}"'.encode()
        headers = [(b"content-disposition", name), (b"cache-control", b"no-store")]
        pages, exchange = self._pages(), exchange_of(scope)
        first: Sequence[WrittenEntry] = await anext(pages, [])  # before the status: without a database it is a 503
        await exchange.start(200, kind, headers, send, None)
        await send({"type": "http.response.body", "body": head + render(first), "more_body": True})
        gone = asyncio.ensure_future(exchange.disconnected())
        try:
            async for entries in pages:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": render(entries), "more_body": True})
        except errors.WaypostError as error:
            # Not completed: the connection is cut, so that nobody takes a part for the whole.
            _log.warning("audit.export_cut", request_id=exchange.request_id, error=error.code)
            return
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pages(self) -> AsyncIterator[Sequence[WrittenEntry]]:
        before: UUID | None = None
        while True:
            async with self._call.services.database.unit() as connection:
                found = await list_entries(connection, self._wanted, before=before, limit=EXPORT_PAGE)
            if found:
                yield found
            if len(found) < EXPORT_PAGE:
                return
            before = found[-1].id


async def _export(call: Call) -> ASGIApp:
    form = call.query.get("format", ["jsonl"])[-1]
    if form not in FORMATS:
        raise errors.invalid("invalid_parameter", f"format is one of {', '.join(FORMATS)}.", "/format")
    return Export(call, await _wanted(call), form)


ENDPOINTS: list[Endpoint] = [read_audit, read_environment_audit, export_audit, export_environment_audit]
