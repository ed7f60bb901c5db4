"""A receiver of webhooks as a process: `python -P -m tests.bench.receiving` writes its port and answers every POST.

One in ten, chosen by its webhook-id and by how often it came, is answered 503; so what fails once succeeds at last.
"""

import asyncio
import sys
import zlib

_GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
FAILING = 10  # one in


class Endpoint(asyncio.Protocol):
    """One connection; requests with a body and a content-length, one after the other."""

    seen: dict[bytes, int] = {}  # noqa: RUF012 - of the whole process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(_value(head, b"content-length") or 0)
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            self._transport.write(self._answer(_value(head, b"webhook-id") + head.split(b" ", 2)[1]))  # type: ignore[attr-defined]

    def _answer(self, name: bytes) -> bytes:
        came = self.seen[name] = self.seen.get(name, 0) + 1
        return _BAD if zlib.crc32(b"%s %d" % (name, came)) % FAILING == 0 else _GOOD


def _value(head: bytes, name: bytes) -> bytes:
    place = head.find(b"\r\n" + name + b":")
    return b"" if place < 0 else head[place + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
