"""The record of a node (native contract §4)."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec


class NodeState(StrEnum):
    ACTIVE = "active"
    DRAINING = "draining"
    LOST = "lost"  # not connected any more


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node that is or was connected. `functions`: `{"name", "max_in_flight", "input_schema"?, "output_schema"?}`."""

    id: UUID
    environment_id: UUID
    credential_id: UUID
    name: str
    relay: str | None  # the process's name
    tags: dict[str, str]  # value "" for a bare tag
    functions: list[dict[str, Any]]
    sdk: str | None
    version: str | None
    in_flight: int
    max_in_flight: int
    completed: int
    failed: int
    round_trip_ms: float | None
    draining: bool
    connected_at: datetime
    last_seen_at: datetime
    disconnected_at: datetime | None
    disconnect_reason: str | None

    @property
    def state(self) -> NodeState:
        if self.disconnected_at is not None:
            return NodeState.LOST
        return NodeState.DRAINING if self.draining else NodeState.ACTIVE
