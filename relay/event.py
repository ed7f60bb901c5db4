"""CloudEvents of the stream: raw bytes in, raw bytes out (compute-node contract §1.2, §2).

Responsible for the envelope and for the few control events; frames are made in `relay.outbox`. What goes out carries
`text_data`, except frames; what comes in may carry `text_data` or `binary_data`. Ids are ours, unique per message.
"""

from typing import Any
from uuid import UUID

import msgspec
from google.protobuf.message import DecodeError
from waypost_contracts.cloudevents_pb2 import CloudEvent

from waypost.ids import new_id

JOIN = "CalculationMemberJoinEvent"
GREET = "CalculationMemberGreetEvent"
KEEP_ALIVE = "CalculationMemberKeepAliveEvent"
ACK = "EventAckResponse"
FRAME = "JobFrame"
DRAIN = "CalculationMemberDrainEvent"  # node → relay: no new work for me (compute-node contract §8.2)

SOURCE = "cyoda"  # never checked by anybody; existing servers say it


class Malformed(ValueError):  # noqa: N818 - what the bytes are
    """Bytes that are no CloudEvent, or an event without usable data; `str` says which."""


class Acknowledged(msgspec.Struct):
    """What is read of an `EventAckResponse` and of a client's keep-alive; everything else in them is ignored."""

    id: Any = None
    sourceEventId: Any = None  # noqa: N815 - the wire's name


_acknowledged = msgspec.json.Decoder(Acknowledged)


def parse(raw: bytes) -> Any:
    """The CloudEvent in `raw`; Malformed when there is none."""
    try:
        return CloudEvent.FromString(raw)
    except DecodeError as error:
        raise Malformed("not a CloudEvent") from error


def data(event: Any) -> bytes:
    """The event's data as bytes; Malformed when there is none or it is `proto_data`."""
    kind = event.WhichOneof("data")
    if kind == "text_data":
        return bytes(event.text_data, "utf-8")
    if kind == "binary_data":
        return bytes(event.binary_data)
    raise Malformed("the event has no text_data and no binary_data")


def acknowledged(event: Any) -> Acknowledged | None:
    """The ids of an acknowledgement or keep-alive, or None when it is malformed: such events are skipped, never
    fatal.
    """
    try:
        return _acknowledged.decode(data(event))
    except (Malformed, msgspec.DecodeError, msgspec.ValidationError, UnicodeError):
        return None


def text(kind: str, body: bytes) -> bytes:
    """A serialized event with JSON `body` as `text_data`."""
    event = CloudEvent(id=str(new_id()), source=SOURCE, spec_version="1.0", type=kind, text_data=body.decode())
    return bytes(event.SerializeToString())


def greet(member: UUID, tenant: str) -> bytes:
    body = {"id": str(new_id()), "memberId": str(member), "joinedLegalEntityId": tenant, "success": True}
    return text(GREET, msgspec.json.encode(body))


def probe(identifier: str, member: UUID) -> bytes:
    """A keep-alive whose JSON id is unique, so that its acknowledgement gives the round-trip time."""
    return text(KEEP_ALIVE, b'{"id":"%b","memberId":"%b","success":true}' % (identifier.encode(), str(member).encode()))


def ack(source_event_id: str) -> bytes:
    return text(ACK, msgspec.json.encode({"id": str(new_id()), "sourceEventId": source_event_id, "success": True}))


def frame(body: bytes) -> bytes:
    """A serialized `JobFrame` around a serialized RelayFrame."""
    event = CloudEvent(id=str(new_id()), source=SOURCE, spec_version="1.0", type=FRAME, binary_data=body)
    return bytes(event.SerializeToString())
