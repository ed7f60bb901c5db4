"""Usage: sums of meters, and events of your own that are counted (native contract, section 6). Exact decimals."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic
from uuid import uuid4

import msgspec

from waypost_sdk.http.plan import Plan
from waypost_sdk.http.resource import M, Query, Resource, operation, read

BATCH = 1_000  # events a request
DEFAULT_SOURCE = "/waypost-sdk"


class UsageSum(msgspec.Struct, kw_only=True):
    """One sum. `adjustment` is the part of `quantity` that came in after its hour had closed. What sums are not told
    apart by is None."""

    meter: str
    quantity: Decimal
    adjustment: Decimal = Decimal(0)
    day: str | None = None
    hour: datetime | None = None
    project_id: str | None = None
    project: str | None = None
    environment_id: str | None = None
    environment: str | None = None


class _Sums(msgspec.Struct):
    items: list[UsageSum]


class Told(msgspec.Struct):
    """How many events were new, and how many had been told before."""

    accepted: int = 0
    duplicates: int = 0


class Usage(Resource[M], Generic[M]):
    """`client.usage`. `since` and `until` are where an hour begins (default: this month); `group_by` any of project,
    environment, day, hour; `meter` one or several; with `org_wide` the whole organization's."""

    @operation
    def sums(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        group_by: Sequence[str] = (),
        meter: str | Sequence[str] = (),
        org_wide: bool = False,
    ) -> Plan[list[UsageSum]]:
        """The sums, latest first."""
        query = _query(since, until, group_by, meter)
        answer = yield from self._get(self._path(org_wide), query)
        return read(answer, _Sums).items

    @operation
    def csv(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        group_by: Sequence[str] = (),
        meter: str | Sequence[str] = (),
        org_wide: bool = False,
    ) -> Plan[str]:
        """The same as CSV with a header."""
        query = (*_query(since, until, group_by, meter), ("format", "csv"))
        answer = yield from self._get(self._path(org_wide), query)
        return answer.body.decode()

    @operation
    def count(
        self,
        meter: str,
        quantity: Decimal | int | str = 1,
        *,
        id: str | None = None,  # noqa: A002 -- CloudEvents' word
        source: str = DEFAULT_SOURCE,
        time: datetime | None = None,
        subject: str | None = None,
    ) -> Plan[Told]:
        """Count something under a meter of your own. Give what happened an `id` of yours: told again with the same
        `source` and `id`, it is not counted again."""
        event = usage_event(meter, quantity, id=id, source=source, time=time, subject=subject)
        answer = yield from self._post(self._events, event)
        return read(answer, Told)

    @operation
    def send(self, events: Sequence[Mapping[str, Any]]) -> Plan[Told]:
        """Count any number of CloudEvents (`usage_event` makes them), a thousand a request. Raises for the first
        request that is refused; send the same events again then, none counts twice."""
        told = Told()
        for some in _batches(events):
            answer = yield from self._post(self._events, some)
            one = read(answer, Told)
            told = Told(told.accepted + one.accepted, told.duplicates + one.duplicates)
        return told

    @property
    def _events(self) -> str:
        return f"{self._scope.environment()}/usage-events"

    def _path(self, org_wide: bool) -> str:
        return f"{self._scope.org() if org_wide else self._scope.environment()}/usage"


def usage_event(
    meter: str,
    quantity: Decimal | int | str = 1,
    *,
    id: str | None = None,  # noqa: A002 -- CloudEvents' word
    source: str = DEFAULT_SOURCE,
    time: datetime | None = None,
    subject: str | None = None,
) -> dict[str, Any]:
    """A CloudEvent that counts `quantity` under `meter`. Raises TypeError for a float, which is not exact."""
    if isinstance(quantity, (float, bool)):
        raise TypeError(f"a quantity is a Decimal, an integer or text, not {quantity!r}: floats are not exact")
    event: dict[str, Any] = {
        "specversion": "1.0",
        "type": "waypost.usage",
        "source": source,
        "id": id or str(uuid4()),
        "data": {"meter": meter, "quantity": f"{quantity:f}" if isinstance(quantity, Decimal) else str(quantity)},
    }
    if time is not None:
        event["time"] = time.isoformat()
    if subject is not None:
        event["subject"] = subject
    return event


def _batches(events: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    return [list(events[at : at + BATCH]) for at in range(0, len(events), BATCH)]


def _query(
    since: datetime | None, until: datetime | None, group_by: Sequence[str], meter: str | Sequence[str]
) -> Query:
    instants = {"from": since, "to": until}
    query = [(name, instant.isoformat()) for name, instant in instants.items() if instant is not None]
    if group_by:
        query.append(("group_by", ",".join(group_by)))
    query += [("meter", one) for one in ([meter] if isinstance(meter, str) else meter)]
    return tuple(query)
