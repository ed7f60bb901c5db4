"""Audit entries as they are answered: one document each, or lines of an export (JSON Lines, CSV)."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from waypost.audit.model import WrittenEntry

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class ScopeView(msgspec.Struct, frozen=True):
    """What the entry is within."""

    organization_id: UUID | None
    project_id: UUID | None
    environment_id: UUID | None


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. `count` is above 1 where equal denials of one minute were collapsed."""

    id: UUID
    timestamp: datetime
    actor: str
    actor_type: str
    action: str
    target_type: str
    target_id: str
    outcome: str
    resource_scope: ScopeView
    request_id: str | None
    source_ip: str | None
    count: int
    details: dict[str, Any] | None


def audit_view(entry: WrittenEntry) -> AuditView:
    """An entry as it is answered."""
    target_type, _, target_id = entry.target.partition(":")
    return AuditView(
        id=entry.id,
        timestamp=entry.at,
        actor=entry.actor,
        actor_type=entry.actor_kind,
        action=entry.action,
        target_type=target_type,
        target_id=target_id,
        outcome=entry.outcome,
        resource_scope=ScopeView(entry.organization_id, entry.project_id, entry.environment_id),
        request_id=entry.request_id,
        source_ip=entry.source_address,
        count=entry.count,
        details=entry.details,
    )


_encode = msgspec.json.Encoder().encode
# Inside strings JSON may hold these as they are, but many readers take them for the end of a line.
_LINE_ENDS = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))

CSV_COLUMNS = (
    "id", "timestamp", "actor", "actor_type", "action", "target_type", "target_id", "outcome", "organization_id",
    "project_id", "environment_id", "request_id", "source_ip", "count", "details",
)  # fmt: skip


def _json_line(document: Any) -> bytes:
    text = _encode(document)
    for raw, escaped in _LINE_ENDS:
        text = text.replace(raw, escaped)
    return text + b"\n"


def _json_lines(entries: Sequence[WrittenEntry]) -> bytes:
    return b"".join(_json_line(audit_view(entry)) for entry in entries)


def _csv_rows(entries: Sequence[WrittenEntry]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for entry in entries:
        view = msgspec.to_builtins(audit_view(entry))
        flat = view | view["resource_scope"] | {"details": _cell_of(entry.details)}
        writer.writerow([safe_cell(flat[column]) for column in CSV_COLUMNS])
    return out.getvalue().encode()


def _cell_of(details: dict[str, Any] | None) -> str:
    if details is None:
        return ""
    return _json_line(details).decode().rstrip("\n")


def safe_cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe in front (OWASP,
    CSV injection)."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


_HEADER = (",".join(CSV_COLUMNS) + "\r\n").encode()
FORMATS: dict[str, tuple[bytes, bytes, Callable[[Sequence[WrittenEntry]], bytes]]] = {
    "jsonl": (b"application/jsonl", b"", _json_lines),
    "csv": (b"text/csv; charset=utf-8; header=present", _HEADER, _csv_rows),
}
