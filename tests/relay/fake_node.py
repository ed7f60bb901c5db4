"""A compute node of a few lines, for tests: it does exactly what it is told, also what no SDK would do."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc.aio
from waypost_contracts.cloudevents_pb2 import CloudEvent
from waypost_contracts.waypost_frame_pb2 import Failure, Finished, NodeFrame, RelayFrame

METHOD = "/org.cyoda.cloud.api.grpc.CloudEventsService/startStreaming"
LIMIT = 110 << 20
OPTIONS = (
    ("grpc.max_send_message_length", LIMIT),
    ("grpc.max_receive_message_length", LIMIT),
    ("grpc.use_local_subchannel_pool", 1),
)


def text_event(kind: str, body: Any) -> bytes:
    event = CloudEvent(id=str(uuid4()), source="test", spec_version="1.0", type=kind, text_data=json.dumps(body))
    return bytes(event.SerializeToString())


def frame_event(frame: NodeFrame) -> bytes:
    event = CloudEvent(
        id=str(uuid4()), source="test", spec_version="1.0", type="JobFrame", binary_data=frame.SerializeToString()
    )
    return bytes(event.SerializeToString())


class FakeNode:
    """One stream. `answer` is called for each assignment and gives result bytes, a Failure, or None (no answer)."""

    def __init__(
        self,
        address: str,
        token: str | None,
        answer: Callable[[Any], Any] | None = None,
        certificate: bytes | None = None,
    ) -> None:
        if certificate is None:
            self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        else:
            self.channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(certificate), options=OPTIONS)
        self.call = self.channel.stream_stream(METHOD)(
            metadata=(("authorization", f"Bearer {token}"),) if token else ()
        )
        self.answer = answer
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.assigned: asyncio.Queue[Any] = asyncio.Queue()
        self.canceled: asyncio.Queue[Any] = asyncio.Queue()
        self.settled: asyncio.Queue[Any] = asyncio.Queue()
        self.drained = asyncio.Event()
        self.member_id = ""
        self.greeting: dict[str, Any] = {}
        self.in_flight = self.most_in_flight = self.done = 0
        self.deaf = asyncio.Event()  # set: reads nothing any more (cancelling a read would cancel the call)
        self._reader: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def join(self, functions: Any = (), tags: Any = (), max_in_flight: int = 64, **more: Any) -> "FakeNode":
        """Join, wait for the greet, then read in the background."""
        listed = [{"name": f, "max_in_flight": max_in_flight} if isinstance(f, str) else f for f in functions]
        body = {"id": str(uuid4()), "tags": list(tags), "functions": listed, "maxInFlight": max_in_flight, "frames": 1}
        await self.send(text_event("CalculationMemberJoinEvent", {**body, **more}))
        first = await self.read()
        assert first.type == "CalculationMemberGreetEvent", first
        self.greeting = json.loads(first.text_data)
        self.member_id = self.greeting["memberId"]
        self._reader = asyncio.create_task(self._run())
        return self

    async def send(self, raw: bytes) -> None:
        """Write once the relay has let us in: where a refusal overtakes a write, grpc.aio makes up an INTERNAL.

        EOFError when the stream has ended: `status` tells how.
        """
        await self.call.initial_metadata()
        async with self._lock:
            try:
                await self.call.write(raw)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                raise EOFError from error

    async def frame(self, **entries: Any) -> None:
        await self.send(frame_event(NodeFrame(**entries)))

    async def read(self) -> Any:
        try:
            raw = await self.call.read()
        except grpc.aio.AioRpcError as error:
            raise EOFError from error
        if raw is grpc.aio.EOF:
            raise EOFError
        return CloudEvent.FromString(raw)

    async def status(self) -> tuple[str, str]:
        """Code and message with which the relay ended the stream."""
        return (await self.call.code()).name, await self.call.details()

    async def finish(self, assignment: Any, answer: Any) -> None:
        await self.frame(finished=[finished(assignment, answer)])

    async def close(self) -> None:
        """Cut the stream, as a process that dies does."""
        self.call.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})
        await self.channel.close()

    async def _run(self) -> None:
        try:
            while not self.deaf.is_set():
                await self._on(await self.read())
            await asyncio.Event().wait()
        except (EOFError, asyncio.CancelledError):
            return

    async def _on(self, event: Any) -> None:
        if event.type == "CalculationMemberKeepAliveEvent":
            probe = json.loads(event.text_data)["id"]
            await self.send(text_event("EventAckResponse", {"sourceEventId": probe, "owner": "PLAY", "success": True}))
        if event.type != "JobFrame":
            self.events.put_nowait(event)
            return
        frame = RelayFrame.FromString(event.binary_data)
        for settled in frame.settled:
            self.settled.put_nowait(settled)
        for cancel in frame.cancel:
            self.canceled.put_nowait(cancel)
        if frame.HasField("drain"):
            self.drained.set()
        await self._work(frame.assign)

    async def _work(self, assignments: Any) -> None:
        self.in_flight += len(assignments)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        answers = []
        for assignment in assignments:
            answer = self.answer(assignment) if self.answer is not None else None
            if answer is None:
                self.assigned.put_nowait(assignment)
            else:
                answers.append(finished(assignment, answer))
        if answers:
            self.in_flight -= len(answers)
            self.done += len(answers)
            await self.frame(finished=answers)


def finished(assignment: Any, answer: Any) -> Finished:
    if isinstance(answer, Failure):
        return Finished(attempt_id=assignment.attempt_id, job_id=assignment.job_id, failure=answer)
    return Finished(attempt_id=assignment.attempt_id, job_id=assignment.job_id, result=answer)
