"""One POST to an endpoint: to checked addresses only, verified, bounded in time and size, never redirected."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpcore
import pytest

from functions.webhook.network import AddressRefusedError, CheckedNetwork, NameNotResolvedError, SystemResolver
from functions.webhook.send import MAX_HEADERS, Answered, Sender
from tests.authority import Authority
from tests.receiver import Receiver, answer, babble, break_off, hang, stream_for_ever
from waypost.subscription.address import read_subnets
from waypost.subscription.model import MAX_RESPONSE_BYTES

HERE = read_subnets("127.0.0.1/32")
HEADERS = [("webhook-id", "msg_1"), ("webhook-signature", "v1,x")]


class Names:
    """A name server that a test writes: each look-up gives the next answer, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Wire(httpcore.AsyncMockBackend):
    """Connections that go nowhere, noting where to; each answers 200."""

    def __init__(self) -> None:
        super().__init__([])
        self.connected: list[str] = []

    async def connect_tcp(self, host: str, port: int, *args: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        return httpcore.AsyncMockStream([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"])


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """One that may deliver to this machine, by the system's resolver."""
    resolver = SystemResolver()
    made = Sender(CheckedNetwork(HERE, resolver))
    yield made
    await made.close()
    resolver.close()


async def post(sender: Sender, url: str, seconds: float = 5.0) -> Answered:
    return await sender.post(url, HEADERS, b'{"a": 1}', seconds)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_success(sender: Sender, receiver: Receiver, status: int) -> None:
    """Whatever its body says; the request is what it was told to be."""
    receiver.behave = answer(status, b"" if status == 204 else b"error")
    answered = await post(sender, receiver.url)
    assert (answered.status, answered.error) == (status, None)
    (got,) = receiver.requests
    assert (got.body, got.headers["content-type"], got.id) == (b'{"a": 1}', "application/json", "msg_1")
    assert "cookie" not in got.headers
    assert "accept-encoding" not in got.headers


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_nothing_else_is(sender: Sender, receiver: Receiver, status: int) -> None:
    """The status is kept, and what was answered."""
    receiver.behave = answer(status, b"no", retry_after="30")
    answered = await post(sender, receiver.url)
    assert (answered.status, answered.error) == (status, "http_status")
    assert answered.response is not None
    assert answered.response.body == b"no"
    assert ("retry-after", "30") in answered.response.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sender: Sender, receiver: Receiver, status: int) -> None:
    """Wherever it leads: what it names gets no request."""
    async with Receiver() as elsewhere:
        receiver.behave = answer(status, b"", location=elsewhere.url)
        answered = await post(sender, receiver.url)
        assert (answered.status, answered.error) == (status, "redirected")
        assert elsewhere.requests == []


async def test_an_endpoint_that_hangs_ends_in_time(sender: Sender, receiver: Receiver) -> None:
    """No answer at all is no status; an answer whose body never ends is that answer."""
    receiver.behave = hang
    began = asyncio.get_running_loop().time()
    answered = await post(sender, receiver.url, 0.3)
    assert answered == Answered(None, "timed_out", None)
    assert asyncio.get_running_loop().time() - began < 3

    async def half(_: Any, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await asyncio.Event().wait()
        return False

    receiver.behave = half
    answered = await post(sender, receiver.url, 2.0)
    assert (answered.status, answered.error) == (200, None)
    assert answered.response is not None
    assert (answered.response.body, answered.response.truncated) == (b"half", True)


async def test_a_body_without_an_end_is_cut(sender: Sender, receiver: Receiver) -> None:
    """What is kept has a limit, and no more than that is waited for."""
    receiver.behave = stream_for_ever
    answered = await post(sender, receiver.url)
    assert (answered.status, answered.error) == (200, None)
    assert answered.response is not None
    assert (len(answered.response.body), answered.response.truncated) == (MAX_RESPONSE_BYTES, True)


async def test_a_packed_body_stays_packed(sender: Sender, receiver: Receiver) -> None:
    """A bomb of gzip is the bytes that came."""
    bomb = gzip.compress(b"\0" * 10_000_000)[:10_000]
    receiver.behave = answer(200, bomb, content_encoding="gzip")
    answered = await post(sender, receiver.url)
    assert answered.response is not None
    assert answered.response.body == bomb


async def test_headers_are_kept_up_to_a_limit(sender: Sender, receiver: Receiver) -> None:
    """Many and long ones are cut; what is no HTTP is told so."""
    receiver.behave = answer(200, b"ok", **{f"x{number}": "y" * 300 for number in range(150)})
    answered = await post(sender, receiver.url)
    assert answered.response is not None
    assert len(answered.response.headers) == MAX_HEADERS
    receiver.behave = answer(200, b"ok", x="y" * 200_000)
    assert (await post(sender, receiver.url)).error == "bad_answer"


async def test_what_is_no_answer_has_a_word(sender: Sender, receiver: Receiver) -> None:
    """Another protocol, a connection that is closed, a port where nobody is, a name that nobody has."""
    receiver.behave = babble
    assert await post(sender, receiver.url) == Answered(None, "bad_answer", None)
    receiver.behave = break_off
    assert (await post(sender, receiver.url)).error in ("bad_answer", "connection_lost")
    async with Receiver() as gone:
        url = gone.url
    assert await post(sender, url) == Answered(None, "connect_failed", None)
    assert await post(sender, "http://nobody.invalid/", 30.0) == Answered(None, "name_not_resolved", None)


async def test_connections_are_kept(sender: Sender, receiver: Receiver) -> None:
    """A second delivery needs no second connection; after one that was cut off the next has its own."""
    for _ in range(3):
        await post(sender, receiver.url)
    assert receiver.connections == 1
    receiver.behave = stream_for_ever
    await post(sender, receiver.url)
    receiver.behave = answer()
    assert (await post(sender, receiver.url)).error is None
    assert receiver.connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_no_failure(sender: Sender, receiver: Receiver) -> None:
    """An endpoint may close what is idle at the moment of the next request: that goes over a new one, once."""
    await post(sender, receiver.url)
    came = []

    async def closes_the_old(_: Any, writer: asyncio.StreamWriter) -> bool:
        came.append(receiver.connections)
        if receiver.connections == 1:
            return False
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return True

    receiver.behave = closes_the_old
    assert (await post(sender, receiver.url)).error is None
    assert came == [1, 2]
    receiver.behave = break_off
    assert (await post(sender, receiver.url)).error in ("bad_answer", "connection_lost")
    assert (len(receiver.requests), receiver.connections) == (5, 3)


# --- addresses --------------------------------------------------------------------------------------------------------

# Ways to write addresses of this machine and of private networks, as the system's resolver understands them.
WRITTEN = (
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://0x7f.1/", "http://0/", "http://0.0.0.0/", "http://localhost/", "http://LOCALHOST./", "http://[::1]/",
    "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://10.0.0.1/", "http://169.254.169.254/latest/",
    "http://[fe80::1]/", "http://[fd00::1]/", "http://192.168.0.1/", "http://100.64.0.1/", "http://224.0.0.1/",
    "http://[ff02::1]/", "http://198.51.100.7/", "http://[2001:db8::1]/", "http://255.255.255.255/",
)  # fmt: skip


@pytest.mark.parametrize("url", WRITTEN)
async def test_no_spelling_of_an_address_gets_past_the_filter(url: str) -> None:
    """Literals in every form are refused like names; nothing is connected to."""
    resolver, wire = SystemResolver(), Wire()
    sender = Sender(CheckedNetwork((), resolver, wire))
    answered = await post(sender, url, 30.0)
    assert answered.error in ("address_refused", "name_not_resolved"), answered
    assert wire.connected == []
    await sender.close()
    resolver.close()


async def test_a_name_that_changes_between_check_and_connect_gains_nothing() -> None:
    """It is resolved once, and the connection goes to the very address that was checked."""
    names, wire = Names(["93.184.216.34"], ["127.0.0.1"]), Wire()
    sender = Sender(CheckedNetwork((), names, wire))
    assert (await post(sender, "http://rebind.example/")).error is None
    assert (names.asked, wire.connected) == (1, ["93.184.216.34"])
    assert (await post(sender, "http://rebind.example/")).error == "address_refused"
    assert wire.connected == ["93.184.216.34"]
    await sender.close()


@pytest.mark.parametrize("mixed", [["93.184.216.34", "10.0.0.1"], ["::1", "2606:4700::1111"], ["fe80::1%eth0"]])
async def test_one_refused_address_refuses_the_name(mixed: list[str]) -> None:
    """A name with a public and a private address is a trick; the public one is not tried either."""
    wire = Wire()
    network = CheckedNetwork((), Names(mixed), wire)
    with pytest.raises(AddressRefusedError):
        await network.connect_tcp("mixed.example", 80)
    assert wire.connected == []


async def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    """All of them checked before; a name without any is told so, and sockets of other kinds are refused."""
    network = CheckedNetwork(read_subnets("127.0.0.0/8"), Names(["127.0.0.2", "127.0.0.1"]))
    stream = await network.connect_tcp("two.example", receiver.port)
    await stream.aclose()
    with pytest.raises(NameNotResolvedError):
        await CheckedNetwork((), Names([])).connect_tcp("none.example", 80)
    with pytest.raises(AddressRefusedError):
        await network.connect_unix_socket("/var/run/docker.sock")


async def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect where we cannot check."""
    async with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await post(sender, receiver.url)).error is None
        assert proxy.requests == []


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_certificates_are_verified_with_the_name_that_was_asked_for(authority: Authority) -> None:
    """Trusted and of this name: delivered. Of another name, or of an authority that nobody knows: not a byte."""
    network = CheckedNetwork(HERE, Names(["127.0.0.1"]))
    known, unknown = Sender(network, authority.trusted_by(httpcore.default_ssl_context())), Sender(network)
    async with Receiver(context=authority.serving("good.example")) as receiver:
        assert (await post(known, f"https://good.example:{receiver.port}/")).error is None
        for sender, host in ((known, "other.example"), (unknown, "good.example"), (known, "127.0.0.1")):
            assert (await post(sender, f"https://{host}:{receiver.port}/")).error == "tls_failed", host
        assert len(receiver.requests) == 1
    async with Receiver(context=authority.serving("good.example", days=-1)) as expired:
        assert (await post(known, f"https://good.example:{expired.port}/")).error == "tls_failed"
        assert expired.requests == []
    await known.close()
    await unknown.close()


async def test_what_speaks_no_tls_is_a_failure(sender: Sender) -> None:
    """https is never tried again as http."""
    greeted: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.append(await reader.read(1))
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await post(sender, f"https://127.0.0.1:{port}/")).error == "tls_failed"
    assert greeted == [b"\x16"]  # a TLS handshake, once
