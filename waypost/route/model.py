"""A route is (environment, function, canonical selector set): the queue (decision 10)."""

from uuid import UUID

import msgspec

MAX_ROUTES_PER_ENVIRONMENT = 256


class Route(msgspec.Struct, frozen=True):
    """`id` is the small integer that the ledger and the wake messages use."""

    id: int
    environment_id: UUID
    function: str
    selectors: tuple[str, ...]  # canonical texts, sorted


class NodeView(msgspec.Struct, frozen=True):
    """What routing knows of a connected node: its tags, its functions, its free slots."""

    id: UUID
    tags: dict[str, str]  # value "" for a bare tag
    functions: dict[str, int]  # name → max_in_flight
    in_flight: int
    max_in_flight: int
    draining: bool = False
    busy: dict[str, int] = {}  # name → in flight, as far as the view knows it; the relay always does
