"""Platform jobs: hints out through Dramatiq, rows claimed by id, ends and retries by our rules (decision 13).

A hint carries only an id and can be lost or doubled: the claim decides, and the sweep sends it again. At most
`HINTS_PER_ENVIRONMENT` of one environment are out at a time, because Dramatiq is first in, first out. Dramatiq and
redis are loaded with the first hint.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.platform import job as rows
from storage.postgres.platform.job import PlatformJob
from storage.valkey.address import parse_address
from storage.valkey.client import Valkey
from waypost import ids
from waypost.errors import WaypostError
from waypost.job.decision import after_failure
from waypost.job.model import End, Outcome, Policy, RetryPolicy
from waypost.telemetry import metric
from waypost.telemetry.log import get_logger

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker

QUEUE = "platform"
ACTOR = "platform_job"
NUDGE_CHANNEL = "wp:platform"
HINTS_PER_ENVIRONMENT = 4
STALE_SECONDS = 15.0  # a hint that led nowhere for so long is sent again
MAX_ERROR_CHARACTERS = 500

Handler = Callable[[PlatformJob], Awaitable[None]]
# Told once when a job of a kind has ended without success, with the reason.
OnEnd = Callable[[PlatformJob, str], Awaitable[None]]

_log = get_logger("jobs.platform")
_ended = metric.counter("platform_jobs_ended", "Platform job attempts that ended", ("kind", "outcome"))


class Later(Exception):  # noqa: N818 - no error: it is not time yet
    """Raised by a handler that has to wait for something: run it again in so many seconds, as if this attempt had not
    been. So nothing that waits keeps a thread of the worker."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


def make_broker(valkey_url: str) -> "RedisBroker":
    """Dramatiq's broker on Valkey, without any of its middleware: no retries, limits or callbacks but ours."""
    import redis
    from dramatiq.brokers.redis import RedisBroker

    address = parse_address(valkey_url)
    where: dict[str, Any] = (
        {"unix_socket_path": address.path} if address.path else {"host": address.host, "port": address.port}
    )
    client = redis.Redis(
        **where,
        db=address.database,
        username=address.user,
        password=address.password,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=15,
    )
    return RedisBroker(client=client, middleware=[], namespace="wp:dramatiq", dead_message_ttl=60_000)


def nudge(valkey: Valkey) -> None:
    """After a commit that queued a platform job: workers sweep now rather than at their next tick. Can be lost.

    So a process that only queues jobs needs neither Dramatiq nor redis.
    """
    valkey.publish(NUDGE_CHANNEL, b"[]")


class Hints:
    """Sends hints; a broker that is away costs only time, as the sweep comes again."""

    def __init__(self, valkey_url: str) -> None:
        self._url = valkey_url
        self._broker: RedisBroker | None = None

    async def send(self, job_ids: list[UUID]) -> None:
        """Never raises."""
        if job_ids:
            await asyncio.to_thread(self._send, job_ids)

    def _send(self, job_ids: list[UUID]) -> None:
        import redis
        from dramatiq import Message

        if self._broker is None:
            self._broker = make_broker(self._url)
        try:
            for job_id in job_ids:
                self._broker.enqueue(Message(QUEUE, ACTOR, (str(job_id),), {}, {}))
        except (redis.RedisError, OSError) as error:
            _log.warning("platform_job.hint_lost", error=type(error).__name__)

    async def sweep(self, database: Database, *, stale_seconds: float = STALE_SECONDS) -> int:
        """Hint what may run now and has no recent hint: at a worker's ticks, and when somebody nudged."""
        async with database.unit() as connection:
            due = await rows.take_hints(connection, stale_seconds=stale_seconds, per_environment=HINTS_PER_ENVIRONMENT)
        await self.send(due)
        return len(due)


class PlatformRunner:
    """Runs hinted jobs in this process, under one session of it."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        on_end: Mapping[str, OnEnd],
        session: Callable[[], int],
    ) -> None:
        self._database, self._handlers, self._on_end, self._session = database, handlers, on_end, session

    async def run(self, job_id: UUID) -> bool:
        """One attempt of the job, if it may run now; True when an attempt was made. Errors become its outcome."""
        attempt = ids.new_attempt_id()
        async with self._database.unit() as connection:
            job = await rows.claim_platform_job(connection, job_id, self._session(), attempt)
        if job is None:
            return False
        log = _log.bind(job=str(job.id), kind=job.kind, subject=str(job.subject), number=job.number)
        if job.number > job.max_attempts:
            await self._fail(job, attempt, "its worker was lost in the last attempt", retryable=True)
            return False
        log.info("platform_job.start")
        try:
            await self._handlers[job.kind](job)
        except Later as later:
            async with self._database.unit() as connection:
                accepted = await rows.postpone_platform_job(connection, job.id, attempt, later.seconds)
            _ended.labels(job.kind, "postponed" if accepted else "stale").inc()
        except Exception as error:
            retryable = not isinstance(error, WaypostError) or error.retryable
            log.warning("platform_job.failed", error=describe(error), exc_info=not isinstance(error, WaypostError))
            await self._fail(job, attempt, describe(error), retryable=retryable)
        else:
            async with self._database.unit() as connection:
                accepted = await rows.complete_platform_job(connection, job.id, attempt)
            _ended.labels(job.kind, "completed" if accepted else "stale").inc()
            log.info("platform_job.end", accepted=accepted)
        return True

    async def _fail(self, job: PlatformJob, attempt: int, error: str, *, retryable: bool) -> None:
        policy = Policy(retry=RetryPolicy(max_attempts=job.max_attempts, initial_seconds=1.0, max_seconds=60.0))
        chance = random.random()  # noqa: S311 - spreads retries, no secret
        following = after_failure(policy, job.number, Outcome.FAILED, retryable, chance)
        async with self._database.unit() as connection:
            if isinstance(following, End):
                dead = following is End.DEAD_LETTER
                accepted = await rows.end_platform_job(connection, job.id, attempt, error, dead_letter=dead)
            else:
                accepted = await rows.retry_platform_job(connection, job.id, attempt, error, following)
        outcome = following.name.lower() if isinstance(following, End) else "retrying"
        _ended.labels(job.kind, outcome if accepted else "stale").inc()
        if accepted and isinstance(following, End) and job.kind in self._on_end:
            await self._on_end[job.kind](job, error)


def describe(error: BaseException) -> str:
    """An error as a person may read it in a record: our own sentence, or class and message, cut to a bound."""
    text = error.detail if isinstance(error, WaypostError) else f"{type(error).__name__}: {error}"
    return text[:MAX_ERROR_CHARACTERS]
