"""The clients that exist already, on the wire as the compute-node contract §6 saw them: two in Python, one in Java.

Each sends what its source sends: token request, credentials and options of the channel, join, acknowledgements. None
declares functions, so none gets jobs; all are greeted, kept alive, drained, and come back.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import grpc.aio
import httpx
import pytest
from waypost_contracts.cloudevents_pb2 import CloudEvent

from jobs import wake
from tests.relay.fake_node import METHOD
from tests.relay.ground import Environment, make_certificate

GREET_SECONDS = 20.0  # a test's patience; the Java client's is 5 (HANDSHAKE_TIMEOUT_MS)
NEW_OPTIONS = (
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", 104_857_600),
    ("grpc.max_receive_message_length", 104_857_600),
)


@dataclass(frozen=True)
class Kind:
    """What tells the clients apart: the channel's options, the event's data, the join, the acknowledgement."""

    options: tuple[tuple[str, int], ...]
    data: str
    source: str
    join: Callable[[str], dict[str, Any]]
    acknowledgement: Callable[[str], dict[str, Any]]


def _play(probe: str) -> dict[str, Any]:
    return {"id": str(uuid4()), "sourceEventId": probe, "owner": "PLAY", "success": True}


NEW = Kind(NEW_OPTIONS, "text_data", "SimpleSample", lambda new: {"id": new, "owner": "PLAY", "tags": ["one"]}, _play)
OLD = Kind((), "text_data", "SimpleSample", lambda _: {"owner": "PLAY", "tags": ["cloud_manager_app"]}, _play)
JAVA = Kind(
    (), "binary_data", "urn:cyoda:calculation-member:one", lambda new: {"id": new, "tags": ["one"]},
    lambda probe: {"id": probe, "sourceEventId": probe, "success": True},
)  # fmt: skip
KINDS = pytest.mark.parametrize("kind", [NEW, OLD, JAVA], ids=["new", "old", "java"])


class _Bearer(grpc.AuthMetadataPlugin):  # type: ignore[misc]
    """The call credential: asked anew for each call."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, _context: Any, callback: Any) -> None:
        callback((("authorization", f"Bearer {self._token}"),), None)


class Stock:
    """One connection attempt of a client: a channel of its own, as all of them do."""

    def __init__(
        self, address: str, token: str, kind: Kind = NEW, more: tuple[tuple[str, int], ...] = (), transport: Any = None
    ) -> None:
        self.kind = kind
        credentials = grpc.composite_channel_credentials(
            transport or grpc.local_channel_credentials(), grpc.metadata_call_credentials(_Bearer(token))
        )
        self.channel = grpc.aio.secure_channel(address, credentials, options=(*kind.options, *more))
        self.call = self.channel.stream_stream(METHOD)()
        self.greeting: dict[str, Any] = {}

    async def join(self) -> "Stock":
        """Join at once, and read the greet, which comes first and as text."""
        identifier = str(uuid4())
        await self.send("CalculationMemberJoinEvent", self.kind.join(identifier), identifier)
        kind, self.greeting = await asyncio.wait_for(self.read(), GREET_SECONDS)
        assert kind == "CalculationMemberGreetEvent"
        return self

    async def send(self, kind: str, body: Mapping[str, Any], identifier: str = "") -> None:
        event = CloudEvent(id=identifier or str(uuid4()), source=self.kind.source, spec_version="1.0", type=kind)
        text = json.dumps(body)
        setattr(event, self.kind.data, text if self.kind.data == "text_data" else text.encode())
        await self.call.write(event.SerializeToString())

    async def read(self) -> tuple[str, dict[str, Any]]:
        """Type and body of the next event. Text it must be: binary data ends the old client's stream."""
        event = CloudEvent.FromString(await self.call.read())
        assert event.WhichOneof("data") == "text_data", event.type
        return event.type, json.loads(event.text_data)

    async def acknowledge(self, probes: int) -> None:
        """Answer so many probes; nothing else may come."""
        for _ in range(probes):
            kind, body = await self.read()
            assert kind == "CalculationMemberKeepAliveEvent"
            await self.send("EventAckResponse", self.kind.acknowledgement(body["id"]))

    async def serves(self) -> None:
        """The stream is there in both directions: a keep-alive of the client's own is acknowledged."""
        await self.send("CalculationMemberKeepAliveEvent", {"id": "mine", "success": True})
        while (answer := await self.read())[0] == "CalculationMemberKeepAliveEvent":
            continue
        assert (answer[0], answer[1]["sourceEventId"]) == ("EventAckResponse", "mine")

    async def ended(self) -> tuple[str, str]:
        """The status with which the relay ended the stream. What came before it is read: grpc waits for that."""
        with suppress(grpc.aio.AioRpcError):
            while await self.call.read() is not grpc.aio.EOF:
                continue
        return (await self.call.code()).name, await self.call.details()

    async def close(self) -> None:
        self.call.cancel()
        await self.channel.close()


@pytest.mark.parametrize("form", ["grant_type=client_credentials&scope=read+write", "grant_type=client_credentials"])
async def test_the_token_that_a_client_asks_for_opens_its_stream(
    platform: Any, make_environment: Any, make_node_credential: Any, form: str
) -> None:
    """Basic auth and either form, by plain HTTP; then local credentials beside the token, to the plaintext listener."""
    place = await make_environment()
    credential = await make_node_credential(place.path)
    basic = base64.b64encode(f"{credential.client_id}:{credential.client_secret}".encode()).decode()
    headers = {
        "Authorization": f"Basic {basic}",
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "python-requests/2.32.3",
    }
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{platform.api_url}/api/oauth/token", content=form, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] > 60  # the client fetches anew a minute before
    client = await Stock(platform.relay_address, answer.json()["access_token"]).join()
    assert client.greeting["joinedLegalEntityId"] == place.id
    assert client.greeting["success"] is True
    assert UUID(client.greeting["memberId"])
    await client.close()


@KINDS
async def test_a_client_lives_by_its_acknowledgements_and_is_drained(
    start_relay: Any, environment: Environment, kind: Kind
) -> None:
    """Past the time after which a silent one is cut. It gets no job, and its drain is UNAVAILABLE: OK would make the
    new client come back without a pause and the old one stop for good.
    """
    relay = await start_relay(WAYPOST_PROBE_SECONDS="1.5")
    client = await Stock(relay.address, environment.token(await environment.credential()), kind).join()
    member = UUID(client.greeting["memberId"])
    await asyncio.gather(environment.submit("text.count"), client.acknowledge(4))  # a silent one gets three
    async with asyncio.timeout(20):  # its row tells the time between probe and acknowledgement
        while not await environment.ground.admin.fetchval(
            "select round_trip_ms from control.node where id = $1", member
        ):
            await client.acknowledge(1)
    environment.publish(wake.DrainNode(member))
    assert await client.ended() == ("UNAVAILABLE", "draining")
    await client.close()


@KINDS
async def test_answers_that_nobody_waits_for_end_no_stream(relay: Any, environment: Environment, kind: Kind) -> None:
    """What was finished while a stream was lost comes on the next one: 5 MB of it, without ids, with nulls, twice. It
    is skipped, and so is an event that nobody knows.
    """
    client = await Stock(relay.address, environment.token(await environment.credential()), kind).join()
    late = {"id": str(uuid4()), "requestId": str(uuid4()), "entityId": "e", "owner": "PLAY", "success": True}
    for body in (
        late | {"payload": {"type": "JSON", "data": {"text": "x" * 5_000_000}}},
        late | {"payload": None},
        late | {"payload": {"data": None}},
        {"requestId": late["requestId"], "owner": "PLAY", "payload": None, "success": True},
        {"id": late["id"], "requestId": late["id"], "success": False, "error": {"code": "GENERAL_ERROR"}},
    ):
        await client.send("EntityProcessorCalculationResponse", body)
    await client.send("EntityCriteriaCalculationResponse", {"requestId": "r", "matches": None, "success": True})
    await client.send("SomethingOfTomorrow", {})
    await client.serves()
    await client.close()


async def test_unauthenticated_makes_a_client_fetch_a_token_and_come_back(relay: Any, environment: Environment) -> None:
    """Only for tokens: one that has run out is refused so, and the next attempt with a fresh one is greeted."""
    credential = await environment.credential()
    stale = Stock(relay.address, environment.token(credential, exp=1))
    assert await stale.ended() == ("UNAUTHENTICATED", "authentication failed")
    await stale.close()
    fresh = await Stock(relay.address, environment.token(credential)).join()
    await fresh.serves()
    await fresh.close()


async def test_after_unavailable_a_client_comes_back_to_the_same_port(
    start_relay: Any, environment: Environment
) -> None:
    """It waits and joins the relay that is there then, as a new member."""
    token = environment.token(await environment.credential())
    relay = await start_relay("relay-1")
    port = int(relay.address.rsplit(":", 1)[1])
    first = await Stock(relay.address, token).join()
    assert await relay.stop() == 0
    assert (await first.ended())[0] == "UNAVAILABLE"
    second = await Stock((await start_relay("relay-2", port=port)).address, token).join()
    assert second.greeting["memberId"] != first.greeting["memberId"]
    await first.close()
    await second.close()


async def test_a_client_that_pings_is_not_cut_for_it(start_relay: Any, environment: Environment) -> None:
    """HTTP/2 pings without data, one a second, which is as often as gRPC sends them: a server without the contract's
    options says GOAWAY too_many_pings after three.
    """
    relay = await start_relay(WAYPOST_PROBE_SECONDS="60")
    often = (("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0))
    kind = Kind((*NEW_OPTIONS[1:], *often), NEW.data, NEW.source, NEW.join, NEW.acknowledgement)
    client = await Stock(relay.address, environment.token(await environment.credential()), kind).join()
    done, _ = await asyncio.wait({asyncio.ensure_future(client.call.code())}, timeout=5)
    assert not done
    await client.serves()
    await client.close()


OLD_PROCESS = """
import asyncio, os
import grpc
from tests.relay.test_stock_clients import OLD, Stock
async def main():
    roots = grpc.ssl_channel_credentials()
    client = Stock(os.environ["STOCK_ADDRESS"], os.environ["STOCK_TOKEN"], OLD, transport=roots)
    await client.join()
    print(client.greeting["memberId"], flush=True)
    await client.acknowledge(4)
    print("alive", flush=True)
    print(*await client.ended(), flush=True)
asyncio.run(main())
"""


async def test_the_old_client_connects_by_tls_with_the_roots_that_it_is_given(
    start_relay: Any, environment: Environment, tmp_path: Path
) -> None:
    """Always TLS, no option of a channel, our certificate by GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: a process of its own."""
    certificate, key = make_certificate(tmp_path)
    relay = await start_relay(
        WAYPOST_RELAY_TLS_CERT=str(certificate), WAYPOST_RELAY_TLS_KEY=str(key), WAYPOST_PROBE_SECONDS="1"
    )
    variables = {
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate),
        "STOCK_ADDRESS": f"localhost:{relay.address.rsplit(':', 1)[1]}",
        "STOCK_TOKEN": environment.token(await environment.credential()),
    }
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OLD_PROCESS, env={**os.environ, **variables}, stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert client.stdout is not None
    async with asyncio.timeout(30):
        assert UUID((await client.stdout.readline()).decode().strip())
        assert await client.stdout.readline() == b"alive\n"
        assert await relay.stop() == 0
        assert await client.stdout.readline() == b"UNAVAILABLE draining\n"
        assert await client.wait() == 0
