"""The worker process: platform functions under Dramatiq, the sweep of their hints, the timers of the ledger.

Dramatiq's threads only carry ids to this loop; everything runs here, on one pool of connections. Nothing here leads:
any number of workers do the same, and rows arbitrate (decision 14).
"""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import dramatiq

from functions.artifact.ingest import ingest
from functions.environment import measure, reconcile, register
from functions.environment.migrate import migrate
from functions.environment.phase import EnvironmentPorts
from functions.environment.reserve import SigningKeys
from functions.job.replay import ReplayPorts, give_up, replay
from functions.project.delete import delete as delete_project
from functions.retention.sweep import SweepPorts
from functions.retention.sweep import sweep as sweep_environment
from functions.usage.roll_up import roll_up
from functions.webhook.deliver import deliverer
from functions.webhook.network import CheckedNetwork, SystemResolver
from functions.webhook.send import Sender
from jobs.artifact import ArtifactUpkeep
from jobs.audit import Sealer
from jobs.delivery import Deliveries
from jobs.fan_out import FanOut
from jobs.log import LongLogs
from jobs.platform import ACTOR, NUDGE_CHANNEL, QUEUE, Hints, PlatformRunner, make_broker
from jobs.retention import Retention, Sweeps
from jobs.schedule import Schedules
from jobs.timers import run_timers
from jobs.usage import UsageFollower
from storage.objects.admin import ObjectAdmin
from storage.objects.artifact import ArtifactObjects
from storage.objects.seal import SealStore
from storage.objects.store import ObjectStore
from storage.postgres.database import Database
from storage.postgres.environment.outdated import MIGRATE
from storage.postgres.ledger.ledger import Ledger
from storage.postgres.person import retention as people
from storage.postgres.version import require_control_version
from storage.secrets import EnvironmentKeys, require_keks
from storage.valkey.client import Valkey
from waypost.artifact.model import INGEST
from waypost.errors import WaypostError
from waypost.job.replay import REPLAY
from waypost.limit.decision import defaults
from waypost.retention.model import SWEEP, operator_days
from waypost.secret import open_ring
from waypost.settings import WorkerSettings
from waypost.telemetry.internal import OK, serve_internal
from waypost.telemetry.log import get_logger
from waypost.telemetry.ready import announce
from waypost.tenancy.model import DELETE_PROJECT
from waypost.usage.model import ROLL_UP

THREADS = 4  # platform jobs of this process at once
POLL_MILLISECONDS = 200  # Dramatiq's longest wait between looks at an empty queue
SWEEP_SECONDS = 1.0
LEASE_SECONDS = 30.0
RENEW_SECONDS = 5.0
STOP_SECONDS = 10.0
RECONCILE_SECONDS = 30.0  # between two questions whose turn it is
KEYS_IN_RESERVE = 4

_log = get_logger("functions.worker")


class Worker:
    """One worker process. `run` returns after `stop` (or SIGTERM) when everything in progress is settled."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._session = 0

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Raises WaypostError when it cannot start: the schema is too old, PostgreSQL is away."""
        settings = self._settings
        key_ring = open_ring(settings.kek_file, settings.kek)
        async with contextlib.AsyncExitStack() as stack:
            database = await Database.open(settings.database_url, name=settings.process_name)
            stack.push_async_callback(database.close)
            provisioner = await Database.open(
                settings.provisioner_database_url, name=f"{settings.process_name} provisioner", pool_size=THREADS
            )
            stack.push_async_callback(provisioner.close)
            async with database.unit() as connection:
                await require_control_version(connection)
                await require_keks(connection, key_ring)
            valkey = await Valkey.open(settings.valkey_url)
            stack.push_async_callback(valkey.close)
            keys = EnvironmentKeys(database, key_ring)
            admin = ObjectAdmin(settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key)
            ports = EnvironmentPorts(
                database, provisioner, keys, admin, valkey, settings.delete_grace_seconds, SigningKeys(KEYS_IN_RESERVE)
            )
            await self._serve(ports, ObjectStore(settings.s3_endpoint, keys), stack)

    async def _serve(self, ports: EnvironmentPorts, objects: ObjectStore, stack: contextlib.AsyncExitStack) -> None:
        ledger = Ledger(ports.database)
        artifacts = ArtifactObjects(self._settings.s3_endpoint, ports.keys, objects)
        stack.push_async_callback(artifacts.close)
        self._session = await self._open_session(ledger)
        runner = PlatformRunner(
            ports.database,
            {
                **register.handlers(ports),
                DELETE_PROJECT: functools.partial(delete_project, database=ports.database, valkey=ports.valkey),
                SWEEP: functools.partial(sweep_environment, ports=SweepPorts(ports.database, artifacts, self._days())),
                REPLAY: functools.partial(replay, ports=self._replay_ports(ports, ledger, objects)),
                INGEST: functools.partial(ingest, database=ports.database, objects=artifacts),
                ROLL_UP: functools.partial(roll_up, database=ports.database),
                MIGRATE: functools.partial(
                    migrate, ports=ports, provisioner_url=self._settings.provisioner_database_url
                ),
            },
            {**register.on_end(ports), REPLAY: functools.partial(give_up, database=ports.database)},
            lambda: self._session,
        )
        hints = Hints(self._settings.valkey_url)
        server, port = await serve_internal(self._settings.internal_port, functools.partial(_readiness, ports, objects))
        stack.callback(server.close)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        nudged = asyncio.Event()
        await ports.valkey.subscribe([NUDGE_CHANNEL], lambda _channel, _payload: nudged.set())
        consumer = _consume(self._settings.valkey_url, loop, runner.run)
        sweep, renew = functools.partial(hints.sweep, ports.database), functools.partial(self._renew, ledger)
        forget = functools.partial(people.forget_people, ports.database)
        retention = Retention(ledger, objects, self._settings.results_days, self._settings.job_days)
        sealer = self._sealer(ports.database)
        schedules = Schedules(ports.database, ledger, ports.keys, ports.valkey, defaults(self._settings.limits or {}))
        logs = LongLogs(ports.database, objects, ports.keys, defaults(self._settings.limits or {}))
        deliveries = self._deliveries(ports, stack)
        fan_out = FanOut(ports.database, ports.keys, deliveries.wake)
        measuring = functools.partial(measure.tick, ports.database, ports.objects)
        reconciling = functools.partial(reconcile.tick, ports, self._settings.reconcile_seconds)
        tasks = [
            asyncio.create_task(every(SWEEP_SECONDS, sweep, nudged), name="sweep"),
            asyncio.create_task(every(RENEW_SECONDS, renew, asyncio.Event()), name="renew"),
            asyncio.create_task(every(people.EVERY_SECONDS, forget, asyncio.Event()), name="people"),
            asyncio.create_task(ports.signing_keys.fill(), name="reserve"),
            asyncio.create_task(every(measure.TICK_SECONDS, measuring, asyncio.Event()), name="measure"),
            asyncio.create_task(every(RECONCILE_SECONDS, reconciling, asyncio.Event()), name="reconcile"),
            asyncio.create_task(deliveries.run(self._stop), name="deliveries"),
            asyncio.create_task(
                run_timers(
                    ledger,
                    ports.valkey,
                    self._stop,
                    retention.tick,
                    sealing=sealer.tick,
                    schedules=schedules.tick,
                    logs=logs.tick,
                    sweeps=Sweeps(ports.database, ports.valkey).tick,
                    fan_out=fan_out.tick,
                    abandoned=deliveries.abandon,
                    usage=UsageFollower(ports.database, seconds=self._settings.usage_seconds).tick,
                    artifacts=ArtifactUpkeep(ports.database, artifacts).tick,
                ),
                name="timers",
            ),
        ]
        announce("", f"127.0.0.1:{port}", name=self._settings.process_name, fd=self._settings.ready_fd)
        _log.info("worker.start", session=self._session, internal=port)
        try:
            await _first(self._stop, tasks)
        finally:
            await asyncio.to_thread(consumer.stop, timeout=int(STOP_SECONDS * 1000))
            await _finish(tasks)
            with contextlib.suppress(WaypostError):
                await ledger.close_session(self._session)
            _log.info("worker.stop")

    def _days(self) -> dict[str, int]:
        return operator_days(self._settings)

    def _replay_ports(self, ports: EnvironmentPorts, ledger: Ledger, objects: ObjectStore) -> ReplayPorts:
        limits = defaults(self._settings.limits or {})
        return ReplayPorts(ports.database, ledger, ports.keys, objects, ports.valkey, limits)

    def _deliveries(self, ports: EnvironmentPorts, stack: contextlib.AsyncExitStack) -> Deliveries:
        resolver = SystemResolver()
        stack.callback(resolver.close)
        sender = Sender(CheckedNetwork(self._settings.delivery_allow or (), resolver))
        stack.push_async_callback(sender.close)
        return Deliveries(ports.database, deliverer(ports.keys, sender), ports.valkey)

    def _sealer(self, database: Database) -> Sealer:
        settings = self._settings
        copies = SealStore(settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key)
        return Sealer(database, copies, seconds=settings.audit_seal_seconds, keep_days=settings.audit_days)

    async def _open_session(self, ledger: Ledger) -> int:
        return await ledger.open_session(self._settings.process_name, "worker", "", os.getpid(), LEASE_SECONDS)

    async def _renew(self, ledger: Ledger) -> None:
        if not await ledger.renew_session(self._session, LEASE_SECONDS):
            _log.warning("worker.lease_lost", session=self._session)
            self._session = await self._open_session(ledger)


def _consume(
    valkey_url: str, loop: asyncio.AbstractEventLoop, run: Callable[[UUID], Awaitable[bool]]
) -> dramatiq.Worker:
    """Start Dramatiq's threads in this process: each hint becomes one `run` on the loop."""
    broker = make_broker(valkey_url)

    async def attempt(job_id: UUID) -> None:
        try:
            await run(job_id)
        except WaypostError as error:  # before or after the attempt itself; the sweep comes again
            _log.warning("platform_job.hint_dropped", job=str(job_id), error=error.code)

    def carry(job_id: str) -> None:
        asyncio.run_coroutine_threadsafe(attempt(UUID(job_id)), loop).result()

    dramatiq.actor(carry, broker=broker, queue_name=QUEUE, actor_name=ACTOR)
    worker = dramatiq.Worker(broker, worker_threads=THREADS, worker_timeout=POLL_MILLISECONDS)
    # Of more than it can run a dead worker would keep the others waiting for the sweep; of fewer its threads stay idle.
    worker.queue_prefetch = THREADS
    worker.start()
    return worker


async def every(seconds: float, work: Callable[[], Awaitable[Any]], nudged: asyncio.Event) -> None:
    """Do it now, every so often, and when nudged; a server that is away is tried again at the next turn."""
    while True:
        nudged.clear()
        try:
            await work()
        except WaypostError as error:
            _log.warning("worker.tick_failed", error=error.code)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(nudged.wait(), seconds)


async def _first(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the stop; a task that ends before it has failed, and its error ends the process."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        task.result()


async def _finish(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.get_name() not in ("timers", "deliveries"):  # they watch the stop themselves, between two turns
            task.cancel()
    done, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in late:
        task.cancel()
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("worker.task_failed", task=task.get_name(), error=repr(error))


async def _readiness(ports: EnvironmentPorts, objects: ObjectStore) -> dict[str, str]:
    states = {"valkey": OK if ports.valkey.connected else "not connected"}
    for name, ping in (("postgres", ports.database.ping), ("objects", objects.ping)):
        try:
            await ping()
            states[name] = OK
        except WaypostError as error:
            states[name] = error.code
    return states
