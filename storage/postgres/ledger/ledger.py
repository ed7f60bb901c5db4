"""The job ledger of one process: the one door to submit, claim, settle, cancel and sweep.

The state of a job is which table holds it (decision 11). These run as the process's own role; everything that is read
for somebody runs as the environment's role (`storage.postgres.ledger.record`, decision 1).
"""

from collections.abc import Iterable, Sequence
from datetime import date
from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.ledger import cancel, claim, hold, session, settlement, submission, sweep, upkeep
from storage.postgres.ledger.cancel import Canceling
from storage.postgres.ledger.hold import Line, Queue
from storage.postgres.ledger.retention import body, prune
from storage.postgres.ledger.retention import object as bucket
from storage.postgres.ledger.retention.object import ErasedObjects, Objects
from storage.postgres.ledger.route import Routes
from storage.postgres.ledger.sweep import Swept
from waypost.job.model import Accepted, Ask, Claimed, Ending, Request, Retrying, Settled, Submission
from waypost.route.model import Route


class Ledger:
    """Each method is one short statement or transaction of its own; promises and errors are those of the module named.

    All raise WaypostError `unavailable` when PostgreSQL is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._routes = Routes(database)

    async def resolve_route(self, environment_id: UUID, function: str, selectors: Sequence[str]) -> int:
        """See `route.Routes.resolve`; cached."""
        return await self._routes.resolve(environment_id, function, selectors)

    def forget_routes(self, environment_id: UUID) -> None:
        """See `route.Routes.forget`."""
        self._routes.forget(environment_id)

    async def routes_of(self, environment_id: UUID) -> list[Route]:
        return await self._routes.of_environment(environment_id)

    async def routes_by_id(self, ids: Sequence[int]) -> list[Route]:
        return await self._routes.by_id(ids)

    async def submit(self, batch: Sequence[Submission]) -> list[Accepted]:
        """See `submission.submit`."""
        return await submission.submit(self._database, batch)

    async def submit_whole(self, batch: Sequence[Submission], request: Request | None = None) -> list[Accepted]:
        """See `submission.submit_whole`."""
        return await submission.submit_whole(self._database, batch, request)

    async def claim(self, session_id: int, asks: Sequence[Ask]) -> list[Claimed]:
        """See `claim.claim`."""
        return await claim.claim(self._database, session_id, asks)

    async def settle_end(self, session_id: int, endings: Sequence[Ending]) -> list[Settled]:
        """See `settlement.settle_end`."""
        return await settlement.settle_end(self._database, session_id, endings)

    async def settle_retry(self, session_id: int, retries: Sequence[Retrying]) -> list[Settled]:
        """See `settlement.settle_retry`."""
        return await settlement.settle_retry(self._database, session_id, retries)

    async def cancel(self, environment_id: UUID, job_id: UUID, requested_by: str) -> Canceling:
        """See `cancel.cancel`: `cancel_waiting`, else `request_cancel`, else why neither."""
        return await cancel.cancel(self._database, environment_id, job_id, requested_by)

    async def cancel_waiting(self, environment_id: UUID, job_id: UUID) -> Canceling | None:
        return await cancel.cancel_waiting(self._database, environment_id, job_id)

    async def request_cancel(self, environment_id: UUID, job_id: UUID, requested_by: str) -> Canceling | None:
        return await cancel.request_cancel(self._database, environment_id, job_id, requested_by)

    async def cancel_requested(self, jobs: Sequence[UUID]) -> set[UUID]:
        """Which of these running jobs somebody wants canceled: the net under a lost `cancel` message."""
        return await cancel.cancel_requested(self._database, jobs)

    async def open_session(self, process: str, kind: str, address: str, pid: int, lease_seconds: float) -> int:
        """See `session.open_session`."""
        return await session.open_session(self._database, process, kind, address, pid, lease_seconds)

    async def renew_session(self, session_id: int, lease_seconds: float) -> bool:
        """See `session.renew_session`."""
        return await session.renew_session(self._database, session_id, lease_seconds)

    async def close_session(self, session_id: int) -> None:
        await session.close_session(self._database, session_id)

    async def waiting_routes(self, routes: Sequence[int]) -> list[tuple[int, int]]:
        """See `upkeep.waiting_routes`."""
        return await upkeep.waiting_routes(self._database, routes)

    async def release_holds(self, lines: Iterable[Line]) -> list[Queue]:
        """See `hold.release_holds`."""
        return await hold.release_holds(self._database, lines)

    async def held_lines(self) -> list[Line]:
        return await hold.held_lines(self._database)

    async def promote_due(self, limit: int = 1_000) -> Swept:
        """See `sweep.promote_due`."""
        return await sweep.promote_due(self._database, limit)

    async def next_due_seconds(self) -> float | None:
        return await sweep.next_due_seconds(self._database)

    async def expire(self, limit: int = 1_000) -> Swept:
        """See `sweep.expire`."""
        return await sweep.expire(self._database, limit)

    async def sweep_lost(self, limit: int = 1_000, *, thorough: bool = False) -> Swept:
        """See `sweep.sweep_lost`."""
        return await sweep.sweep_lost(self._database, limit, thorough=thorough)

    async def sweep_canceled(self, limit: int = 200) -> Swept:
        """See `sweep.sweep_canceled`."""
        return await sweep.sweep_canceled(self._database, limit)

    async def fold_counts(self, limit: int = 20_000) -> int:
        """See `upkeep.fold_counts`."""
        return await upkeep.fold_counts(self._database, limit)

    async def forget_idempotency(self, limit: int = 10_000) -> int:
        return await upkeep.forget_idempotency(self._database, limit)

    async def make_partitions(self) -> int:
        return await upkeep.make_partitions(self._database)

    async def erase_bodies(self, days: int) -> bool:
        """See `retention.body.erase_bodies`."""
        return await body.erase_bodies(self._database, days)

    async def erase_objects(self, objects: Objects, days: int) -> ErasedObjects:
        """See `retention.object.erase_objects`."""
        return await bucket.erase_objects(self._database, objects, days)

    async def drop_weeks(self, job_days: int, results_days: int) -> list[date]:
        """See `retention.prune.drop_weeks`."""
        return await prune.drop_weeks(self._database, job_days, results_days)

    async def prune(self, job_days: int, results_days: int) -> bool:
        """See `retention.prune.prune`."""
        return await prune.prune(self._database, job_days, results_days)
