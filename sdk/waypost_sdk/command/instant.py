"""Instants and spans as people write them on the command line."""

import re
from datetime import UTC, datetime, timedelta

from waypost_sdk.command.failure import UsageError

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def instant(text: str | None, option: str) -> datetime | None:
    """An aware instant of RFC 3339 text; without an offset it is UTC. Raises UsageError naming the option."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is an instant like 2026-11-21T09:00:00Z, not {text!r}.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def expiry(text: str | None, option: str) -> datetime | None:
    """An instant, also as a span from now on: `90m`, `12h`, `30d`, `4w`. Raises UsageError naming the option."""
    if text is not None and (found := span(text)) is not None:
        return datetime.now(UTC) + found
    return instant(text, option)


def ago(text: str | None, option: str) -> datetime | None:
    """An instant, also as a span before now: `90m`, `12h`, `30d`. Raises UsageError naming the option."""
    if text is not None and (found := span(text)) is not None:
        return datetime.now(UTC) - found
    return instant(text, option)


def span(text: str) -> timedelta | None:
    """What `12h` means; None for anything else."""
    found = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def seconds(text: str, option: str, like: str = "0m, 90m, 12h or 7d") -> float:
    """How long a span is. Raises UsageError naming the option, with spans like those that it takes."""
    found = span(text)
    if found is None:
        raise UsageError(f"{option} is a span like {like}, not {text!r}.")
    return found.total_seconds()
