"""Bulk replays as the HTTP API tells of them (docs/replay.md)."""

from datetime import datetime
from typing import Any

import msgspec

REPLAY_ENDS = frozenset({"completed", "canceled", "failed"})


class Skip(msgspec.Struct):
    """A job that could not be run again, and why."""

    job_id: str
    code: str = ""
    message: str = ""


class BulkReplay(msgspec.Struct, kw_only=True):
    """Ended jobs that are run again. `skips` are the first of the skipped ones."""

    id: str
    state: str  # queued, running, completed, canceled, failed
    matched: int
    replayed: int = 0
    skipped: int = 0
    skips: list[Skip] = []
    selection: dict[str, Any] = {}
    error: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.state in REPLAY_ENDS


class ReplayPreview(msgspec.Struct, kw_only=True):
    """What a bulk replay would run again; `more`: older jobs match, too, beyond the limit."""

    matched: int
    more: bool = False
    by_function: dict[str, int] = {}
    by_state: dict[str, int] = {}
    oldest: datetime | None = None
    newest: datetime | None = None
