"""Whether an environment takes more: its status, its limits of waiting jobs and of stored bytes (native contract §3.3).

Waiting jobs are read once a second for all environments that submit, and what this gateway took since is added: the
count may lag by a second of what others do, and never costs a request anything. Stored bytes are as a worker last found
them in the bucket (every few minutes), with what this gateway put there since.
"""

import asyncio
from datetime import datetime
from uuid import UUID

from storage.postgres.database import Database
from waypost.clock import monotonic
from waypost.errors import WaypostError
from waypost.job.decision import admit
from waypost.limit.decision import require_room
from waypost.limit.model import STORED_BYTES
from waypost.task import stop
from waypost.telemetry.log import get_logger
from waypost.tenancy.model import Environment

REFRESH_SECONDS = 1.0
IDLE_SECONDS = 30.0  # without a submission for so long an environment is no longer counted
STORED_SECONDS = 5.0  # how old a reading of stored bytes may be
FRESH_SECONDS = 0.2  # a count that would refuse somebody is read again unless it is this young

_COUNT = """
select environment_id, sum(waiting)::bigint as waiting from (
    select environment_id, waiting from control.route_count where environment_id = any ($1::uuid[])
    union all
    select environment_id, waiting from control.route_delta where environment_id = any ($1::uuid[])
) c group by environment_id
"""

_STORED = "select bytes, measured_at from control.environment_storage where environment_id = $1"

_log = get_logger("gateway.admission")


class _Count:
    __slots__ = ("at", "counted", "taken", "under_way", "unsure", "used", "waiting")

    def __init__(self) -> None:
        self.waiting = 0  # as it was read
        self.taken = 0  # by this gateway, ever
        self.counted = 0  # of these: in what was read
        self.under_way = 0  # of these: being kept just now
        self.unsure = False  # some were under way when it was read: they may be in both numbers
        self.at = 0.0
        self.used = 0.0

    def total(self) -> int:
        return self.waiting + self.taken - self.counted

    def finished(self) -> int:
        """Of those taken: kept, or refused after all."""
        return self.taken - self.under_way

    def is_doubtful(self) -> bool:
        """Whether reading again would tell more: not while what was under way still is, as a large payload may be."""
        return self.unsure and self.finished() > self.counted

    def read(self, waiting: int, finished: int, under_way: int) -> None:
        """So many waited after `finished` of those taken had, and while others were under way: these, and what came
        since, are kept on top. They may or may not be in it.
        """
        if finished >= self.counted:  # else a later reading came before
            self.waiting, self.counted = waiting, finished
            self.unsure, self.at = under_way > 0, monotonic()


class Admitted:
    """Jobs that may be submitted: a block around keeping them."""

    __slots__ = ("_count", "_jobs")

    def __init__(self, count: _Count, jobs: int) -> None:
        self._count, self._jobs = count, jobs

    def __enter__(self) -> None:
        self._count.taken += self._jobs
        self._count.under_way += self._jobs

    def __exit__(self, *_: object) -> None:
        self._count.under_way -= self._jobs


class _Stored:
    __slots__ = ("at", "bytes", "measured_at", "put")

    def __init__(self) -> None:
        self.bytes = 0  # as it was read
        self.put = 0  # by this gateway since it was measured, about
        self.measured_at: datetime | None = None
        self.at = -STORED_SECONDS


class Admission:
    """The counts of the environments that submit through this gateway."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[UUID, _Count] = {}
        self._stored: dict[UUID, _Stored] = {}
        self._task: asyncio.Task[None] | None = None

    async def check(self, environment: Environment, limit: int, count: int = 1) -> Admitted:
        """Enter the answer at once: `count` more jobs may be kept where `limit` may wait.

        Raises 409 `environment_not_ready`, 429 `queue_full`.
        """
        found = self._counts.get(environment.id)
        if found is None:
            admit(environment.status, 0, None)
            found = self._counts[environment.id] = _Count()
            await self._refresh([environment.id])
            self._start()
        found.used = now = monotonic()
        if found.total() + count > limit and (found.is_doubtful() or now - found.at > FRESH_SECONDS):
            await self._refresh([environment.id])
        admit(environment.status, found.total(), limit, count)
        return Admitted(found, count)

    async def store(self, environment: Environment, limit: int, size_bytes: int) -> None:
        """Return if an object of that size may be put into the bucket; raises 409 `quota_exceeded`."""
        found = self._stored.setdefault(environment.id, _Stored())
        if monotonic() - found.at >= STORED_SECONDS:
            found.at = monotonic()
            async with self._database.unit() as connection:
                row = await connection.fetchrow(_STORED, environment.id)
            if row is not None and row["measured_at"] != found.measured_at:
                found.bytes, found.put, found.measured_at = row["bytes"], 0, row["measured_at"]
        require_room(STORED_BYTES, limit, found.bytes + found.put, size_bytes)
        found.put += size_bytes

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_counting(), name="admission")

    async def close(self) -> None:
        await stop(self._task)

    async def _keep_counting(self) -> None:
        """Until nobody submits any more."""
        while self._counts:
            await asyncio.sleep(REFRESH_SECONDS)
            idle = monotonic() - IDLE_SECONDS
            for environment_id in [key for key, found in self._counts.items() if found.used < idle]:
                del self._counts[environment_id]
            try:
                await self._refresh(list(self._counts))
            except WaypostError as error:
                _log.warning("admission.not_counted", error=str(error))

    async def _refresh(self, environment_ids: list[UUID]) -> None:
        counts = [(key, self._counts[key]) for key in environment_ids if key in self._counts]
        before = [(key, found, found.finished(), found.under_way) for key, found in counts]
        async with self._database.unit() as connection:
            rows = await connection.fetch(_COUNT, environment_ids)
        waiting = {row["environment_id"]: row["waiting"] for row in rows}
        for key, found, finished, under_way in before:
            found.read(waiting.get(key, 0), finished, under_way)
