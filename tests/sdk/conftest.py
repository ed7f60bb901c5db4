"""Commands in a fresh environment; and for the node runtime a fake relay and a fake token endpoint.

The fakes have real sockets and real grpc, and no platform behind.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import msgspec
import pytest
from waypost_contracts import cyoda_cloud_api_pb2_grpc
from waypost_contracts.cloudevents_pb2 import CloudEvent
from waypost_contracts.waypost_frame_pb2 import (
    Assign,
    Cancel,
    Drain,
    Finished,
    NodeFrame,
    RelayFrame,
    Settled,
)
from waypost_sdk.command.main import main


class FakeStream:
    """One node's stream as the fake relay sees it: what came in, and ways to send."""

    def __init__(self, context: Any, token: str, join: dict[str, Any]) -> None:
        self.context = context
        self.token = token
        self.join = join
        self.events: asyncio.Queue[CloudEvent] = asyncio.Queue()
        self.finished: asyncio.Queue[Finished] = asyncio.Queue()
        self.started: list[int] = []
        self.progress: list[Any] = []
        self.log: list[Any] = []
        self.told = asyncio.Condition()  # notified after every message
        self.closed = asyncio.Event()  # the node has closed its side
        self.cut = asyncio.Event()

    async def frame(self, **entries: Any) -> None:
        data = RelayFrame(**entries).SerializeToString()
        await self.context.write(CloudEvent(id=str(uuid4()), type="JobFrame", binary_data=data))

    async def text(self, kind: str, document: dict[str, Any]) -> None:
        text = msgspec.json.encode(document).decode()
        await self.context.write(CloudEvent(id=str(uuid4()), type=kind, text_data=text))

    async def assign(
        self, function: str, payload: bytes = b"", *, attempt: int = 1, deadline_ms: int = 60_000
    ) -> bytes:
        job_id = uuid4().bytes
        entry = Assign(
            attempt_id=attempt, job_id=job_id, function=function, payload=payload, deadline_ms=deadline_ms, number=1
        )
        await self.frame(assign=[entry])
        return job_id

    async def cancel(self, attempt: int, grace_ms: int = 10_000) -> None:
        await self.frame(cancel=[Cancel(attempt_id=attempt, grace_ms=grace_ms)])

    async def settle(self, attempt: int, *, accepted: bool = True) -> None:
        await self.frame(settled=[Settled(attempt_id=attempt, accepted=accepted)])

    async def drain(self) -> None:
        await self.frame(drain=Drain(reason="asked by the test"))

    async def answer(self, timeout: float = 10) -> Finished:  # noqa: ASYNC109 -- a test's patience
        return await asyncio.wait_for(self.finished.get(), timeout)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return when it is true, looking after every message of the node."""
        async with asyncio.timeout(10), self.told:
            await self.told.wait_for(predicate)

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of that type that is not a frame."""
        while True:
            event = await asyncio.wait_for(self.events.get(), 10)
            if event.type == kind:
                return msgspec.json.decode(event.text_data)


class FakeRelay(cyoda_cloud_api_pb2_grpc.CloudEventsServiceServicer):
    """Greets every node that joins; tests play the rest through `streams`."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: asyncio.Queue[FakeStream] = asyncio.Queue()
        self.silent = False  # gives no sign before the join, as a relay of an older version
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        cyoda_cloud_api_pb2_grpc.add_CloudEventsServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def joined(self) -> FakeStream:
        return await asyncio.wait_for(self.streams.get(), 15)

    async def startStreaming(self, request_iterator: Any, context: Any) -> None:  # noqa: N802 -- the wire's name
        if self.refuse is not None:
            await context.abort(*self.refuse)
        if not self.silent:
            await context.send_initial_metadata(())
        token = dict(context.invocation_metadata())["authorization"]
        join = msgspec.json.decode((await context.read()).text_data)
        stream = FakeStream(context, token, join)
        await stream.text("CalculationMemberGreetEvent", {"id": "m", "memberId": "m", "success": True})
        self.streams.put_nowait(stream)
        reader = asyncio.create_task(self._read(stream))
        cut = asyncio.create_task(stream.cut.wait())
        try:
            await asyncio.wait([reader, cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            cut.cancel()
        if stream.cut.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")

    async def _read(self, stream: FakeStream) -> None:
        while (event := await stream.context.read()) is not grpc.aio.EOF:
            if event.type != "JobFrame":
                stream.events.put_nowait(event)
                continue
            frame = NodeFrame.FromString(event.binary_data)
            stream.started += [entry.attempt_id for entry in frame.started]
            stream.progress += frame.progress
            stream.log += frame.log
            for entry in frame.finished:
                stream.finished.put_nowait(entry)
            async with stream.told:
                stream.told.notify_all()
        stream.closed.set()


class FakeHttp:
    """A tiny HTTP/1.1 server: `answers` decides, `requests` remembers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], bytes] | None]
        self.answer = lambda *_: (200, {}, b"{}")
        self._server: asyncio.Server | None = None
        self.url = ""
        self.asked = asyncio.Condition()  # notified after every request

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "http://{}:{}".format(*self._server.sockets[0].getsockname())

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return when it is true, looking after every request."""
        async with asyncio.timeout(15), self.asked:
            await self.asked.wait_for(predicate)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((method, path, headers, body))
                answer = self.answer(method, path, headers, body)
                async with self.asked:
                    self.asked.notify_all()
                if answer is None:  # cut the connection without a word
                    break
                status, more, content = answer
                fields = {"content-length": str(len(content)), **more}
                text = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + content)
                await writer.drain()
                if "connection" in more:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def fake_relay() -> AsyncIterator[FakeRelay]:
    relay = FakeRelay()
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
async def fake_http() -> AsyncIterator[FakeHttp]:
    """Answers token requests from the start; tests set `answer` for more."""
    server = FakeHttp()
    token = msgspec.json.encode({"access_token": "token-1", "token_type": "Bearer", "expires_in": 3600})
    server.answer = lambda *_: (200, {"content-type": "application/json"}, token)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def fake_http_in_thread() -> Iterator[FakeHttp]:
    """The same in a thread of its own, for callers that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def make() -> FakeHttp:
        server = FakeHttp()
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(make(), loop).result(10)
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.fixture
def make_node(fake_relay: FakeRelay, fake_http: FakeHttp) -> Callable[..., Any]:
    """A node that dials the fakes; `async with serving(node)` runs it."""
    from waypost_sdk import Node

    def make(**more: Any) -> Node:
        return Node(relay=fake_relay.address, url=fake_http.url, client_id="id", client_secret="secret", **more)

    return make


@pytest.fixture
def serving() -> Callable[[Any], Any]:
    @asynccontextmanager
    async def serve(node: Any) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(node.serve())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return serve


@pytest.fixture
def variables(platform: Any, environment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The variables of a command for a fresh environment."""
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("WAYPOST_URL", platform.api_url)
    monkeypatch.setenv("WAYPOST_KEY", platform.admin_key)
    monkeypatch.setenv("WAYPOST_ENVIRONMENT", environment.place)
    return environment


def output_of(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What the command `waypost` printed, run in this process; it ended with that exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    return captured.out
