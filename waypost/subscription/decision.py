"""The rules of subscriptions: what may be subscribed to, where it may go, when a delivery is tried again."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from waypost import errors
from waypost.subscription.model import (
    DELAYS_SECONDS,
    EVENTS,
    JITTER,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_PATTERNS,
    MAX_RETRY_AFTER_SECONDS,
    MAX_URL_CHARACTERS,
    Outcome,
    Verdict,
)

PATTERNS = frozenset({"*", *EVENTS, *(f"{event.partition('.')[0]}.*" for event in EVENTS)})
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")


def patterns_of(event: str) -> tuple[str, str, str]:
    """The patterns that an event matches: itself, all of its noun, everything."""
    return event, f"{event.partition('.')[0]}.*", "*"


def check_events(events: Sequence[str]) -> tuple[str, ...]:
    """The patterns, each once, sorted; raises 422."""
    if not 1 <= len(events) <= MAX_PATTERNS:
        raise errors.invalid("out_of_range", f"Name 1 to {MAX_PATTERNS} events, such as job.completed.", "/events")
    for place, event in enumerate(events):
        if event not in PATTERNS:
            known = ", ".join(sorted(PATTERNS))
            raise errors.invalid(
                "unknown_event", f"{event[:100]!r} is no event; there are {known}.", f"/events/{place}"
            )
    return tuple(sorted(set(events)))


def check_url(url: str) -> str:
    """The URL as it is; raises 422. Whether its address may be delivered to is found out when connecting."""
    if len(url) > MAX_URL_CHARACTERS:
        raise _bad_url(f"A URL has at most {MAX_URL_CHARACTERS} characters.")
    if _UNSENDABLE.search(url):
        raise _bad_url("A URL has neither blanks nor other than ASCII characters; percent-encode them.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url("This cannot be read as a URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_url("The URL must begin with https:// (or http://) and a host.")
    if "@" in parts.netloc:
        raise _bad_url("The URL holds a user name or password; the signature proves who sends.")
    if parts.fragment or port == 0 or "\\" in url:
        raise _bad_url("The URL has a fragment, a backslash or the port 0, which cannot be sent to.")
    return url


def check_description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION_CHARACTERS or "\0" in text:
        raise errors.invalid(
            "too_long", f"A description has at most {MAX_DESCRIPTION_CHARACTERS} characters.", "/description"
        )
    return text


def gone(outcome: Outcome) -> bool:
    """Whether the endpoint said that it wants nothing any more."""
    return outcome.error is not None and outcome.status == 410


def judge(outcome: Outcome, tries: int) -> Verdict:
    """What follows from the `tries`-th attempt of a round. Only 2xx is success; 410 wants nothing any more."""
    if outcome.error is None:
        return Verdict.DELIVERED
    if gone(outcome):
        return Verdict.GONE
    return Verdict.FAILED if tries >= len(DELAYS_SECONDS) else Verdict.RETRY


def delay_seconds(tries: int, retry_after_seconds: float | None, chance: float) -> float:
    """How long to wait after the `tries`-th attempt: as the schedule says, never less than the endpoint asked for.

    `chance` in [0, 1) spreads it by up to JITTER, only later.
    """
    scheduled = DELAYS_SECONDS[min(tries, len(DELAYS_SECONDS) - 1)]
    return max(scheduled, retry_after_seconds or 0.0) * (1.0 + JITTER * chance)


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After asks for, as seconds or as a date (RFC 9110 §10.2.3), at most a day; None when it
    asks for nothing that can be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max((at - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def matching(event: str, subscribed: Iterable[str]) -> bool:
    """Whether a subscription to these patterns gets this event."""
    return not set(patterns_of(event)).isdisjoint(subscribed)


def _bad_url(detail: str) -> errors.WaypostError:
    return errors.invalid("invalid_url", detail, "/url")
