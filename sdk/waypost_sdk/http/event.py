"""Server-Sent Events as a plan: parsed, and resumed with Last-Event-ID when the stream breaks."""

from collections.abc import Callable, Iterable

import msgspec

from waypost_sdk import exact
from waypost_sdk.errors import UnavailableError
from waypost_sdk.http.plan import Answer, Backoff, Item, NextLine, Open, Request, Stream, error_of
from waypost_sdk.model import JobEvent

_RETRIED_STATUS = frozenset({429, 502, 503})


def follow(
    path: str, last_event_id: str | None, retry_seconds: float, is_last: Callable[[JobEvent], bool]
) -> Stream[JobEvent]:
    """Events until `is_last` says so. A broken stream is opened again after the last event that had an id."""
    backoff = Backoff(retry_seconds)
    while True:
        headers = [("accept", "text/event-stream")]
        if last_event_id is not None:
            headers.append(("last-event-id", last_event_id))
        try:
            answer: Answer = yield Open(Request("GET", path, headers=tuple(headers)))
            if answer.status >= 400:
                failure = error_of(answer)
                if answer.status not in _RETRIED_STATUS:
                    raise failure
            else:
                failure = UnavailableError("stream_ended", f"{path} ended before the last event.", retryable=True)
                lines: list[str] = []
                while (line := (yield NextLine())) is not None:
                    backoff.reset()
                    if line:
                        lines.append(line)
                        continue
                    event = parse(lines)
                    lines = []
                    if event is None:
                        continue
                    last_event_id = event.id or last_event_id
                    yield Item(event)
                    if is_last(event):
                        return
        except UnavailableError as error:
            failure = error
        yield backoff.next(failure)


def parse(lines: Iterable[str]) -> JobEvent | None:
    """The event of one block of lines; None for comments and blocks without data. Text that is no JSON stays text."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    text = "\n".join(fields["data"])
    try:
        data = exact.decode(text)
    except msgspec.DecodeError:
        data = text
    return JobEvent(fields.get("event", ["message"])[-1], data, fields.get("id", [None])[-1])
