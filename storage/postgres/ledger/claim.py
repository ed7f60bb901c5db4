"""Leasing jobs to a relay's nodes."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.ledger.statement import MAX_ROWS, run
from waypost.ids import new_attempt_id
from waypost.job.model import Ask, Claimed


async def claim(database: Database, session: int, asks: Sequence[Ask]) -> list[Claimed]:
    """Lease up to one job to each node that `asks` name, at most 2,000 in all; first in line first within an ask.

    Asks of the same queue are joined (with the lower of their low marks): one statement would take a row twice.
    Committed without waiting for the disk: after a crash of the server a claim may not have happened, and then the
    attempt's fence refuses its answer (decision 12a). An ended session gets nothing.
    """
    merged = _merge(asks)
    if not merged:
        return []
    nodes = [node for ask in merged for node in ask.nodes]
    attempts = [new_attempt_id() for _ in nodes]
    wanted = [len(ask.nodes) for ask in merged]
    base = [sum(wanted[:index]) for index in range(len(merged))]
    queues = ([a.route for a in merged], [a.rank for a in merged], [a.low for a in merged])
    async with database.hot(synchronous_commit=False) as connection:
        rows = await run(connection, "claim", *queues, wanted, base, session, attempts, nodes)
    return [_claimed(row) for row in rows]


def _merge(asks: Sequence[Ask]) -> list[Ask]:
    queues: dict[tuple[int, int], tuple[UUID, list[UUID]]] = {}
    room = MAX_ROWS
    for ask in asks:
        nodes = ask.nodes[:room]
        room -= len(nodes)
        low, known = queues.get((ask.route, ask.rank), (ask.low, []))
        if nodes:
            queues[ask.route, ask.rank] = min(low, ask.low), known + list(nodes)
    return [Ask(route, rank, low, tuple(nodes)) for (route, rank), (low, nodes) in queues.items()]


def _claimed(row: Any) -> Claimed:
    return Claimed(*row)
