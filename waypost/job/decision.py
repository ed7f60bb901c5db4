"""What may happen to a job: transitions, retries, cancel, admission, and why it is not running.

Pure functions: no I/O, no clock, no chance of their own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum, StrEnum
from types import MappingProxyType

import msgspec

from waypost.clock import rfc3339
from waypost.errors import Category, WaypostError, conflict
from waypost.job.model import Backoff, End, JobState, Outcome, Policy, RetryPolicy
from waypost.job.record import Place, Standing
from waypost.route.decision import free_slots, most_excluding, serves
from waypost.route.model import NodeView

# --- states ---------------------------------------------------------------------------------------------------------

# A job expires only before its first attempt began; a lost or failed attempt never returns to `queued`.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELED, JobState.EXPIRED}),
        JobState.RUNNING: frozenset(
            {JobState.COMPLETED, JobState.RETRYING, JobState.FAILED, JobState.DEAD_LETTER, JobState.CANCELED}
        ),
        JobState.RETRYING: frozenset({JobState.RUNNING, JobState.CANCELED}),
        **{end.state: frozenset() for end in End},
    }
)


def may_follow(before: JobState, after: JobState) -> bool:
    """Whether a job may go from one state straight to the other. Nothing follows an end."""
    return after in TRANSITIONS[before]


def is_end(state: JobState) -> bool:
    return not TRANSITIONS[state]


# --- retry ----------------------------------------------------------------------------------------------------------


def after_failure(policy: Policy, number: int, outcome: Outcome, retryable: bool, chance: float) -> float | End:
    """What follows attempt `number` (1 = first) that did not complete: seconds until the next one, or the end.

    A lost attempt counts and is tried again at once (0.0), whatever the backoff. `retryable` is the node's word and
    counts for FAILED only. `chance` in [0, 1) picks the place within the jitter. Raises ValueError for COMPLETED.
    """
    if outcome is Outcome.COMPLETED:
        raise ValueError("a completed attempt is not a failure")
    if outcome is Outcome.CANCELED:
        return End.CANCELED
    if outcome is Outcome.FAILED and not retryable:
        return End.FAILED
    if number >= policy.retry.max_attempts:
        return End.DEAD_LETTER
    return 0.0 if outcome is Outcome.LOST else retry_delay(policy.retry, number, chance)


def retry_delay(retry: RetryPolicy, number: int, chance: float) -> float:
    """Seconds between attempt `number` and the next: never negative, never above `max_seconds`.

    Uniform in delay ± jitter share, cut at `max_seconds` before drawing, so that capped delays spread, not pile up.
    """
    if retry.backoff is Backoff.NONE:
        return 0.0
    growth = retry.factor ** (number - 1) if retry.backoff is Backoff.EXPONENTIAL else 1.0
    delay = min(retry.initial_seconds * growth, retry.max_seconds)
    low, high = delay * (1 - retry.jitter), min(delay * (1 + retry.jitter), retry.max_seconds)
    return low + (high - low) * chance


# --- cancel and admission -------------------------------------------------------------------------------------------


class CancelStep(Enum):
    """What canceling does now."""

    END = "end"  # it waits: ended at once
    ASK_NODE = "ask_node"  # it runs: the node is told and has CANCEL_GRACE; an answer that arrives before stands


def cancel_step(state: JobState) -> CancelStep:
    """Raises 409 `job_already_ended` for an end. Asking again for a running job is the same step."""
    if is_end(state):
        raise conflict(
            "job_already_ended",
            f"The job has already ended as {state.value}, and an end is final. To run it again, replay it.",
            state=state.value,
        )
    return CancelStep.ASK_NODE if state is JobState.RUNNING else CancelStep.END


def admit(environment_status: str, waiting: int, limit: int | None, count: int = 1) -> None:
    """Return if the environment takes `count` more jobs; `waiting` may lag a little. All or nothing.

    Raises 409 `environment_not_ready` or 429 `queue_full` (retryable). `limit` None = no limit.
    """
    if environment_status != "ready":
        raise not_taking(environment_status)
    if limit is not None and waiting + count > limit:
        raise WaypostError(
            "queue_full",
            f"{waiting} jobs are waiting and the limit of this environment is {limit}."
            " Retry later, or add nodes that serve them.",
            Category.LIMITED,
            retryable=True,
            retry_after_seconds=5,
            extra={"waiting": waiting, "limit": limit},
        )


def not_taking(environment_status: str) -> WaypostError:
    """409 `environment_not_ready`, with the status."""
    return conflict(
        "environment_not_ready",
        f"The environment is {environment_status} and takes no jobs; its status and steps say what it waits for.",
        environment_status=environment_status,  # `status` is the problem document's own
    )


# --- why it is not running ------------------------------------------------------------------------------------------


class Reason(StrEnum):
    """Native contract §3.4."""

    SCHEDULED = "scheduled"
    RETRY_BACKOFF = "retry_backoff"
    FUNCTION_PAUSED = "function_paused"
    CONCURRENCY_LIMIT = "concurrency_limit"
    NO_NODE_CONNECTED = "no_node_connected"
    FUNCTION_NOT_SERVED = "function_not_served"
    NO_NODE_MATCHES = "no_node_matches"
    NODES_BUSY = "nodes_busy"
    ENVIRONMENT_SUSPENDED = "environment_suspended"
    DISPATCHING = "dispatching"


class NodeCounts(msgspec.Struct, frozen=True):
    """Nodes of the environment, each number a part of the one before.

    Connected; not draining and with the function; of those, satisfying all selectors; of those, with a free slot.
    """

    connected: int = 0
    serving: int = 0
    matching: int = 0
    free: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """Why a job is not running: one reason, the first that would hold it even if the later ones were gone."""

    reason: Reason
    detail: str
    since: datetime
    nodes: NodeCounts


def waiting_reason(
    standing: Standing,
    *,
    environment_status: str,
    nodes: Sequence[NodeView],
    function: str,
    selectors: Sequence[str],
) -> Waiting | None:
    """Why a waiting job does not run now, by the functions that routing itself uses; None when it runs or has ended.

    `nodes`: all connected ones of the environment, draining ones too.
    """
    if standing.place in (Place.LEASE, Place.END):
        return None
    serving = [node for node in nodes if serves(node, function, ())]
    matching = [node for node in serving if serves(node, function, selectors)]
    free = sum(free_slots(node, function) > 0 for node in matching)
    counts = NodeCounts(len(nodes), len(serving), len(matching), free)
    held = _held_back(standing, environment_status, function)
    if held is None:
        held = (*_node_reason(nodes, serving, counts, function, selectors), standing.since)
    reason, detail, since = held
    return Waiting(reason, detail, since, counts)


def _held_back(standing: Standing, environment_status: str, function: str) -> tuple[Reason, str, datetime] | None:
    """What holds the job whatever the nodes do, or None."""
    since = standing.since
    if environment_status != "ready":
        return Reason.ENVIRONMENT_SUSPENDED, f"The environment is {environment_status}; no job starts in it.", since
    if standing.place is Place.DUE:
        due = f" at {rfc3339(standing.due_at)}" if standing.due_at else ""
        if standing.number:
            return Reason.RETRY_BACKOFF, f"Attempt {standing.number} did not complete; the next one is due{due}.", since
        return Reason.SCHEDULED, f"It is due{due}.", since
    if standing.paused_at is not None:
        note = f": {standing.paused_note}" if standing.paused_note else "."
        detail = f"{function} was paused by {standing.paused_by}{note}"
        return Reason.FUNCTION_PAUSED, detail, max(since, standing.paused_at)
    if standing.place is Place.HOLD:
        detail = f"As many jobs as the concurrency key {standing.concurrency_key!r} allows are running."
        return Reason.CONCURRENCY_LIMIT, detail, since
    return None


def _node_reason(
    nodes: Sequence[NodeView],
    serving: Sequence[NodeView],
    counts: NodeCounts,
    function: str,
    selectors: Sequence[str],
) -> tuple[Reason, str]:
    """Which of the nodes' conditions is not met; `dispatching` when all are."""
    if not nodes:
        return Reason.NO_NODE_CONNECTED, "No compute node of this environment is connected."
    if not serving:
        leaving = sum(function in node.functions for node in nodes)
        if leaving:
            return Reason.FUNCTION_NOT_SERVED, f"The only nodes with {function} ({leaving}) are draining."
        return (
            Reason.FUNCTION_NOT_SERVED,
            f"No connected node has the function {function} (connected: {counts.connected}).",
        )
    if not counts.matching:
        selector, excluded = most_excluding(selectors, [node.tags for node in serving]) or ("", 0)
        detail = f"The selector {selector!r} excludes {excluded} of the {counts.serving} nodes that serve {function}."
        return Reason.NO_NODE_MATCHES, detail
    if not counts.free:
        return Reason.NODES_BUSY, f"Every node that matches is at its limit of jobs (matching: {counts.matching})."
    return (
        Reason.DISPATCHING,
        f"A node is free ({counts.free} of {counts.matching} that match); a relay is about to claim it.",
    )
