"""The outermost layer: request ids, caps, slow clients, dialects of errors, and that the hot path changes no answer."""

import asyncio
import json
import re
import secrets
from typing import Any

import httpx
import pytest

from gateway import exchange
from tests.gateway.conftest import MakeGateway, OwnGateway

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def raw(own: OwnGateway, head: str, *pieces: bytes, pause: float = 0.0, seconds: float = 10) -> bytes:
    """Everything that a hand-written request gets back until the server closes, or in so many seconds."""
    reader, writer = await asyncio.open_connection(own.host, own.port)
    end = b"" if pieces and not head.startswith("POST") else b"\r\n\r\n"  # a GET's pieces go on with its head
    writer.write(head.replace("\n", "\r\n").encode() + end)
    answer = b""

    async def drip() -> None:
        for piece in pieces:
            await asyncio.sleep(pause)
            writer.write(piece)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.read(65536):
                answer += data
    except (TimeoutError, ConnectionError):
        pass
    finally:
        dripping.cancel()
        writer.close()
    return answer


SUBMISSIONS: list[tuple[str, bytes, dict[str, str]]] = [
    ("plain", b'{"function":"never.run","payload":{"n":12.50},"tags":["gpu"]}', {}),
    ("replayed", b'{"function":"never.run"}', {"Idempotency-Key": "same-bytes"}),
    ("traced", b'{"function":"never.run"}', {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
    ("bad JSON", b'{"function":', {}),
    ("unknown field", b'{"function":"never.run","nope":1}', {}),
    ("no key", b'{"function":"never.run"}', {"Authorization": ""}),
    ("mistyped key", b'{"function":"never.run"}', {"Authorization": "Bearer wp_nothing"}),
    ("bad idempotency key", b'{"function":"never.run"}', {"Idempotency-Key": "x" * 256}),
]


@pytest.mark.parametrize(("body", "headers"), [s[1:] for s in SUBMISSIONS], ids=[s[0] for s in SUBMISSIONS])
async def test_the_hot_path_answers_byte_for_byte_like_the_route(
    make_gateway: MakeGateway, own_gateway: OwnGateway, shared_environment: Any, body: bytes, headers: dict[str, str]
) -> None:
    """Status, headers and body are the same; only ids and instants differ, by nature."""
    path = f"{shared_environment.path}/jobs"
    async with make_gateway(hot=False) as plain:
        shown = []
        for client in (own_gateway.client, plain.client):
            first = await client.post(path, content=body, headers=headers)
            answer = await client.post(path, content=body, headers=headers)
            assert first.status_code == answer.status_code
            shown.append(normal(answer))
    assert shown[0] == shown[1]


def normal(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be the same of an answer."""

    def same(text: str) -> str:
        return INSTANT.sub("INSTANT", UUID.sub("ID", text))

    assert int(answer.headers["content-length"]) == len(answer.content)  # an instant at a full second is shorter
    headers = sorted(
        (name, same(value)) for name, value in answer.headers.items() if name not in ("date", "content-length")
    )
    headers = [(name, value) for name, value in headers if "ratelimit" not in name or name == "ratelimit-policy"]
    return answer.status_code, headers, same(answer.text).encode()


async def test_a_foreign_environment_is_not_found_on_both_paths(
    make_gateway: MakeGateway, own_gateway: OwnGateway, shared_environment: Any, foreign_key: str
) -> None:
    """404 byte for byte alike, whether or not the environment exists."""
    headers = {"Authorization": f"Bearer {foreign_key}"}
    async with make_gateway(hot=False) as plain:
        answers = [
            normal(await client.post(f"{path}/jobs", json={"function": "a"}, headers=headers))
            for client in (own_gateway.client, plain.client)
            for path in (shared_environment.path, shared_environment.path + "x")
        ]
    assert answers[0][0] == 404
    assert all(answer == answers[0] for answer in answers)


async def test_every_answer_has_a_request_id(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """A sane one of the client is taken, another replaced; also on errors and unknown routes."""
    for path in ("/healthz", shared_environment.path, "/nowhere", "/api/nowhere"):
        answer = await client.get(path, headers={"X-Request-Id": "mine-42"})
        assert answer.headers["x-request-id"] == "mine-42"
        assert UUID.fullmatch((await client.get(path)).headers["x-request-id"])
    strange = await client.get("/healthz", headers={"X-Request-Id": "two words"})
    assert UUID.fullmatch(strange.headers["x-request-id"])


async def test_a_traceparent_is_carried_to_the_job(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """The job shows its trace id; a malformed one is ignored, as the specification asks."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    for text, shown in (
        (f"00-{trace}-b7ad6b7169203331-01", trace),
        ("00-zz-1-01", None),
        (f"00-{'0' * 32}-1-01", None),
    ):
        answer = await client.post(
            f"{shared_environment.path}/jobs", json={"function": "never.run"}, headers={"traceparent": text}
        )
        assert answer.json()["trace_id"] == shown
        assert (await client.get(answer.headers["location"])).json()["trace_id"] == shown


async def test_unknown_routes_and_methods_speak_their_surfaces_dialect(client: httpx.AsyncClient) -> None:
    """problem+json with `code` for /v1, `properties.errorCode` for /api, `error` for the token endpoint."""
    native = await client.get("/v1/nowhere")
    assert (native.status_code, native.json()["code"]) == (404, "not_found")
    assert native.headers["content-type"] == "application/problem+json"
    method = await client.put("/v1/orgs")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(method.headers["allow"].split(", "))
    engine = await client.get("/api/nowhere")
    assert engine.status_code == 404
    assert engine.json()["properties"]["errorCode"] == "NOT_FOUND"
    assert engine.json()["detail"].startswith("NOT_FOUND: ")
    assert engine.json()["instance"] == "/nowhere"
    token = await client.get("/api/oauth/token")
    assert (token.status_code, token.json()["error"]) == (405, "method_not_allowed")
    assert token.headers["allow"] == "OPTIONS, POST"
    assert (await client.options("/v1/orgs")).headers["allow"] == "GET, OPTIONS, POST"


async def test_a_body_over_the_cap_is_refused_before_it_is_read(
    own_gateway: OwnGateway, shared_environment: Any, platform: Any
) -> None:
    """The announced length is enough for 413; not a byte of the body was sent."""
    head = f"POST {shared_environment.path}/jobs HTTP/1.1\nHost: x\nAuthorization: Bearer {platform.admin_key}"
    answer = await raw(own_gateway, f"{head}\nContent-Length: {(4 << 20) + 1}")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"payload_too_large"' in answer
    answer = await raw(own_gateway, f"{head}\nContent-Length: {10**30}")
    assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))


async def test_a_chunked_body_over_the_cap_is_refused_while_it_comes(
    own_gateway: OwnGateway, shared_environment: Any
) -> None:
    """A body that announces no length is counted."""

    async def endless() -> Any:
        for _ in range(80):
            yield b" " * (1 << 16)

    path = f"{shared_environment.path}/jobs"
    try:
        answer = await own_gateway.client.post(path, content=endless())
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return  # the server closed while we were still writing
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_four_mebibytes_exactly_are_read(own_gateway: OwnGateway, shared_environment: Any) -> None:
    """The cap itself is inside: the refusal is then about the JSON."""
    answer = await own_gateway.client.post(f"{shared_environment.path}/jobs", content=b"x" * (4 << 20))
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


async def test_a_body_that_drips_is_cut_off(
    own_gateway: OwnGateway, shared_environment: Any, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 after the deadline, however steadily it drips; others are served meanwhile."""
    monkeypatch.setattr(exchange, "BODY_SECONDS", 0.5)
    head = f"POST {shared_environment.path}/jobs HTTP/1.1\nHost: x\nAuthorization: Bearer {platform.admin_key}"
    slow = asyncio.create_task(raw(own_gateway, f"{head}\nContent-Length: 1000", *[b" "] * 12, pause=0.1))
    assert (await own_gateway.client.get("/healthz")).status_code == 200
    answer = await slow
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


async def test_a_head_that_drips_is_cut_off(make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed at the deadline of the head; so is one on which nothing is ever sent."""
    monkeypatch.setattr("gateway.http.HEAD_SECONDS", 1)
    async with make_gateway() as own:
        began = asyncio.get_running_loop().time()
        dripping = raw(own, "GET /healthz HTTP/1.1\nHost: x\nX-A: b", *[b"x"] * 400, pause=0.1, seconds=30)
        assert await dripping == b""
        reader, writer = await asyncio.open_connection(own.host, own.port)
        assert await reader.read() == b""
        writer.close()
        assert asyncio.get_running_loop().time() - began < 25


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    own_gateway: OwnGateway, shared_environment: Any, platform: Any
) -> None:
    """Half a body, then gone: no job, no request in progress."""
    _, writer = await asyncio.open_connection(own_gateway.host, own_gateway.port)
    head = f"POST {shared_environment.path}/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {platform.admin_key}\r\n"
    writer.write(head.encode() + b'Content-Length: 40\r\n\r\n{"function":')
    await writer.drain()
    writer.close()
    async with asyncio.timeout(30):
        await own_gateway.services.idle.wait()


async def test_postgres_away_is_503_and_the_same_key_makes_one_job(
    client: httpx.AsyncClient, make_gateway: MakeGateway, environment: Any, platform: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Cached credentials do not help: no job, `Retry-After`; the repeat with its Idempotency-Key gets exactly one."""
    from waypost.settings import Secret

    path, key = f"{environment.path}/jobs", {"Idempotency-Key": secrets.token_hex(8)}
    async with make_gateway() as own:
        assert (await own.client.post(path, json={"function": "never.run"})).status_code == 202
        live = own.services.database
        nowhere = await type(live).open("postgresql://x:y@127.0.0.1:1/z", name="nowhere")
        monkeypatch.setattr(own.services.ledger, "_database", nowhere)
        answer = await own.client.post(path, json={"function": "never.run"}, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.json()["retryable"] is True
        assert answer.headers["retry-after"] == "1"
        monkeypatch.setattr(own.services.ledger, "_database", live)
        ids = {(await own.client.post(path, json={"function": "never.run"}, headers=key)).json()["id"] for _ in "12"}
        assert len(ids) == 1
    assert (await client.get(f"{environment.path}/queue")).json()["states"]["waiting"] == 2
    dead = Secret("postgresql://x:y@127.0.0.1:1/z")
    async with make_gateway(database_url=dead) as own:
        answer = await own.client.post(path, json={"function": "never.run"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        ready = await own.client.get("/readyz")
        assert (ready.status_code, ready.json()["dependencies"]["valkey"]) == (503, "ok")
        assert (await own.client.get("/healthz")).status_code == 200


def test_the_answers_of_unexpected_faults_name_the_request_and_nothing_else() -> None:
    """An exception that is not ours is 500 with the request id; its text stays in the log."""
    from gateway.problem import answer_for

    async def receive() -> Any:
        return None

    scope = {"method": "GET", "path": "/v1/x", "query_string": b"", "headers": [], "client": None}
    one = exchange.Exchange(scope, receive)
    answer = answer_for(one, ValueError("secret detail"))
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "internal_error"
    assert one.request_id.encode() in answer.body
    assert b"secret" not in answer.body


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_an_ordinary_client_gets_to_read_the_refusal(
    client: httpx.AsyncClient, shared_environment: Any, announced: bool
) -> None:
    """One that reads only when it has sent everything sees 413, not a reset; the next request is served."""
    body = b" " * (6 << 20)

    async def pieces() -> Any:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    for _ in range(3):
        answer = await client.post(f"{shared_environment.path}/jobs", content=body if announced else pieces())
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert (await client.get("/healthz")).status_code == 200
