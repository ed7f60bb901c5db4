"""The RPCs of `CloudEventsService` (compute-node contract §1.1, §3): who may call, the join, and the reading of a
stream.

Messages are bytes here: what cannot be read is counted and refused by us, not by gRPC. The unary and collection RPCs
belong to the entity surface; in this version they answer UNIMPLEMENTED to a caller who is authenticated.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from waypost_contracts.waypost_frame_pb2 import NodeFrame

from relay import event, metric
from relay.departure import Departures
from relay.fleet import Fleet, Node
from relay.handshake import Join, Refused, check_allowance, node_name, parse_join
from relay.liveness import Liveness
from relay.registrar import Registrar
from relay.room import Room, Rooms
from relay.running import Running
from relay.stream import Context, Stream
from relay.telling import Publisher
from relay.token import ROLE, Bearer, TokenVerifier, Unauthenticated
from relay.watcher import Watcher
from storage.postgres.database import Database
from storage.postgres.fleet import admission
from waypost.errors import WaypostError
from waypost.ids import new_id

SERVICE = "org.cyoda.cloud.api.grpc.CloudEventsService"
UNARY = ("entityModelManage", "entityManage", "entitySearch")
COLLECTION = ("entityManageCollection", "entitySearchCollection")
JOIN_SECONDS = 10.0
CANCEL_SECONDS = 0.05  # a stream that was cut reads as its end too, a moment before grpc cancels this handler
TURN_ENTRIES = 1_000  # entries of one frame between two turns of the loop
ALIVE_STATUSES = ("ready", "suspended")

_log = structlog.get_logger("relay.service")


class Service:
    """One a process. `open` False refuses new streams (draining, or no session yet)."""

    def __init__(
        self,
        fleet: Fleet,
        verifier: TokenVerifier,
        database: Database,
        watcher: Watcher,
        running: Running,
        publisher: Publisher,
        liveness: Liveness,
        registrar: Registrar,
        departures: Departures,
        rooms: Rooms,
    ) -> None:
        self._fleet, self._verifier, self._database, self._watcher = fleet, verifier, database, watcher
        self._running, self._publisher, self._liveness = running, publisher, liveness
        self._registrar, self._departures, self._rooms = registrar, departures, rooms
        self.open = False

    def handlers(self) -> dict[str, Any]:
        """Method handlers by name, with bytes in and bytes out."""
        streaming = {"startStreaming": grpc.stream_stream_rpc_method_handler(self.start_streaming)}
        unary = {name: grpc.unary_unary_rpc_method_handler(self._not_available) for name in UNARY}
        collection = {name: grpc.unary_stream_rpc_method_handler(self._none_available) for name in COLLECTION}
        return streaming | unary | collection

    # --- who calls

    async def _authenticate(self, context: Any) -> Bearer:
        """The caller, or the stream is ended. Deliberately the same words for every cause."""
        try:
            return await self._verifier.verify(context.invocation_metadata())
        except Unauthenticated as error:
            _log.info("stream.unauthenticated", reason=str(error))
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "authentication failed") from error

    async def _not_available(self, _request: bytes, context: Any) -> bytes:
        await self._refuse_entity(context)
        return b""

    async def _none_available(self, _request: bytes, context: Any) -> None:
        await self._refuse_entity(context)

    async def _refuse_entity(self, context: Any) -> None:
        try:
            await self._authenticate(context)
        except Refused as refused:
            await context.abort(refused.code, refused.message)
        except WaypostError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, error.detail)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the entity operations are not available in this version")

    # --- the stream

    async def start_streaming(self, _requests: Any, context: Any) -> None:
        """Join, greet, then read until the stream ends; a clean half-close is answered OK."""
        stream = Stream(context)
        try:
            node = await self._admit(stream, context)
        except Refused as refused:
            metric.JOINS.labels(refused.code.name.lower()).inc()
            await context.abort(refused.code, refused.message)
            return
        except WaypostError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot take nodes just now: {error.code}")
            return
        reason = "the node's connection was lost"
        try:
            await self._greet(node)
            await self._read(node, context)
            await asyncio.sleep(CANCEL_SECONDS)
            reason = "the node left"
        finally:
            self.detach(node, stream.closed_because or reason, left=reason == "the node left")

    async def _admit(self, stream: Stream, context: Context) -> Node:
        """Everything of the contract's §3.2 before the greet. Refused, or a node that is connected and not routable."""
        bearer = await self._authenticate(context)
        if ROLE not in bearer.roles:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_M2M required for streaming")
        if not self.open:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "draining")
        # A node that waits for this before it writes hears every refusal's own status. Where a refusal overtakes a
        # write, Python's gRPC tells the node an INTERNAL of its own making.
        with suppress(grpc.aio.InternalError):  # it has gone already: reading tells
            await context.send_initial_metadata(())
        try:
            first = await asyncio.wait_for(context.read(), JOIN_SECONDS)
        except TimeoutError as error:
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, f"no join within {JOIN_SECONDS:.0f} s") from error
        if first is grpc.aio.EOF:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "failed to parse first message: there was none")
        try:
            join = parse_join(first, bearer)
        except Refused:
            metric.GARBAGE.labels("join").inc()
            raise
        status = await self._check_credential(join, bearer)
        room = await self._rooms.of(bearer.environment_id, self._registrar.session)
        room.check(self._here(bearer))
        node = await self._connect(stream, join, bearer, room)
        self._fleet.territory(node.environment_id).open = status == "ready"
        return node

    async def _check_credential(self, join: Join, bearer: Bearer) -> str:
        """Whether the credential is there and allows this join; answers the environment's status."""
        if bearer.credential_id is None:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "authentication failed")
        credential = await admission.credential(self._database, bearer.credential_id)
        if (
            credential is None
            or credential.environment_id != bearer.environment_id
            or credential.environment_status not in ALIVE_STATUSES
        ):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "authentication failed")
        check_allowance(join, bearer.tags, bearer.functions)
        check_allowance(join, credential.tags, credential.functions)
        return credential.environment_status

    def _here(self, bearer: Bearer) -> int:
        territory = self._fleet.territories.get(bearer.environment_id)
        return len(territory.nodes) if territory is not None else 0

    async def _connect(self, stream: Stream, join: Join, bearer: Bearer, room: Room) -> Node:
        assert bearer.credential_id is not None  # noqa: S101 - checked with the credential
        identifier = new_id()
        node = Node(
            id=identifier, environment_id=bearer.environment_id, credential_id=bearer.credential_id,
            name=node_name(join, identifier), tags=join.tags, functions=join.functions,
            max_in_flight=join.max_in_flight, stream=stream, frames=join.frames, declared=join.declared, sdk=join.sdk,
            version=join.version, tenant=bearer.tenant,
        )  # fmt: skip
        while True:
            territory = self._fleet.territory(bearer.environment_id)
            await self._watcher.enter(territory)
            if self._fleet.territories.get(bearer.environment_id) is territory:  # its last node may have left meanwhile
                break
        room.check(self._here(bearer))  # again: others may have joined here meanwhile, and none can from here on
        node.heard_at = node.reported_at = time.monotonic()
        self._fleet.connect(node)
        stream.on_close = lambda: self.detach(node, stream.closed_because, left=False)
        return node

    async def _greet(self, node: Node) -> None:
        """Greet first, then routable: a job must not overtake the greet."""
        node.stream.outbox.send(event.greet(node.id, node.tenant))
        await node.stream.outbox.flushed()
        metric.JOINS.labels("ok").inc()
        self._registrar.joined(node)
        self._liveness.watch(node)
        if not node.stream.closed_because:
            self._watcher.look_for_work(node.environment_id, self._fleet.open_for_work(node))
        _log.info("node.joined", node=str(node.id), name=node.name, functions=len(node.functions), tags=len(node.tags))

    async def _read(self, node: Node, context: Context) -> None:
        """Handle every message until the node closes its side. One that does not read us is not read either."""
        read, room = context.read, node.stream.outbox.has_room
        while (raw := await read()) is not grpc.aio.EOF:
            node.heard_at = time.monotonic()
            await self._handle(node, raw)
            if node.stream.outbox.crowded:
                await room()

    async def _handle(self, node: Node, raw: bytes) -> None:
        try:
            received = event.parse(raw)
            kind = received.type
            if kind == event.FRAME:
                await self._frame(node, NodeFrame.FromString(event.data(received)))
                return
        except (event.Malformed, DecodeError):
            self._garbage(node)
            return
        if kind == event.ACK:
            self._acknowledged(node, received)
        elif kind == event.KEEP_ALIVE:
            self._acknowledge(node, received)
        elif kind == event.DRAIN:
            self._departures.drain(node, "the node asked", tell=False)

    def _garbage(self, node: Node) -> None:
        """Bytes that are no event, or a frame that is none: whoever sends them speaks something else."""
        metric.GARBAGE.labels("stream").inc()
        _log.warning("stream.garbage", node=str(node.id), name=node.name)
        node.stream.close(grpc.StatusCode.INVALID_ARGUMENT, "a message could not be read")

    def _acknowledged(self, node: Node, received: Any) -> None:
        found = event.acknowledged(received)
        if found is not None and node.probe_id and found.sourceEventId == node.probe_id:
            node.dirty = node.dirty or node.round_trip_ms is None  # later ones go with the next report
            node.round_trip_ms = round((time.monotonic() - node.probe_at) * 1000, 3)
            node.probe_id = ""

    def _acknowledge(self, node: Node, received: Any) -> None:
        """A client's own keep-alive. Never echoed as a keep-alive: two echoing sides once made a storm."""
        found = event.acknowledged(received)
        if found is not None and isinstance(found.id, str):
            node.stream.outbox.send(event.ack(found.id))

    async def _frame(self, node: Node, frame: Any) -> None:
        """The entries of a frame in the order that keeps a job's story straight; large ones in several turns."""
        if not node.frames:
            return
        running, done = self._running, 0
        for entry in frame.started:
            running.current(node, entry.attempt_id)
        for entry in frame.progress:
            attempt = running.current(node, entry.attempt_id)
            if attempt is not None:
                self._publisher.progress(attempt, entry.fraction, entry.message)
        for entry in frame.log:
            attempt = running.current(node, entry.attempt_id)
            if attempt is not None:
                self._publisher.log(attempt, entry.at_ms, entry.level, entry.message)
            done += 1
            if done % TURN_ENTRIES == 0:
                await asyncio.sleep(0)
        for entry in frame.finished:
            running.finished(node, entry)
            done += 1
            if done % TURN_ENTRIES == 0:
                await node.stream.outbox.has_room()
                await asyncio.sleep(0)

    def detach(self, node: Node, reason: str, *, left: bool) -> None:
        """The stream is over: the node leaves the fleet, its attempts have their grace. Again: changes nothing."""
        if self._fleet.nodes.get(node.id) is not node:
            return
        last = self._fleet.disconnect(node)
        node.stream.outbox.close()
        self._liveness.forget(node)
        self._departures.forget(node)
        self._running.stream_lost(node, left=left)
        self._registrar.left(node, reason)
        if last:
            self._watcher.leave(node.environment_id)
        _log.info("node.left", node=str(node.id), name=node.name, reason=reason)
