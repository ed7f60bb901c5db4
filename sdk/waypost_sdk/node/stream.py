"""One stream to one relay: join, greet, keep-alive, frames (compute-node contract §3, native contract §7).

A stream lives once. What belongs to the node and outlives it (running jobs, unsettled answers, back-off) is elsewhere.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import DecodeError
from waypost_contracts.cloudevents_pb2 import CloudEvent
from waypost_contracts.waypost_frame_pb2 import RelayFrame

from waypost_sdk.node.outbox import FRAME_TYPE, SOURCE, Outbox, Pace

METHOD = "/org.cyoda.cloud.api.grpc.CloudEventsService/startStreaming"
JOIN = "CalculationMemberJoinEvent"
GREET = "CalculationMemberGreetEvent"
KEEP_ALIVE = "CalculationMemberKeepAliveEvent"
ACK = "EventAckResponse"
DRAIN = "CalculationMemberDrainEvent"  # node → relay: no new work for me (compute-node contract §8.2)
GREET_TIMEOUT_SECONDS = 10.0
LET_IN_SECONDS = 1.0
SILENCE_SECONDS = 35.0  # the relay probes every 10 s; silent for three of them is gone
LEAVE_SECONDS = 3.0
MAX_MESSAGE_BYTES = 104_857_600
OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Channels with the same address share a connection otherwise, and a new stream would land on the same relay.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
_log = logging.getLogger("waypost.node")
_LOOPBACK = ("127.", "localhost", "[::1]", "unix:")


class Stream:
    """`run` joins and serves until the stream ends; `on_frame` gets every frame of the relay, in order."""

    def __init__(self, address: str, outbox: Outbox, on_frame: Callable[[RelayFrame], None]) -> None:
        self._address = address
        self._outbox = outbox
        self._on_frame = on_frame
        self._call: Any = None
        self._leaving = False
        self._silent = False
        self._heard_at = time.monotonic()
        self.member_id: str | None = None  # the relay's name for this stream, once greeted

    async def run(self, token: str, join: dict[str, Any], on_greet: Callable[[], None]) -> None:
        """Return when the stream has ended well; raises AioRpcError with its status, TimeoutError when silent."""
        async with open_channel(self._address) as channel:
            open_call = channel.stream_stream(
                METHOD, request_serializer=CloudEvent.SerializeToString, response_deserializer=CloudEvent.FromString
            )
            self._call = open_call(metadata=(("authorization", f"Bearer {token}"),))
            try:
                await self._join(join)
                on_greet()
                await self._serve()
            except asyncio.CancelledError:  # also what grpc raises when we cancel the call ourselves
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                if self._silent:
                    raise TimeoutError("the relay has been silent for too long") from None
            finally:
                self._call.cancel()

    def check_silence(self) -> None:
        """End the stream when the relay has said nothing for too long. Called a few times a second."""
        if self._call is not None and time.monotonic() - self._heard_at > SILENCE_SECONDS:
            self._silent = True
            self._call.cancel()

    def announce_drain(self, reason: str) -> None:
        """Ask the relay for no new work."""
        document = {"id": str(uuid4()), "memberId": self.member_id, "reason": reason, "success": True}
        self._outbox.event(text_event(DRAIN, document))

    def leave(self) -> None:
        """Send what is there, then close our side; the relay ends the stream, else we do after a moment."""
        self._leaving = True
        self._outbox.nudge()

    def cut(self) -> None:
        """End the stream without a goodbye."""
        if self._call is not None:
            self._call.cancel()

    async def _join(self, join: dict[str, Any]) -> None:
        async with asyncio.timeout(GREET_TIMEOUT_SECONDS):
            await self._let_in()
            with contextlib.suppress(asyncio.InvalidStateError):  # ended already: read() tells why
                await self._call.write(text_event(JOIN, join))
            while True:
                event = await self._read()
                if event.type == GREET:
                    self.member_id = str(document_of(event).get("memberId", ""))
                    return
                self._on_event(event)

    async def _let_in(self) -> None:
        """Wait for the relay's first sign of life: grpc.aio makes up an INTERNAL where a refusal overtakes a write.

        A relay that gives none before it has read the join is joined all the same, a moment later.
        """
        sign = asyncio.ensure_future(self._call.initial_metadata())
        await asyncio.wait({sign}, timeout=LET_IN_SECONDS)
        sign.cancel()

    async def _serve(self) -> None:
        writer = asyncio.create_task(self._write())
        try:
            while True:
                self._on_event(await self._read())
        except EOFError:
            return
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # its error is the reader's too
                await writer

    async def _read(self) -> CloudEvent:
        event: CloudEvent = await self._call.read()
        if event is grpc.aio.EOF:
            raise EOFError
        self._heard_at = time.monotonic()
        return event

    def _on_event(self, event: CloudEvent) -> None:
        if event.type == FRAME_TYPE:
            try:
                frame = RelayFrame.FromString(event.binary_data)
            except DecodeError:
                _log.warning("skipped a frame that cannot be read (%d bytes)", len(event.binary_data))
            else:
                self._on_frame(frame)
        elif event.type == KEEP_ALIVE:
            probe = document_of(event).get("id", "")
            answer = {"id": str(uuid4()), "sourceEventId": probe, "success": True}
            self._outbox.event(text_event(ACK, answer))

    async def _write(self) -> None:
        """One write at a time; what comes up meanwhile shares the next frame."""
        write, pace = self._call.write, Pace()
        while True:
            await self._outbox.ready()
            if not self._leaving and (seconds := pace.wait_seconds(time.monotonic())):
                await asyncio.sleep(seconds)
            while (event := self._outbox.take()) is not None:
                pace.went(time.monotonic())
                await write(event)
            if self._leaving:
                await self._call.done_writing()
                await asyncio.sleep(LEAVE_SECONDS)
                self._call.cancel()


def open_channel(address: str) -> grpc.aio.Channel:
    """A new connection: plaintext to this machine or for `grpc://`, TLS elsewhere or for `grpcs://`."""
    scheme, found, target = address.partition("://")
    if not found:
        target, scheme = address, "grpc" if address.startswith(_LOOPBACK) else "grpcs"
    if scheme == "grpc":
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=OPTIONS)


def text_event(kind: str, document: dict[str, Any]) -> CloudEvent:
    """A CloudEvent with JSON text, as existing peers expect it."""
    text = msgspec.json.encode(document).decode()
    return CloudEvent(id=str(uuid4()), source=SOURCE, spec_version="1.0", type=kind, text_data=text)


def document_of(event: CloudEvent) -> dict[str, Any]:
    """The JSON object of an event, from text or bytes; {} for anything else."""
    try:
        document = msgspec.json.decode(event.text_data or event.binary_data)
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}
