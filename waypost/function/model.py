"""The record of a pause (native contract §3.2)."""

from datetime import datetime
from uuid import UUID

import msgspec


class FunctionPause(msgspec.Struct, frozen=True):
    """No job of `function` starts while this stands; `note` and `paused_by` are shown to whoever waits."""

    environment_id: UUID
    function: str
    note: str
    paused_by: str
    paused_at: datetime
