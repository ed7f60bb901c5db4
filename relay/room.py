"""How many nodes of an environment may be connected: the limit `nodes`, over all relays.

Exact within one relay; of other relays' nodes it is told by the database, at most a second old, so several relays that
fill up at the same moment may let in a few more. Nodes of a relay that died stop counting when its session lapses.
"""

from collections.abc import Mapping
from uuid import UUID

import grpc
import msgspec

from relay.handshake import Refused
from storage.postgres.database import Database
from storage.postgres.fleet import admission
from waypost.clock import monotonic
from waypost.limit.decision import in_force
from waypost.limit.model import NODES

FRESH_SECONDS = 1.0
MOST_KNOWN = 10_000  # environments


class Room(msgspec.Struct, frozen=True):
    """What an environment may have, and what of it other relays have."""

    limit: int
    elsewhere: int

    def check(self, here: int) -> None:
        """Refused with RESOURCE_EXHAUSTED, naming the limit, when one more than `here` is too many."""
        if here + self.elsewhere >= self.limit:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the limit nodes of this environment is {self.limit} and {here + self.elsewhere} are connected",
            )


class Rooms:
    """Looks up each environment at most once a second. `default` are the limits of the settings."""

    def __init__(self, database: Database, default: Mapping[str, int]) -> None:
        self._database, self._default = database, default
        self._known: dict[UUID, tuple[float, Room]] = {}

    async def of(self, environment_id: UUID, session: int | None) -> Room:
        """The room as of now or a moment ago; raises 503 `unavailable` without a database."""
        until, room = self._known.get(environment_id, (0.0, Room(0, 0)))
        if monotonic() < until:
            return room
        found = await admission.nodes_elsewhere(self._database, environment_id, session or 0)
        limits = in_force(self._default, found.organization_limits, found.environment_limits)
        room = Room(limits[NODES], found.nodes)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[environment_id] = (monotonic() + FRESH_SECONDS, room)
        return room
