"""`waypost subscriptions`, `client.subscriptions` and `waypost listen` against the whole platform."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from standardwebhooks import Webhook
from waypost_sdk import AsyncClient
from waypost_sdk.command.main import main
from waypost_sdk.http.subscription import webhook_id
from waypost_sdk.signature import new_secret, signed_headers

from tests.receiver import Receiver, answer, break_off


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


@pytest.fixture
def waypost(variables: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the command answers, run in a thread beside the receivers of this loop."""

    async def run(*words: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, list(words))
        captured = capsys.readouterr()
        assert ended.value.code == code, captured.err
        return json.loads(captured.out) if captured.out else None

    return run


@asynccontextmanager
async def listening(*words: str, until: str = "Listening to") -> AsyncIterator[Any]:
    """`waypost listen`, once it is connected; interrupted at the end, as by Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "waypost_sdk.command.main", "listen", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(15):
            while until not in (line := (await process.stderr.readline()).decode()):  # type: ignore[union-attr]
                assert line, "it has ended"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def line_of(stream: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(15):
        return json.loads(await stream.readline())


async def cancel_a_job(client: httpx.AsyncClient, path: str) -> str:
    made = await client.post(f"{path}/jobs", json={"function": "text.count", "labels": {"order": "A-17"}})
    assert (await client.post(f"{path}/jobs/{made.json()['id']}/cancel")).status_code in (200, 202)
    return str(made.json()["id"])


async def test_subscriptions_are_managed_from_the_command_line(waypost: Any, receiver: Receiver) -> None:
    """create, list, get, update, rotate-secret, test, deliveries, delivery, redeliver, replay, delete."""
    began = datetime.now(UTC) - timedelta(seconds=5)
    made = await waypost("subscriptions", "create", receiver.url, "--event", "job.*", "--description", "mine")
    assert (made["events"], made["enabled"]) == (["job.*"], True)
    assert made["secret"].startswith("whsec_")
    assert [one["id"] for one in await waypost("subscriptions", "list")] == [made["id"]]
    assert "secret" not in {
        name for name, value in (await waypost("subscriptions", "get", made["id"])).items() if value
    }
    rotated = await waypost("subscriptions", "rotate-secret", made["id"], "--overlap", "1h")
    sent = await waypost("subscriptions", "test", made["id"])
    (got,) = await receiver.until(1)
    got.verify(made["secret"])
    got.verify(rotated["secret"])
    listed: list[Any] = []
    while not listed:  # until its end is written down
        listed = await waypost("subscriptions", "deliveries", made["id"], "--state", "delivered")
    assert [one["id"] for one in listed] == [sent["id"]]
    assert await waypost("subscriptions", "deliveries", made["id"], "--event-id", sent["event_id"]) == listed
    assert await waypost("subscriptions", "deliveries", made["id"], "--event-id", made["id"]) == []
    shown = await waypost("subscriptions", "delivery", made["id"], sent["id"])
    assert (shown["tries"][0]["status"], shown["request"]["body"]["type"]) == (200, "subscription.test")
    await waypost("subscriptions", "redeliver", made["id"], sent["id"])
    await receiver.until(2)
    replayed: dict[str, Any] = {"replayed": 0}
    span = ("--from", began.isoformat(), "--to", (began + timedelta(minutes=1)).isoformat())
    while not replayed["replayed"]:  # what is still being sent is not replayed
        replayed = await waypost("subscriptions", "replay", made["id"], *span)
    third = (await receiver.until(3))[2]
    assert third.id == got.id
    off = await waypost("subscriptions", "update", made["id"], "--disable")
    assert (off["enabled"], off["disabled_reason"]) == (False, "asked")
    await waypost("subscriptions", "update", made["id"], code=2)
    await waypost("subscriptions", "delete", made["id"])
    assert await waypost("subscriptions", "list") == []
    await waypost("subscriptions", "get", made["id"], code=7)


async def test_the_live_stream_has_the_body_that_a_delivery_has(
    platform: Any, environment: Any, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    """Same webhook-id, same bytes; only what was asked for; a viewer may look."""
    async with AsyncClient(platform.api_url, platform.admin_key, environment.place) as sdk:
        made = await sdk.subscriptions.create(receiver.url, "job.canceled")
        viewer = await client.post(f"{environment.path}/keys", json={"name": "v", "role": "viewer"})
    async with AsyncClient(platform.api_url, viewer.json()["key"], environment.place) as sdk:
        stream = sdk.subscriptions.live(["job.canceled", "environment.*", "job.completed"])
        assert (await anext(stream)).type == "stream.connected"
        job = await cancel_a_job(client, environment.path)
        event = await anext(stream)
    (got,) = await receiver.until(1)
    got.verify(made.secret or "")
    assert (event.type, webhook_id(event)) == ("job.canceled", job)
    assert msgspec.json.encode(event.data) == got.body


async def test_the_stream_resumes_where_it_was_left(platform: Any, environment: Any, client: httpx.AsyncClient) -> None:
    """With the id of the last event, also of `stream.connected`: nothing of a job is lost; environment events too."""
    async with AsyncClient(platform.api_url, platform.admin_key, environment.place) as sdk:
        hello = await anext(sdk.subscriptions.live("*"))
        first = await cancel_a_job(client, environment.path)
        second = await cancel_a_job(client, environment.path)
        stream = sdk.subscriptions.live("*", last_event_id=hello.id)
        assert (await anext(stream)).type == "stream.connected"
        found = [await anext(stream), await anext(stream)]
        assert [webhook_id(one) for one in found] == [first, second]
        stream = sdk.subscriptions.live("*", last_event_id=found[0].id)
        again = [await anext(stream) for _ in range(3)]
        assert second in [webhook_id(one) for one in again[1:]]
        suspended = sdk.subscriptions.live("environment.*")
        await anext(suspended)
        assert (await client.post(f"{environment.path}/suspend")).status_code == 202
        told = await anext(suspended)
        assert (told.type, told.data["data"]["status"]) == ("environment.suspended", "suspended")
    for query in ({"event": "job.started"}, {"event": ["job.*"] * 33}):
        assert (await client.get(f"{environment.path}/events/webhooks", params=query)).status_code == 422
    for wrong in ("yesterday", "12-34", f"{'9' * 30}-{first}"):
        refused = await client.get(f"{environment.path}/events/webhooks", headers={"Last-Event-ID": wrong})
        assert refused.json()["code"] == "invalid_event_id", wrong


async def test_events_are_forwarded_signed_to_a_local_program(
    variables: Any, client: httpx.AsyncClient, receiver: Receiver, tmp_path: Path
) -> None:
    """A line an event with status and latency; the secret that is printed verifies; it is the same the next time."""
    secrets = []
    for status in (200, 500):
        receiver.behave = answer(status)
        async with listening("--forward-to", receiver.url, "--events", "job.canceled,job.failed") as process:
            secrets.append((await process.stderr.readline()).decode().removeprefix("Signing secret: ").strip())
            job = await cancel_a_job(client, variables.path)
            line = await line_of(process.stdout)
        assert (line["id"], line["event"], line["status"], line["error"]) == (job, "job.canceled", status, None)
        assert 0 < line["latency_ms"] < 5_000
        got = receiver.requests[-1]
        got.verify(secrets[0])
        assert (got.id, got.event["data"]["labels"]) == (job, {"order": "A-17"})
    assert secrets[0] == secrets[1]
    assert (tmp_path / "listen.toml").stat().st_mode & 0o777 == 0o600


async def test_listening_goes_on_after_the_program_and_the_platform_were_away(
    variables: Any, platform: Any, client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that breaks off or is not there is told of in its line; a cut connection is made again, and what
    happened meanwhile follows."""
    async with Cut(platform.api_url) as cut:
        monkeypatch.setenv("WAYPOST_URL", cut.url)
        monkeypatch.setenv("WAYPOST_LISTEN_SECRET", secret := new_secret())
        receiver.behave = break_off
        async with listening("--forward-to", receiver.url, "--events", "job.*") as process:
            job = await cancel_a_job(client, variables.path)
            line = await line_of(process.stdout)
            assert (line["id"], line["status"]) == (job, None)
            assert line["error"]
            receiver.behave = answer(204)
            cut.close()
            missed = await cancel_a_job(client, variables.path)
            await cut.open()
            line = await line_of(process.stdout)
            assert (line["id"], line["status"]) == (missed, 204)
            receiver.requests[-1].verify(secret)


async def test_events_of_the_environment_follow_that_happened_without_a_connection(
    variables: Any, platform: Any, client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended and resumed while the way to the platform is cut, told in that order and each once, with the
    `webhook-id` that a delivery of it has; and again after the next cut nothing twice."""
    async with AsyncClient(platform.api_url, platform.admin_key, variables.place) as sdk:
        made = await sdk.subscriptions.create(receiver.url, "environment.*")
    async with Cut(platform.api_url) as cut:
        monkeypatch.setenv("WAYPOST_URL", cut.url)
        # A stream that resumes begins ten seconds earlier: with environment.* it would tell of environment.ready, too.
        async with listening("--events", "environment.suspended,environment.resumed,job.*") as process:
            cut.close()
            for change, status in (("suspend", "suspended"), ("resume", "ready")):
                assert (await client.post(f"{variables.path}/{change}")).status_code == 202
                await reached(client, variables.path, status)
            await cut.open()
            lines = [await line_of(process.stdout) for _ in range(2)]
            assert [line["event"] for line in lines] == ["environment.suspended", "environment.resumed"]
            cut.close()
            await cut.open()
            job = await cancel_a_job(client, variables.path)
            assert (await line_of(process.stdout))["id"] == job
    got = await receiver.until(2)
    got[0].verify(made.secret or "")
    assert {one.id for one in got} == {line["id"] for line in lines}


async def reached(client: httpx.AsyncClient, path: str, status: str) -> None:
    async with asyncio.timeout(15):
        while (await client.get(path)).json()["status"] != status:  # noqa: ASYNC110 - told to nobody here
            await asyncio.sleep(0.05)


async def test_bodies_are_printed_when_asked_for(variables: Any, client: httpx.AsyncClient) -> None:
    """--print-json without a program: the body of each event, one a line; --limit ends it."""
    async with listening("--print-json", "--limit", "1") as process:
        job = await cancel_a_job(client, variables.path)
        body = await line_of(process.stdout)
        assert (body["type"], body["data"]["id"]) == ("job.canceled", job)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


def test_what_cannot_be_listened_to_is_refused(
    variables: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong address, secret or event: usage errors; a wrong key: credentials."""

    def refused(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["listen", *words])
        return int(str(ended.value.code))

    assert refused("--forward-to", "ftp://localhost/") == 2
    assert refused("--events", "job.started") == 2
    assert "job.completed" in capsys.readouterr().err
    monkeypatch.setenv("WAYPOST_LISTEN_SECRET", "whsec_short")
    assert refused("--forward-to", "localhost:1") == 2
    monkeypatch.setenv("WAYPOST_KEY", "wp_wrong")
    assert refused() == 3


def test_signatures_are_those_of_the_library() -> None:
    """What is signed here is verified by the library, and a secret has 16 to 64 bytes."""
    secret, body = new_secret(), b'{"a":"\xc3\xa9"}'
    headers = signed_headers(secret, "msg_1", int(datetime.now(UTC).timestamp()), body)
    assert Webhook(secret).verify(body, headers) == {"a": "é"}
    for wrong in ("whsec_", "whsec_!!!!", "whsec_AAAA"):
        with pytest.raises(ValueError, match="signing secret"):
            signed_headers(wrong, "msg_1", 1, body)


class Cut:
    """A way to the platform that can be cut: `close` breaks every connection, `open` takes new ones."""

    def __init__(self, api_url: str) -> None:
        self._where = httpx.URL(api_url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> "Cut":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._through, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._where.host, self._where.port)
        self._writers |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)
        self._writers -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
