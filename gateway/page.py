"""Lists in pages: `?limit=` and an opaque `?cursor=` (native contract §1).

A cursor names the last item that was shown and is bound to tenant, list and filters by a digest: with other filters or
in another environment it is refused, so nobody takes one list's position for another's. Ids only grow, so inserts move
nothing. It is no secret and grants nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from waypost import errors

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_DIGEST_BYTES = 12

T = TypeVar("T")


class Page(msgspec.Struct, frozen=True):
    """Where a list begins and how long it may be. `after` is the last id shown before (newest first)."""

    limit: int
    after: UUID | None
    binding: bytes


def page_of(parameters: dict[str, list[str]], *binding: Any) -> Page:
    """The page that `limit` and `cursor` ask for; raises 422. `binding`: whatever must be the same on the next page."""
    digest = hashlib.sha256(msgspec.json.encode(binding, order="deterministic")).digest()[:_DIGEST_BYTES]
    cursor = parameters.get("cursor", [""])[-1]
    return Page(_limit(parameters), _after(cursor, digest) if cursor else None, digest)


def _limit(parameters: dict[str, list[str]]) -> int:
    text = parameters.get("limit", [str(DEFAULT_LIMIT)])[-1]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise errors.invalid("invalid_parameter", f"limit is a whole number from 1 to {MAX_LIMIT}.", "/limit")
    return int(text)


def _after(cursor: str, digest: bytes) -> UUID:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16 + _DIGEST_BYTES or raw[16:] != digest:
        raise errors.invalid(
            "invalid_cursor", "This cursor is not of this list with these filters; begin without one.", "/cursor"
        )
    return UUID(bytes=raw[:16])


def cursor_after(page: Page, last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes + page.binding).rstrip(b"=").decode()


def paged(page: Page, found: Sequence[T], id_of: Callable[[T], UUID]) -> tuple[Sequence[T], str | None]:
    """Of up to `limit + 1` found, those to show and the cursor of the next page, None at the end."""
    if len(found) <= page.limit:
        return found, None
    shown = found[: page.limit]
    return shown, cursor_after(page, id_of(shown[-1]))
