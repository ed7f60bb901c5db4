"""What a relay looks up every few seconds because the message about it can be lost: routes, pauses, orders,
revocations.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from storage.postgres.database import Database
from waypost.route.model import Route


class Orders(msgspec.Struct, frozen=True):
    """Everything that stands against what a relay is doing.

    `statuses`: of each environment asked about; one that is missing is gone.
    """

    cancels: tuple[UUID, ...]  # jobs that this session runs and somebody wants canceled
    drains: tuple[UUID, ...]  # nodes of this session
    revoked: tuple[UUID, ...]  # credentials, of those asked about, that are deleted
    statuses: Mapping[UUID, str]
    paused: Mapping[UUID, frozenset[str]]


async def orders(database: Database, session: int, environments: Sequence[UUID], credentials: Sequence[UUID]) -> Orders:
    """One look at all of it, in one transaction."""
    async with database.unit() as connection:
        cancels = await connection.fetch(
            "select c.job_id from control.cancel_request c join control.lease l on l.job_id = c.job_id"
            " where l.session = $1",
            session,
        )
        drains = await connection.fetch(
            "select id from control.node where session = $1 and draining and disconnected_at is null", session
        )
        revoked = await connection.fetch(
            "select id from control.node_credential where id = any ($1::uuid[]) and deleted_at is not null",
            list(credentials),
        )
        statuses = await connection.fetch(
            "select id, status from control.environment where id = any ($1::uuid[])", list(environments)
        )
        pauses = await connection.fetch(
            "select environment_id, function from control.function_pause where environment_id = any ($1::uuid[])",
            list(environments),
        )
    paused: dict[UUID, set[str]] = {environment_id: set() for environment_id in environments}
    for row in pauses:
        paused[row["environment_id"]].add(row["function"])
    return Orders(
        cancels=tuple(row["job_id"] for row in cancels),
        drains=tuple(row["id"] for row in drains),
        revoked=tuple(row["id"] for row in revoked),
        statuses={row["id"]: row["status"] for row in statuses},
        paused={environment_id: frozenset(functions) for environment_id, functions in paused.items()},
    )


async def pauses(database: Database, environment_id: UUID) -> frozenset[str]:
    """The paused functions of one environment."""
    async with database.unit() as connection:
        rows = await connection.fetch(
            "select function from control.function_pause where environment_id = $1", environment_id
        )
    return frozenset(row["function"] for row in rows)


async def routes(database: Database, environments: Sequence[UUID], above: int = 0) -> list[Route]:
    """The routes of these environments with ids greater than `above`."""
    async with database.unit() as connection:
        rows = await connection.fetch(
            "select id, environment_id, function, selectors::text as selectors from control.route"
            " where environment_id = any ($1::uuid[]) and id > $2",
            list(environments),
            above,
        )
    return [
        Route(
            row["id"],
            row["environment_id"],
            row["function"],
            tuple(msgspec.json.decode(row["selectors"], type=list[str])),
        )
        for row in rows
    ]


class Held(msgspec.Struct, frozen=True):
    """One lease of a session."""

    job_id: UUID
    attempt_id: int
    environment_id: UUID
    route: int
    rank: int
    number: int
    node: UUID
    policy: str | None


async def held(database: Database, session: int) -> list[Held]:
    """What a session holds in the ledger since 5 s or more: for a relay that may have missed the answer of a claim."""
    async with database.unit() as connection:
        rows = await connection.fetch(
            "select l.job_id, l.attempt_id, l.environment_id, l.route, l.rank, l.number, l.node, j.policy"
            " from control.lease l left join control.job j on j.environment_id = l.environment_id and j.id = l.job_id"
            " where l.session = $1 and l.started_at < now() - interval '5 seconds'",
            session,
        )
    return [Held(*row) for row in rows]
