"""Many light compute nodes in one process: the node contract over raw HTTP/2, without grpc and without the SDK.

For thousands of idle streams, each with a TCP connection of its own, and for work where the SDK's share would hide the
relay's. It speaks only what the bench needs (one stream a connection, plain text) and trusts the relay's answers.

Run as `python -P -m tests.bench.lean PLAN REPORT`; PLAN is JSON: {"relay": "host:port", "nodes": [{"token", "tags",
"functions", "max_in_flight", "count"}]}. It prints `joined N` when all are greeted, and writes REPORT at SIGTERM.
"""

import asyncio
import contextlib
import json
import signal
import struct
import sys
import time
import uuid
from array import array
from collections.abc import Callable
from pathlib import Path

from waypost_contracts import cloudevents_pb2, waypost_frame_pb2

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_HEADERS = 1, 4
_INITIAL_WINDOW = 4
_WIDE = (1 << 31) - 1
_METHOD = "/org.cyoda.cloud.api.grpc.CloudEventsService/startStreaming"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _string(value: bytes) -> bytes:
    """An HPACK string without Huffman coding; its length in the 7-bit prefix code."""
    if len(value) < 127:
        return bytes((len(value),)) + value
    rest, out = len(value) - 127, bytearray((127,))
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes((*out, rest)) + value


def headers(fields: dict[str, str]) -> bytes:
    """An HPACK block of literals that are not indexed: no state to keep."""
    return b"".join(b"\x00" + _string(name.encode()) + _string(value.encode()) for name, value in fields.items())


class Stream(asyncio.Protocol):
    """One node: joins, acknowledges keep-alives, answers every assignment at once with its own lateness."""

    def __init__(self, authority: str, node: dict[str, object], on_greeted: Callable[[], None], seen: array) -> None:  # type: ignore[type-arg]
        self._authority, self._node, self._on_greeted, self._seen = authority, node, on_greeted, seen
        self._data = bytearray()
        self._body = bytearray()
        self._line = bytearray()  # DATA that the peer's windows do not admit yet
        self._windows = [65535, 65535]  # connection, stream
        self._initial = 65535
        self.ended: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        block = headers({
            ":method": "POST",
            ":scheme": "http",
            ":path": _METHOD,
            ":authority": self._authority,
            "content-type": "application/grpc",
            "te": "trailers",
            "authorization": f"Bearer {self._node['token']}",
        })  # fmt: skip
        self._transport.write(
            _PREFACE
            + frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, _WIDE))
            + frame(_WINDOW, 0, 0, (_WIDE - 65535).to_bytes(4, "big"))
            + frame(_HEADERS, _END_HEADERS, 1, block)
        )
        join = {
            "id": str(uuid.uuid4()),
            "tags": self._node["tags"],
            "functions": [
                {"name": name, "max_in_flight": self._node["max_in_flight"]}
                for name in self._node["functions"]  # type: ignore[attr-defined]
            ],
            "maxInFlight": self._node["max_in_flight"],
            "sdk": "bench-lean",
            "frames": 1,
        }
        self._event("CalculationMemberJoinEvent", text=json.dumps(join))

    def connection_lost(self, _: Exception | None) -> None:
        self.ended = self.ended or "connection lost"

    def data_received(self, data: bytes) -> None:
        self._data += data
        at = 0
        while len(self._data) - at >= 9:
            length = int.from_bytes(self._data[at : at + 3], "big")
            if len(self._data) - at < 9 + length:
                break
            kind, flags = self._data[at + 3], self._data[at + 4]
            stream = int.from_bytes(self._data[at + 5 : at + 9], "big") & _WIDE
            self._frame(kind, flags, stream, bytes(self._data[at + 9 : at + 9 + length]))
            at += 9 + length
        del self._data[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._body += payload
            if payload:
                self._transport.write(frame(_WINDOW, 0, 0, len(payload).to_bytes(4, "big")))
                self._transport.write(frame(_WINDOW, 0, 1, len(payload).to_bytes(4, "big")))
            self._messages()
        elif kind == _PING and not flags & _ACK:
            self._transport.write(frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _WINDOW:
            self._windows[1 if stream else 0] += int.from_bytes(payload, "big") & _WIDE
            self._flush()
        elif kind in (_RESET, _GOAWAY):
            self.ended = f"frame {kind}: {payload[-80:]!r}"

    def _settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW:
                self._windows[1] += value - self._initial
                self._initial = value
        self._transport.write(frame(_SETTINGS, _ACK, 0, b""))
        self._flush()

    def _messages(self) -> None:
        while len(self._body) >= 5:
            length = int.from_bytes(self._body[1:5], "big")
            if len(self._body) < 5 + length:
                return
            event = cloudevents_pb2.CloudEvent.FromString(bytes(self._body[5 : 5 + length]))
            del self._body[: 5 + length]
            self._handle(event)

    def _handle(self, event: cloudevents_pb2.CloudEvent) -> None:
        if event.type == "JobFrame":
            self._work(waypost_frame_pb2.RelayFrame.FromString(event.binary_data))
        elif event.type == "CalculationMemberKeepAliveEvent":
            answer = {"id": str(uuid.uuid4()), "sourceEventId": json.loads(event.text_data)["id"], "success": True}
            self._event("EventAckResponse", text=json.dumps(answer))
        elif event.type == "CalculationMemberGreetEvent":
            self._on_greeted()

    def _work(self, received: waypost_frame_pb2.RelayFrame) -> None:
        if not received.assign:
            return
        now = time.time_ns()
        answer = waypost_frame_pb2.NodeFrame()
        for item in received.assign:
            at = json.loads(item.payload or b"{}").get("at", now)
            self._seen.extend((at, now - at))
            answer.finished.add(attempt_id=item.attempt_id, job_id=item.job_id, result=b'{"late_ns":%d}' % (now - at))
        self._event("JobFrame", binary=answer.SerializeToString())

    def _event(self, kind: str, *, text: str | None = None, binary: bytes | None = None) -> None:
        event = cloudevents_pb2.CloudEvent(id=str(uuid.uuid4()), source="bench", spec_version="1.0", type=kind)
        if text is not None:
            event.text_data = text
        if binary is not None:
            event.binary_data = binary
        message = event.SerializeToString()
        self._line += b"\x00" + len(message).to_bytes(4, "big") + message
        self._flush()

    def _flush(self) -> None:
        while self._line and (size := min(len(self._line), 16384, *self._windows)) > 0:
            self._transport.write(frame(_DATA, 0, 1, bytes(self._line[:size])))
            del self._line[:size]
            self._windows = [self._windows[0] - size, self._windows[1] - size]


async def run(plan: dict[str, object], report: Path) -> None:
    """Join all nodes of the plan, serve until SIGTERM, write what was seen."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    nodes = [node for node in plan["nodes"] for _ in range(node["count"])]  # type: ignore[attr-defined]
    seen, greeted, all_greeted = array("q"), 0, asyncio.Event()

    def count() -> None:
        nonlocal greeted
        greeted += 1
        if greeted == len(nodes):
            all_greeted.set()

    host, _, port = str(plan["relay"]).rpartition(":")
    streams: list[Stream] = []
    for index, node in enumerate(nodes):
        _, stream = await loop.create_connection(
            lambda node=node: Stream(str(plan["relay"]), node, count, seen), host, int(port)
        )  # type: ignore[misc]
        streams.append(stream)
        while index - greeted > 64:  # no more than this many handshakes at once
            await asyncio.sleep(0.002)
            _give_up_on_refusal(streams)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(all_greeted.wait(), 30)
    _give_up_on_refusal(streams)
    print(f"joined {greeted}", flush=True)
    await stop.wait()
    _write(report, seen, greeted, [stream.ended for stream in streams if stream.ended])


def _write(report: Path, seen: array, greeted: int, lost: list[str]) -> None:  # type: ignore[type-arg]
    report.with_suffix(".bin").write_bytes(seen.tobytes())
    report.write_text(json.dumps({"joined": greeted, "lost": len(lost), "why": lost[:3]}))


def _give_up_on_refusal(streams: list[Stream]) -> None:
    ended = next((stream.ended for stream in streams if stream.ended), None)
    if ended:
        sys.exit(f"a stream ended while joining: {ended}")


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
