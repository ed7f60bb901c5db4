"""The first message of a stream: what a join says, and why one is refused (compute-node contract §3.2, native §7).

Pure functions over bytes and what is known of the credential. A join may lack `id`, may carry `owner` and anything
else; a wrong type in a key that we read is refused with the place.
"""

from typing import Annotated, Any
from uuid import UUID

import grpc
import msgspec

from relay import event
from relay.token import Bearer
from waypost.job.model import FUNCTION_PATTERN, MAX_FUNCTION_CHARACTERS
from waypost.route.decision import SelectorError, first_refused, parse_tags

MAX_TAGS = 256
MAX_TAG_CHARACTERS = 256
MAX_FUNCTIONS = 1_000
MAX_SCHEMA_BYTES = 64 << 10
DEFAULT_IN_FLIGHT = 64
MOST_IN_FLIGHT = 10_000

_InFlight = Annotated[int, msgspec.Meta(ge=1, le=MOST_IN_FLIGHT)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]


class Refused(Exception):  # noqa: N818 - it is an answer
    """End the stream with this status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class DeclaredFunction(msgspec.Struct, omit_defaults=True):
    """A function that the node runs. Schemas are kept as they came."""

    name: Annotated[str, msgspec.Meta(pattern=FUNCTION_PATTERN, max_length=MAX_FUNCTION_CHARACTERS)]
    max_in_flight: _InFlight | None = None
    input_schema: msgspec.Raw = msgspec.Raw()
    output_schema: msgspec.Raw = msgspec.Raw()


class _Join(msgspec.Struct):
    tags: list[Annotated[str, msgspec.Meta(max_length=MAX_TAG_CHARACTERS)]] | None = None
    joinedLegalEntityId: str | None = None  # noqa: N815 - the wire's names
    functions: list[DeclaredFunction] | None = None
    maxInFlight: _InFlight | None = None  # noqa: N815
    frames: int | None = None
    sdk: _Name | None = None
    name: _Name | None = None
    version: _Name | None = None


class Join(msgspec.Struct, frozen=True):
    """A join that may be granted, as far as it alone can tell. `declared` is the JSON that the registry keeps."""

    tags: dict[str, str]
    tag_texts: tuple[str, ...]
    functions: dict[str, int]
    declared: str
    max_in_flight: int
    frames: bool
    name: str
    sdk: str | None
    version: str | None


_join = msgspec.json.Decoder(_Join)


def parse_join(raw: bytes, bearer: Bearer) -> Join:
    """The join in a stream's first message; Refused with the status of §3.2 when it is none."""
    try:
        first = event.parse(raw)
        if first.type != event.JOIN:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"first message must be CalculationMemberJoinEvent, got {first.type[:100]}",
            )
        body = event.data(first)
    except event.Malformed as error:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"failed to parse first message: {error}") from error
    try:
        join = _join.decode(body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _invalid(str(error)) from error
    if join.joinedLegalEntityId and join.joinedLegalEntityId != bearer.tenant:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "tenant mismatch")
    return _read(join)


def _read(join: _Join) -> Join:
    tags, functions = join.tags or [], join.functions or []
    if len(tags) > MAX_TAGS or len(functions) > MAX_FUNCTIONS:
        raise _invalid(f"at most {MAX_TAGS} tags and {MAX_FUNCTIONS} functions")
    if sum(len(f.input_schema) + len(f.output_schema) for f in functions) > MAX_SCHEMA_BYTES * max(1, len(functions)):
        raise _invalid(f"schemas take more than {MAX_SCHEMA_BYTES} bytes a function")
    frames = join.frames == 1
    most = join.maxInFlight or DEFAULT_IN_FLIGHT
    named = {function.name: min(function.max_in_flight or most, most) for function in functions} if frames else {}
    if frames and len(named) != len(functions):
        raise _invalid("a function is declared twice")
    return Join(
        tags=_tags(tags, strict=bool(named)),
        tag_texts=tuple(tags),
        functions=named,
        declared=_declared(functions, named),
        max_in_flight=most,
        frames=frames,
        name=join.name or "",
        sdk=join.sdk,
        version=join.version,
    )


def _tags(texts: list[str], *, strict: bool) -> dict[str, str]:
    """Parsed tags. Nodes without functions are matched by exact text only, so theirs may be any text."""
    try:
        return parse_tags(texts)
    except SelectorError as error:
        if strict:
            raise _invalid(f"tags: {error}") from error
        return dict.fromkeys(texts, "")


def _declared(functions: list[DeclaredFunction], named: dict[str, int]) -> str:
    listed: list[dict[str, Any]] = []
    for function in functions:
        entry: dict[str, Any] = {"name": function.name, "max_in_flight": named.get(function.name, 0)}
        for schema in ("input_schema", "output_schema"):
            if getattr(function, schema):
                entry[schema] = getattr(function, schema)
        listed.append(entry)
    return msgspec.json.encode(listed).decode()


def check_allowance(join: Join, tags: tuple[str, ...] | None, functions: tuple[str, ...] | None) -> None:
    """Refuse a join with a tag or function outside the credential, naming the first one (native contract §4)."""
    refused = first_refused(tags, join.tag_texts)
    if refused is not None:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"the credential does not allow the tag {refused}")
    refused = first_refused(functions, join.functions)
    if refused is not None:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"the credential does not allow the function {refused}")


def node_name(join: Join, node_id: UUID) -> str:
    return join.name or f"node-{node_id.hex[-8:]}"


def _invalid(reason: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, f"invalid join event payload: {reason}")
