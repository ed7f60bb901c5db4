"""A TCP relay in front of a server, to take it away from a browser and to give it back."""

import asyncio
import contextlib
import socket
from urllib.parse import urlsplit


class Proxy:
    """`url` stays the same over `down` and `up`; going down cuts every connection."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        # Bound and never listening: while it is down nobody else is given its port.
        self._place = _bound(0)
        self._port = self._place.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=_bound(self._port))

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            self._server = None

    async def close(self) -> None:
        """For good: somebody else may have the port."""
        await self.down()
        self._place.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(*self._target)
        self._open |= {writer, away}
        try:
            await asyncio.gather(_copy(reader, away), _copy(there, writer))
        finally:
            for one in (writer, away):
                self._open.discard(one)
                one.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.close()
