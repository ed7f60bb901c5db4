"""Functions as their queues and nodes know them; pausing and resuming; the queue's counts (native contract §3.2)."""

import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.audit import record
from gateway.endpoint import Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.precondition import check_match, etag, tagged
from gateway.reading import connected_nodes
from jobs.wake import FunctionChanged
from storage.postgres.database import Connection
from storage.postgres.function.pause import list_pauses, pause, resume
from storage.postgres.ledger.record import queue_counts, read_functions
from waypost import errors
from waypost.access.model import Permission
from waypost.function.model import FunctionPause
from waypost.job.record import FunctionOverview, QueueCount
from waypost.job.specification import is_function
from waypost.node.model import NodeRecord, NodeState

MAX_NOTE_CHARACTERS = 1_000


class Note(msgspec.Struct, forbid_unknown_fields=True):
    note: str = ""


class PauseView(msgspec.Struct, frozen=True):
    note: str
    by: str
    since: datetime


class ServingView(msgspec.Struct, frozen=True):
    """Nodes that have the function: connected, and what each takes at once."""

    connected: int
    draining: int
    max_in_flight: int


class FunctionView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    paused: PauseView | None
    nodes: ServingView
    input_schema: Any
    output_schema: Any
    queued: int
    running: int
    oldest_waiting_at: datetime | None
    last_hour: "LastHour"


class LastHour(msgspec.Struct, frozen=True):
    """`failed` is every end but completed and canceled."""

    submitted: int
    completed: int
    failed: int
    canceled: int
    p50_ms: float | None
    p99_ms: float | None


class FunctionList(msgspec.Struct):
    items: list[FunctionView]
    next_cursor: str | None


class StateCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs are in each state; `waiting` is `queued` (scheduled ones too) and `retrying` together."""

    waiting: int
    queued: int
    retrying: int
    running: int
    completed: int
    failed: int
    dead_letter: int
    canceled: int
    expired: int


class FunctionCounts(StateCounts, frozen=True, kw_only=True):
    function: str
    oldest_waiting_at: datetime | None


class QueueView(msgspec.Struct, frozen=True):
    """What waits and runs now, and all ends since the environment began."""

    states: StateCounts
    functions: list[FunctionCounts]
    oldest_waiting_at: datetime | None


def _never_seen(name: str) -> FunctionOverview:
    """A function that has nodes, or a pause, but no job yet."""
    return FunctionOverview(
        function=name,
        waiting=0,
        running=0,
        oldest_waiting_at=None,
        submitted_last_hour=0,
        completed_last_hour=0,
        failed_last_hour=0,
        canceled_last_hour=0,
        p50_ms=None,
        p99_ms=None,
    )


def _views(
    overviews: Iterable[FunctionOverview], pauses: Iterable[FunctionPause], nodes: Sequence[NodeRecord]
) -> dict[str, FunctionView]:
    """Every function that has a queue, a pause, or a node, by name."""
    counted = {overview.function: overview for overview in overviews}
    paused = {found.function: found for found in pauses}
    serving: dict[str, list[tuple[NodeRecord, dict[str, Any]]]] = {}
    for node in nodes:
        for function in node.functions:
            serving.setdefault(function["name"], []).append((node, function))
    names = sorted({*counted, *paused, *serving})
    return {name: _view(name, counted.get(name), paused.get(name), serving.get(name, [])) for name in names}


def _view(
    name: str,
    overview: FunctionOverview | None,
    paused: FunctionPause | None,
    serving: Sequence[tuple[NodeRecord, dict[str, Any]]],
) -> FunctionView:
    counts = overview or _never_seen(name)
    newest = serving[0][1] if serving else {}
    return FunctionView(
        name=name,
        paused=PauseView(paused.note, paused.paused_by, paused.paused_at) if paused else None,
        nodes=ServingView(
            len(serving),
            sum(node.state is NodeState.DRAINING for node, _ in serving),
            sum(function["max_in_flight"] for node, function in serving if not node.draining),
        ),
        input_schema=newest.get("input_schema"),
        output_schema=newest.get("output_schema"),
        queued=counts.waiting,
        running=counts.running,
        oldest_waiting_at=counts.oldest_waiting_at,
        last_hour=LastHour(
            counts.submitted_last_hour,
            counts.completed_last_hour,
            counts.failed_last_hour,
            counts.canceled_last_hour,
            counts.p50_ms,
            counts.p99_ms,
        ),
    )


async def _all(call: Call) -> dict[str, FunctionView]:
    async with call.services.reading(call.environment) as connection:
        overviews = await read_functions(connection, call.environment.id)
        pauses = await list_pauses(connection, call.environment.id)
        nodes = await connected_nodes(connection, call.environment.id)
    return _views(overviews, pauses, nodes)


@endpoint(
    "GET",
    E + "/functions",
    summary="Functions seen in this environment",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=FunctionList,
)
async def read_all(call: Call) -> Answer:
    return ok(FunctionList(list((await _all(call)).values()), None))


def _name(call: Call) -> str:
    name = call.parameters["function"]
    if not is_function(name):
        raise errors.not_found("function")
    return name


def _tag(paused: PauseView | FunctionPause | None) -> bytes:
    """Of what can be changed: whether it is paused, since when and why."""
    if paused is None:
        return etag("running")
    since = paused.since if isinstance(paused, PauseView) else paused.paused_at
    return etag("paused", int(since.timestamp() * 1_000_000), f"{zlib.crc32(paused.note.encode()):08x}")


@endpoint(
    "GET",
    E + "/functions/{function}",
    summary="One function",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=FunctionView,
)
async def read_one(call: Call) -> Answer:
    found = (await _all(call)).get(_name(call))
    if found is None:
        raise errors.not_found("function")
    return ok(found, headers=tagged(_tag(found.paused)))


async def _change(call: Call, action: str, apply: Any) -> Answer:
    """Pause or resume in one transaction; then the relays are told and the function as it is now is answered."""
    name, note = _name(call), (await call.read(Note)).note
    if len(note) > MAX_NOTE_CHARACTERS:
        raise errors.invalid("too_long", f"A note has at most {MAX_NOTE_CHARACTERS} characters.", "/note")

    async def work(connection: Connection) -> Answer:
        before = [found for found in await list_pauses(connection, call.environment.id) if found.function == name]
        check_match(call.exchange, _tag(before[0] if before else None))
        paused: FunctionPause | None = await apply(connection, name, note)
        await record(connection, call, action, f"function:{name}", {"note": note})
        view = PauseView(paused.note, paused.paused_by, paused.paused_at) if paused else None
        return ok({"name": name, "paused": view}, headers=tagged(_tag(paused)))

    answer = await once(call, call.environment.id, action, work)
    call.services.tell_environment(call.environment.id, FunctionChanged(name))
    return answer


class PausedView(msgspec.Struct):
    name: str
    paused: PauseView | None


@endpoint(
    "POST",
    E + "/functions/{function}/pause",
    summary="Start no job of a function until it is resumed",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=Note,
    answer=PausedView,
    idempotent=True,
    matched=True,
    example={"note": "the licence server is down"},
)
async def pause_one(call: Call) -> Answer:
    async def apply(connection: Connection, name: str, note: str) -> FunctionPause | None:
        return await pause(connection, call.environment.id, name, note, call.principal.actor)

    return await _change(call, "function.pause", apply)


@endpoint(
    "POST",
    E + "/functions/{function}/resume",
    summary="Let a paused function's jobs start again",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=Note,
    answer=PausedView,
    idempotent=True,
    matched=True,
    example={"note": "it is back"},
)
async def resume_one(call: Call) -> Answer:
    async def apply(connection: Connection, name: str, _note: str) -> FunctionPause | None:
        await resume(connection, call.environment.id, name)
        return None

    return await _change(call, "function.resume", apply)


@endpoint(
    "GET",
    E + "/queue",
    summary="How many jobs wait and run, by state and function",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=QueueView,
)
async def read_queue(call: Call) -> Answer:
    async with call.services.reading(call.environment) as connection:
        counts = await queue_counts(connection, call.environment.id)
    functions = [_counts(count) for count in counts]
    sums = StateCounts(**{state: sum(getattr(c, state) for c in functions) for state in StateCounts.__struct_fields__})
    oldest = min((c.oldest_waiting_at for c in functions if c.oldest_waiting_at), default=None)
    return ok(QueueView(sums, functions, oldest))


def _counts(count: QueueCount) -> FunctionCounts:
    return FunctionCounts(
        function=count.function,
        waiting=count.waiting,
        queued=count.waiting - count.retrying,
        retrying=count.retrying,
        running=count.running,
        completed=count.completed,
        failed=count.failed,
        dead_letter=count.dead_letter,
        canceled=count.canceled,
        expired=count.expired,
        oldest_waiting_at=count.oldest_waiting_at,
    )


ENDPOINTS: list[Endpoint] = [read_all, read_one, pause_one, resume_one, read_queue]
