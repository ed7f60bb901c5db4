"""One relay: its parts put together, started in order, stopped in order.

Starting: database, session, listener. Stopping (SIGTERM): no new streams and no claims, wait for what runs, end the
streams, settle what is left as lost (it is tried again at once), end the session.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import structlog

from jobs import wake
from relay import metric
from relay.claiming import Claimer
from relay.departure import Departures
from relay.fleet import Fleet
from relay.hotset import HotSet, Queue
from relay.lease import Lease
from relay.liveness import Liveness
from relay.registrar import Registrar
from relay.room import Rooms
from relay.running import Running
from relay.server import listen, make_server
from relay.service import SERVICE, Service
from relay.settlement import Settlement
from relay.telling import Publisher
from relay.token import TokenVerifier
from relay.watcher import Watcher
from storage.objects.store import ObjectStore
from storage.postgres.database import Database
from storage.postgres.ledger.ledger import Ledger
from storage.postgres.version import require_control_version
from storage.secrets import EnvironmentKeys, require_keks
from storage.valkey.client import Valkey
from waypost.errors import WaypostError
from waypost.limit.decision import defaults
from waypost.secret import open_ring
from waypost.settings import RelaySettings
from waypost.telemetry.internal import serve_internal
from waypost.telemetry.ready import announce

TICK_SECONDS = 0.1
GC_THRESHOLD = (50_000, 50, 100)  # with a frozen heap: a third off the p99 at saturation (decision 12c)
OPEN_TRIES_SECONDS = 30.0
# gRPC's own thread hands every message to the loop and waits for the interpreter to do so: with Python's 5 ms the p99
# of an idle start was 11.5 ms, with this 7.3 (p50 4.6 and 3.6), at the same cost a job.
SWITCH_SECONDS = 0.00005

_log = structlog.get_logger("relay.process")


class Relay:
    """The parts of one relay process."""

    def __init__(self, settings: RelaySettings, database: Database, valkey: Valkey) -> None:
        self._settings, self._database, self._valkey = settings, database, valkey
        self._key_ring = open_ring(settings.kek_file, settings.kek)
        keys = EnvironmentKeys(database, self._key_ring)
        self._ledger = Ledger(database)
        self._fleet, hot = Fleet(), HotSet()
        self._publisher = Publisher(valkey, database, self._returned, self._slot_freed, defaults(settings.limits or {}))
        self._settlement = Settlement(self._ledger, self._on_settled)
        self._running = Running(
            self._fleet,
            self._publisher,
            ObjectStore(settings.s3_endpoint, keys),
            self._settlement,
            settings.node_grace_seconds,
        )
        self._claimer = Claimer(self._fleet, hot, self._ledger, self._running, keys)
        self._departures = Departures(self._fleet)
        self._watcher = Watcher(
            self._fleet, hot, self._claimer, self._running, self._departures, self._ledger, database, valkey,
            settings.slow_poll_seconds,
        )  # fmt: skip
        self._liveness = Liveness(self._fleet, settings.probe_seconds, settings.write_stall_seconds)
        self._registrar = Registrar(self._fleet, database)
        self._service = Service(
            self._fleet, TokenVerifier(database), database, self._watcher, self._running, self._publisher,
            self._liveness, self._registrar, self._departures, Rooms(database, defaults(settings.limits or {})),
        )  # fmt: skip
        self._server = make_server(SERVICE, self._service.handlers())
        self._lease: Lease | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._side_tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> str:
        """Serve; answers the nodes' address. OSError when the port is taken, `unavailable` without a database."""
        port = listen(
            self._server,
            self._settings.relay_host,
            self._settings.relay_port,
            self._settings.relay_tls_cert,
            self._settings.relay_tls_key,
        )
        address = f"{self._settings.relay_host}:{port}"
        identity = (self._settings.process_name, address, os.getpid())
        self._lease = Lease(self._ledger, identity, self._session_open, self._session_over)
        await self._watcher.open()
        await self._open_session(self._lease)
        for work in (
            self._lease.run(), self._claimer.run(), self._watcher.run_watch(), self._watcher.run_slow_poll(),
            self._liveness.run(), self._registrar.run(), self._publisher.run(), self._tick(),
        ):  # fmt: skip
            self._start_task(work)
        await self._server.start()
        return address

    async def _open_session(self, lease: Lease) -> None:
        """The first session, on a schema that is new enough; Postgres may still be starting."""
        deadline = asyncio.get_running_loop().time() + OPEN_TRIES_SECONDS
        while True:
            try:
                async with self._database.unit() as connection:
                    await require_control_version(connection)
                    await require_keks(connection, self._key_ring, register=False)
                await lease.open()
                break
            except WaypostError as error:
                if not error.retryable or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """None of these ends by itself: one that fails ends the process, and its supervisor starts another."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def stop(self) -> None:
        """The graceful stop: at most `drain_seconds` for what runs."""
        self._service.open = False
        self._claimer.stopped = True
        await self._departures.stop_all(self._settings.drain_seconds)
        given = self._running.give_up()
        _log.info("relay.stopping", nodes=len(self._fleet.nodes), given_up=given)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settlement.flushed(), 5)
        self._departures.end_all()
        await self._server.stop(2)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(WaypostError):
            await self._publisher.flush()
            await self._registrar.flush()
            if self._lease is not None:
                await self._lease.close()

    async def readiness(self) -> dict[str, str]:
        """Each dependency, "ok" or what is wrong. Valkey away is slower, not broken, but it is said."""
        states = {
            "session": "ok" if self._service.open else "no session",
            "valkey": "ok" if self._valkey.connected else "unreachable",
        }
        try:
            await self._database.ping()
            states["postgres"] = "ok"
        except WaypostError as error:
            states["postgres"] = error.code
        return states

    def _session_open(self, session: int) -> None:
        self._running.begin(session)
        self._registrar.resume(session)
        self._watcher.session = self._claimer.session = session
        self._service.open = True
        self._claimer.nudge()
        _log.info("session.open", session=session)

    def _session_over(self) -> None:
        """Nothing that runs here is ours any more: others may run it already."""
        self._service.open = False
        self._registrar.session = self._watcher.session = self._claimer.session = None
        self._running.drop_all()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._running.tick()
            self._departures.tick()
            metric.IN_FLIGHT.set(len(self._running.attempts))

    def _on_settled(self, batch: Any) -> None:
        self._running.settled(batch)

    def _slot_freed(self) -> None:
        self._claimer.nudge()

    def _returned(self, environment_id: UUID, queue: Queue, concurrency_key: str | None) -> None:
        """A job went back into its queue, or into the line of its key, or a permit came free: other relays may serve
        it.
        """
        if concurrency_key is None:
            self._wake([(environment_id, *queue)])
            return
        task = asyncio.create_task(self._release(environment_id, concurrency_key))
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    async def _release(self, environment_id: UUID, concurrency_key: str) -> None:
        """The next jobs of a concurrency key, if any; the sweeper is the net."""
        try:
            self._wake(await self._ledger.release_holds([(environment_id, concurrency_key)]), rewind=True)
        except WaypostError as error:
            _log.warning("holds.not_released", error=error.code)

    def _wake(self, places: list[tuple[UUID, int, int]], *, rewind: bool = False) -> None:
        """Tell every relay, this one without the detour."""
        for environment_id, route, rank in places:
            self._watcher.wake_up(environment_id, [(route, rank)], rewind=rewind)
        for channel, payload in wake.wakes(places, rewind=rewind):
            self._valkey.publish(channel, payload)


async def run(settings: RelaySettings) -> None:
    """A relay until SIGTERM or SIGINT, or until one of its parts fails."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    database = await Database.open(settings.database_url, name=settings.process_name)
    valkey = await Valkey.open(settings.valkey_url)
    relay = Relay(settings, database, valkey)
    internal, internal_port = await serve_internal(settings.internal_port, relay.readiness)
    try:
        address = await relay.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        sys.setswitchinterval(SWITCH_SECONDS)
        announce(address, f"127.0.0.1:{internal_port}", name=settings.process_name, fd=settings.ready_fd)
        _log.info("relay.serving", address=address, internal=internal_port)
        stop: asyncio.Future[Any] = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({stop, relay.failed}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.done():
            relay.failed.result()
        await relay.stop()
    finally:
        internal.close()
        await valkey.close()
        await database.close()
