"""One gateway as a process: one loop that listens, serves and stops in order. What it speaks is gateway.http's.

Several gateways share a port: every listener is opened with SO_REUSEPORT.
"""

import asyncio
import gc
import signal
import socket

from gateway.http import Listener
from gateway.services import Services
from gateway.surface import edge
from storage.postgres.version import require_control_version
from storage.secrets import require_keks
from waypost.settings import GatewaySettings
from waypost.telemetry.internal import serve_internal
from waypost.telemetry.log import get_logger
from waypost.telemetry.ready import announce

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
    listener = Listener(edge(services))
    await listener.start(settings.http_host, port)
    internal, internal_port = await serve_internal(settings.internal_port, services.readiness)
    address = f"http://{settings.http_host}:{port}"
    gc.collect()
    gc.freeze()  # what the start made stays: it need not be looked at again
    gc.set_threshold(10_000, 20, 50)
    _log.info("gateway.ready", address=address, internal=f"http://127.0.0.1:{internal_port}")
    announce(address, f"http://127.0.0.1:{internal_port}", name=settings.process_name, fd=settings.ready_fd)
    await stop.wait()
    _log.info("gateway.stop", requests=services.in_progress)
    await shut(services, listener)
    internal.close()


async def shut(services: Services, listener: Listener) -> None:
    """No new connections; streams end, waits are cut short, everything else gets its answer."""
    services.stopping = True
    services.feed.close()
    listener.stop()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await services.idle.wait()
            await listener.closed()
    except TimeoutError:
        _log.warning("gateway.cut_off", requests=services.in_progress)
        listener.abort()


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
