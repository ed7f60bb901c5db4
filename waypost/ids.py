"""Ids: UUIDv7 everywhere (RFC 9562 §5.7), and attempt ids, which are fences.

A UUIDv7 begins with 48 bits of milliseconds, so ids sort by time and a time bounds a range of ids.
"""

import secrets
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7

NIL = UUID(int=0)
_MAX_RANDOM = (1 << 80) - 1


def new_id() -> UUID:
    """A fresh UUIDv7; later calls in one process give greater ids."""
    return uuid7()


def new_request_id() -> str:
    """A fresh UUIDv7 as text, for requests that bring no id; 0.5 µs where `str(new_id())` takes 2.9."""
    return str(uuid_utils.uuid7())


def new_attempt_id() -> int:
    """62 random bits, positive in a signed 64-bit integer.

    Random, not counted: claims commit asynchronously, so after a crash of the database a counter would repeat and let a
    stale answer in (decision 12a).
    """
    return secrets.randbits(62)


def first_id_at(instant: datetime) -> UUID:
    """The least UUIDv7 of that millisecond: a lower bound of all ids made at or after it."""
    milliseconds = int(instant.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x2 << 62))


def instant_of(identifier: UUID) -> datetime:
    """The UTC instant (whole milliseconds) at which a UUIDv7 was made."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)


def parse_id(text: str) -> UUID | None:
    """The UUID in canonical form (36 characters, lower or upper case), else None; never an error."""
    if len(text) != 36:  # UUID() itself also accepts braces and URNs
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
