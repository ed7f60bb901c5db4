"""Usage: sums of meters, of an organization or one environment, and events that are counted (native contract §6)."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from gateway.endpoint import ORG, Call, E, Endpoint, Parameter, endpoint, ok
from gateway.exchange import Answer
from gateway.v1.cloud_event import NewUsageEvent, read_events
from gateway.v1.usage_view import UsagePage, csv_of, page_of_sums
from storage.postgres.usage.event import insert_events
from storage.postgres.usage.listing import list_sums
from waypost import clock, errors
from waypost.access.decision import visible_projects
from waypost.access.model import Permission
from waypost.job.decision import not_taking
from waypost.tenancy.model import Status
from waypost.usage.decision import is_meter
from waypost.usage.model import Ingested, UsageFilter, UsageSum

MOST_SUMS = 10_000  # in one answer
LONGEST = timedelta(days=400)
LONGEST_BY_HOUR = timedelta(days=32)
MAX_METERS = 50

QUERY = (
    Parameter("from", "Not before this day or hour, UTC (2026-11-01, 2026-11-01T09:00:00Z); default: this month.", str),
    Parameter("to", "Before this day or hour; default: the end of this hour.", str),
    Parameter("group_by", "What sums are told apart by: project, environment, meter, day, hour; meter always is."),
    Parameter("meter", "Only these meters.", repeatable=True),
    Parameter("format", "`json` (default) or `csv`."),
)
_GROUPS = ("project", "environment", "meter", "day", "hour")


class IngestedView(msgspec.Struct, frozen=True):
    """How many events were new, and how many had been told before."""

    accepted: int
    duplicates: int


@endpoint(
    "GET",
    ORG + "/usage",
    summary="What was used in the organization, summed up",
    permission=Permission.VIEW_ORG,
    query=QUERY,
    answer=UsagePage,
)
async def read_usage(call: Call) -> Answer:
    """Exact decimals as strings. A role on single projects sees those projects' usage."""
    organization_id = call.place.organization.id
    return await _sums(call, None, visible_projects(call.principal, organization_id))


@endpoint(
    "GET",
    E + "/usage",
    summary="What was used in the environment, summed up",
    permission=Permission.VIEW_ENVIRONMENT,
    query=QUERY,
    answer=UsagePage,
)
async def read_environment_usage(call: Call) -> Answer:
    """As the organization's, of this environment alone."""
    return await _sums(call, call.environment.id, None)


async def _sums(call: Call, environment_id: UUID | None, projects: frozenset[UUID] | None) -> Answer:
    wanted = _wanted(call, environment_id, projects)
    form = _form(call.query)
    async with call.services.database.unit() as connection:
        found: Sequence[UsageSum] = await list_sums(connection, wanted, MOST_SUMS + 1)
    if len(found) > MOST_SUMS:
        raise errors.invalid(
            "too_many_sums", f"That is more than {MOST_SUMS} sums; ask for a shorter time or fewer groups.", "/group_by"
        )
    if form == "csv":
        headers = [(b"content-disposition", b'attachment; filename="usage.csv"'), (b"cache-control", b"no-store")]
        return Answer(200, csv_of(found, wanted), headers, b"text/csv; charset=utf-8; header=present")
    return ok(page_of_sums(found, wanted))


def _wanted(call: Call, environment_id: UUID | None, projects: frozenset[UUID] | None) -> UsageFilter:
    """Raises 422 naming the parameter that cannot be read, or that asks for too much."""
    now = clock.now()
    since = _instant(call.query, "from") or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    until = _instant(call.query, "to") or now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    by = _groups(call.query)
    longest = LONGEST_BY_HOUR if "hour" in by else LONGEST
    if not timedelta(0) < until - since <= longest:
        raise errors.invalid("invalid_parameter", f"from to to is a time of at most {longest.days} days.", "/from")
    meters = tuple(call.query.get("meter", ()))
    if len(meters) > MAX_METERS or not all(map(is_meter, meters)):
        raise errors.invalid("invalid_parameter", "meter is a name like job.attempts, at most 50 of them.", "/meter")
    return UsageFilter(
        organization_id=call.place.scope.organization_id,
        environment_id=environment_id,
        since=since,
        until=until,
        meters=meters,
        projects=projects,
        by=by,
    )


def _instant(query: dict[str, list[str]], name: str) -> datetime | None:
    """The beginning of a day or of an hour in UTC."""
    if name not in query:
        return None
    text = query[name][-1]
    found: datetime | None = None
    with contextlib.suppress(msgspec.ValidationError):
        found = msgspec.convert(f"{text}T00:00:00Z" if len(text) == len("2026-11-01") else text, datetime)
    if found is None or found.tzinfo is None or not 1970 < found.year < 9999:
        raise errors.invalid("invalid_parameter", f"{name} is a day, 2026-11-01, or an hour in UTC.", f"/{name}")
    found = found.astimezone(UTC)
    if (found.minute, found.second, found.microsecond) != (0, 0, 0):
        raise errors.invalid("invalid_parameter", f"{name} is where an hour begins: sums are kept by hour.", f"/{name}")
    return found


def _groups(query: dict[str, list[str]]) -> tuple[str, ...]:
    text = query.get("group_by", ["meter"])[-1]
    given = [word.strip() for word in text.split(",")]
    if not set(given) <= set(_GROUPS) or len(set(given)) != len(given):
        raise errors.invalid("invalid_parameter", f"group_by is a list of {', '.join(_GROUPS)}.", "/group_by")
    return tuple(one for one in _GROUPS if one in given)


def _form(query: dict[str, list[str]]) -> str:
    form = query.get("format", ["json"])[-1]
    if form not in ("json", "csv"):
        raise errors.invalid("invalid_parameter", "format is json or csv.", "/format")
    return form


@endpoint(
    "POST",
    E + "/usage-events",
    summary="Count what happened: one CloudEvent, or a batch of at most 1,000",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewUsageEvent,
    answer=IngestedView,
    status=202,
    body_kind="application/cloudevents+json",
    example={
        "specversion": "1.0",
        "type": "com.example.image.rendered",
        "source": "/renderers/7",
        "id": "A-17",
        "data": {"meter": "images.megapixels", "quantity": "12.5"},
    },
)
async def tell_usage(call: Call) -> Answer:
    """Structured, binary and batch mode of CloudEvents 1.0; a batch is kept whole or not at all. An event whose
    `(source, id)` was told before is not counted again. Events may lie 30 days back and an hour ahead."""
    status = call.environment.status
    if status in (Status.PROVISIONING, Status.FAILED):
        raise not_taking(status)
    events = await read_events(call.exchange, clock.now())
    async with call.services.database.unit() as connection:
        told: Ingested = await insert_events(connection, call.environment.id, events)
    return ok(IngestedView(told.accepted, told.duplicates), 202)


ENDPOINTS: list[Endpoint] = [read_usage, read_environment_usage, tell_usage]
