"""One gateway as a process: Granian embedded in our own asyncio loop, so that a gateway is one process.

Measured with an empty application on two cores, 64 connections: embedded with uvloop 36,500 requests/s, 35 MiB; without
uvloop 25,600; Granian's own supervisor with one worker 36,900–37,700, in two processes of 33 MiB each. Several gateways
share a port: every listener is opened with SO_REUSEPORT.
"""

import asyncio
import gc
import signal
import socket

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from gateway.services import Services
from gateway.surface import edge
from storage.postgres.version import require_control_version
from storage.secrets import require_keks
from waypost.settings import GatewaySettings
from waypost.telemetry.internal import serve_internal
from waypost.telemetry.log import get_logger
from waypost.telemetry.ready import announce

HEADER_SECONDS = 30  # for the head of a request, and how long an idle connection is kept
BACKLOG = 4096  # connections waiting, and requests at once
DRAIN_SECONDS = 20.0  # for requests in progress, when stopping

_log = get_logger("gateway")


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is in progress, and close everything."""
    services = await Services.open(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    try:
        async with services.database.unit() as connection:
            await require_control_version(connection)
            await require_keks(connection, services.key_ring)
        with reserved_port(settings.http_host, settings.http_port) as port:
            await _serve(settings, services, stop, port)
    finally:
        await services.close()


async def _serve(settings: GatewaySettings, services: Services, stop: asyncio.Event, port: int) -> None:
    server = _server(edge(services), settings.http_host, port)
    serving = asyncio.create_task(server.serve(), name="http")
    internal, internal_port = await serve_internal(settings.internal_port, services.readiness)
    address = f"http://{settings.http_host}:{port}"
    await _listening(settings.http_host, port, serving)
    gc.collect()
    gc.freeze()  # what the start made stays: it need not be looked at again
    gc.set_threshold(10_000, 20, 50)
    _log.info("gateway.ready", address=address, internal=f"http://127.0.0.1:{internal_port}")
    announce(address, f"http://127.0.0.1:{internal_port}", name=settings.process_name, fd=settings.ready_fd)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, serving}, return_when=asyncio.FIRST_COMPLETED)
    _log.info("gateway.stop", requests=services.in_progress)
    await _stop(services, server, serving)
    internal.close()


async def _stop(services: Services, server: Server, serving: "asyncio.Task[None]") -> None:
    """No new connections; streams end, waits are cut short, everything else gets its answer."""
    services.stopping = True
    services.feed.close()
    server.stop()  # type: ignore[no-untyped-call]  # Granian's
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await serving
            await services.idle.wait()
    except TimeoutError:
        _log.warning("gateway.cut_off", requests=services.in_progress)


def _server(application: object, host: str, port: int) -> Server:
    return Server(
        application,
        host,
        port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000, max_buffer_size=64 << 10),
    )


class reserved_port:  # noqa: N801 - a context manager
    """A port that stays ours between choosing and listening: bound, with SO_REUSEPORT, and never listened on."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, port))

    def __enter__(self) -> int:
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.close()


async def _listening(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    """Return when the listener takes connections; raises what ended it otherwise."""
    for _ in range(500):
        if serving.done():
            break
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    serving.cancel()
    raise RuntimeError(f"cannot listen on {host}:{port}")
