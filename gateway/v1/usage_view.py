"""Sums of usage as they are answered: JSON with decimals as strings, and CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from gateway.v1.audit_view import safe_cell
from waypost.usage.model import UsageFilter, UsageSum


class UsageView(Struct, frozen=True, kw_only=True):
    """One sum. `adjustment` is the part of `quantity` that came in after its hour had closed. What sums are not told
    apart by is left out; null is what belongs to no project or environment."""

    meter: str
    quantity: str
    adjustment: str
    day: str | UnsetType = UNSET
    hour: datetime | UnsetType = UNSET
    project_id: UUID | UnsetType | None = UNSET
    project: str | UnsetType | None = UNSET
    environment_id: UUID | UnsetType | None = UNSET
    environment: str | UnsetType | None = UNSET


class UsagePage(Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """All sums of the time asked for, latest first."""

    since: datetime
    until: datetime
    group_by: tuple[str, ...]
    items: list[UsageView]


def page_of_sums(found: Sequence[UsageSum], wanted: UsageFilter) -> UsagePage:
    """The sums as one document."""
    return UsagePage(wanted.since, wanted.until, _groups(wanted), [_view(one, wanted) for one in found])


def _groups(wanted: UsageFilter) -> tuple[str, ...]:
    return wanted.by if "meter" in wanted.by else (*wanted.by, "meter")


def exact(quantity: Decimal) -> str:
    """Every digit and no exponent."""
    return f"{quantity:f}"


def _view(one: UsageSum, wanted: UsageFilter) -> UsageView:
    by = wanted.by
    return UsageView(
        meter=one.meter,
        quantity=exact(one.quantity),
        adjustment=exact(one.adjustment),
        day=f"{one.at:%Y-%m-%d}" if one.at is not None and "day" in by else UNSET,
        hour=one.at if one.at is not None and "hour" in by else UNSET,
        project_id=one.project_id if "project" in by else UNSET,
        project=one.project if "project" in by else UNSET,
        environment_id=one.environment_id if "environment" in by else UNSET,
        environment=one.environment if "environment" in by else UNSET,
    )


def csv_of(found: Sequence[UsageSum], wanted: UsageFilter) -> bytes:
    """A header and a line for each sum; columns as they are asked for."""
    names = [name for group in wanted.by for name in _COLUMNS.get(group, ())]
    columns = [*names, "meter", "quantity", "adjustment"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for one in found:
        view = _view(one, wanted)
        # Quantities come from PostgreSQL and are numbers: a minus before one is no formula.
        writer.writerow([getattr(view, c) if c in _NUMBERS else _cell(getattr(view, c)) for c in columns])
    return out.getvalue().encode()


def _cell(value: object) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else safe_cell(value)


_NUMBERS = ("quantity", "adjustment")
_COLUMNS = {
    "project": ("project_id", "project"),
    "environment": ("environment_id", "environment"),
    "day": ("day",),
    "hour": ("hour",),
}
