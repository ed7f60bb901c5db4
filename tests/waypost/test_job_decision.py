"""What may happen to a job: states, retries, cancel, admission, and why it is not running."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import Category, WaypostError
from waypost.ids import new_id
from waypost.job.decision import (
    TRANSITIONS,
    CancelStep,
    NodeCounts,
    Reason,
    Waiting,
    admit,
    after_failure,
    cancel_step,
    is_end,
    may_follow,
    retry_delay,
    waiting_reason,
)
from waypost.job.model import Backoff, End, JobState, Outcome, Policy, RetryPolicy
from waypost.job.record import Place, Standing
from waypost.route.model import NodeView

SINCE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CHANCES = st.floats(0, 1, exclude_max=True)
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    backoff=st.sampled_from(Backoff),
    initial_seconds=st.floats(0, 604_800),
    factor=st.floats(1, 100),
    max_seconds=st.floats(0, 604_800),
    jitter=st.floats(0, 1),
)


# --- states ---------------------------------------------------------------------------------------------------------


def test_nothing_follows_an_end() -> None:
    """The five ends, and only they, are final."""
    ends = {end.state for end in End}
    assert {state for state in JobState if is_end(state)} == ends
    assert not any(may_follow(end, state) for end in ends for state in JobState)


def test_every_end_can_be_reached_and_every_state_left() -> None:
    """From queued, by the table alone."""
    reached, frontier = {JobState.QUEUED}, [JobState.QUEUED]
    while frontier:
        fresh = TRANSITIONS[frontier.pop()] - reached
        reached |= fresh
        frontier += fresh
    assert reached == set(JobState)


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        (JobState.QUEUED, JobState.RUNNING, True),
        (JobState.QUEUED, JobState.EXPIRED, True),
        (JobState.QUEUED, JobState.COMPLETED, False),
        (JobState.QUEUED, JobState.RETRYING, False),
        (JobState.RUNNING, JobState.RETRYING, True),
        (JobState.RUNNING, JobState.QUEUED, False),
        (JobState.RUNNING, JobState.EXPIRED, False),
        (JobState.RETRYING, JobState.RUNNING, True),
        (JobState.RETRYING, JobState.CANCELED, True),
        (JobState.RETRYING, JobState.EXPIRED, False),  # it was started in time
        (JobState.RETRYING, JobState.COMPLETED, False),
    ],
)
def test_the_transitions_are_those_of_the_contract(before: JobState, after: JobState, may: bool) -> None:
    """Native contract §3.1, states."""
    assert may_follow(before, after) is may


# --- retry ----------------------------------------------------------------------------------------------------------


def test_the_default_schedule_doubles_from_five_seconds_to_ten_minutes() -> None:
    """5, 10, 20 … 600, at the middle of the jitter; at the limit the middle lies below it."""
    retry = RetryPolicy()
    assert [retry_delay(retry, number, 0.5) for number in range(1, 7)] == pytest.approx([5, 10, 20, 40, 80, 160])
    assert retry_delay(retry, 50, 0.0) == pytest.approx(480)
    assert retry_delay(retry, 50, 1.0) == pytest.approx(600)


def test_fixed_waits_the_same_and_none_not_at_all() -> None:
    """The other two backoffs."""
    fixed = RetryPolicy(backoff=Backoff.FIXED, initial_seconds=7, jitter=0)
    assert {retry_delay(fixed, number, 0.9) for number in (1, 2, 90)} == {7.0}
    assert retry_delay(RetryPolicy(backoff=Backoff.NONE), 3, 0.9) == 0.0


def test_jitter_spreads_to_both_sides() -> None:
    """A share of the delay, more or less."""
    retry = RetryPolicy(initial_seconds=10, jitter=0.2)
    assert retry_delay(retry, 1, 0.0) == pytest.approx(8)
    assert retry_delay(retry, 1, 0.999999) == pytest.approx(12, rel=1e-3)


@given(RETRIES, st.integers(1, 99), CHANCES)
def test_a_delay_is_never_negative_and_never_above_its_limit(retry: RetryPolicy, number: int, chance: float) -> None:
    """Whatever the policy allows, also factor 100 at attempt 99."""
    assert 0 <= retry_delay(retry, number, chance) <= retry.max_seconds * (1 + 1e-9)


@given(RETRIES, st.integers(1, 200), st.sampled_from([Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST]), CHANCES)
def test_the_budget_ends_every_job(retry: RetryPolicy, number: int, outcome: Outcome, chance: float) -> None:
    """Below max_attempts there is a delay, from it on the dead letter; a lost attempt counts and waits not."""
    decided = after_failure(Policy(retry=retry), number, outcome, retryable=True, chance=chance)
    if number >= retry.max_attempts:
        assert decided is End.DEAD_LETTER
    else:
        assert not isinstance(decided, End)
        assert outcome is not Outcome.LOST or decided == 0.0


@pytest.mark.parametrize(
    ("number", "outcome", "retryable", "expected"),
    [
        (1, Outcome.FAILED, False, End.FAILED),
        (5, Outcome.FAILED, False, End.FAILED),  # the reason counts before the budget
        (5, Outcome.FAILED, True, End.DEAD_LETTER),
        (4, Outcome.LOST, True, 0.0),
        (4, Outcome.LOST, False, 0.0),  # nobody said that it may not be tried again
        (5, Outcome.LOST, True, End.DEAD_LETTER),
        (1, Outcome.TIMED_OUT, False, 5.0),
        (1, Outcome.CANCELED, True, End.CANCELED),
        (5, Outcome.CANCELED, True, End.CANCELED),
    ],
)
def test_what_follows_an_attempt(number: int, outcome: Outcome, retryable: bool, expected: float | End) -> None:
    """With the default policy of five attempts."""
    decided = after_failure(Policy(), number, outcome, retryable, 0.5)
    assert decided == pytest.approx(expected)
    assert isinstance(decided, End) is isinstance(expected, End)


def test_a_completed_attempt_is_not_a_failure() -> None:
    """Asking is a mistake of the caller."""
    with pytest.raises(ValueError, match="completed"):
        after_failure(Policy(), 1, Outcome.COMPLETED, True, 0.5)


# --- cancel and admission -------------------------------------------------------------------------------------------


def test_canceling_ends_what_waits_and_asks_what_runs() -> None:
    """Native contract §3.2; asking twice is the same."""
    assert cancel_step(JobState.QUEUED) is CancelStep.END
    assert cancel_step(JobState.RETRYING) is CancelStep.END
    assert cancel_step(JobState.RUNNING) is CancelStep.ASK_NODE


@pytest.mark.parametrize("end", [end.state for end in End])
def test_an_end_cannot_be_canceled(end: JobState) -> None:
    """409, with the state it ended in."""
    with pytest.raises(WaypostError) as caught:
        cancel_step(end)
    assert caught.value.code == "job_already_ended"
    assert caught.value.category is Category.CONFLICT
    assert caught.value.extra == {"state": end.value}


@pytest.mark.parametrize("status", ["provisioning", "failed", "suspended", "deleting", "deleted"])
def test_only_a_ready_environment_takes_jobs(status: str) -> None:
    """Every other status is a 409 that names it."""
    with pytest.raises(WaypostError) as caught:
        admit(status, 0, None)
    assert caught.value.code == "environment_not_ready"
    assert caught.value.category is Category.CONFLICT
    assert status in caught.value.detail


def test_a_full_queue_is_full_at_its_limit() -> None:
    """Below the limit a job is taken, at it not; a bulk fits whole or not at all; no limit, no refusal."""
    admit("ready", 9, 10)
    admit("ready", 7, 10, 3)
    admit("ready", 10**9, None)
    for waiting, count in ((10, 1), (8, 3), (11, 1)):
        with pytest.raises(WaypostError) as caught:
            admit("ready", waiting, 10, count)
        assert caught.value.code == "queue_full"
        assert caught.value.category is Category.LIMITED
        assert caught.value.retryable
        assert caught.value.retry_after_seconds


# --- why it is not running ------------------------------------------------------------------------------------------


def node(tags: dict[str, str], *, in_flight: int = 0, draining: bool = False, function: str = "count") -> NodeView:
    return NodeView(new_id(), tags, {function: 1}, in_flight, 1, draining)


def why(
    place: Place = Place.READY,
    *nodes: NodeView,
    selectors: tuple[str, ...] = (),
    status: str = "ready",
    paused: bool = False,
    number: int = 0,
) -> Waiting:
    standing = Standing(
        place=place,
        since=SINCE,
        number=number,
        due_at=SINCE + timedelta(hours=1) if place is Place.DUE else None,
        concurrency_key="customer-42" if place is Place.HOLD else None,
        paused_note="bad model" if paused else None,
        paused_by="ada" if paused else None,
        paused_at=SINCE + timedelta(minutes=1) if paused else None,
    )
    waiting = waiting_reason(standing, environment_status=status, nodes=nodes, function="count", selectors=selectors)
    assert waiting is not None
    return waiting


def test_each_reason_has_its_cause() -> None:
    """All ten reasons of native contract §3.4, each from one cause, with a sentence."""
    free, busy = node({"gpu": ""}), node({"gpu": ""}, in_flight=1)
    found = [
        why(Place.READY, free, status="suspended"),
        why(Place.DUE, free),
        why(Place.DUE, free, number=2),
        why(Place.READY, free, paused=True),
        why(Place.HOLD, free),
        why(Place.READY),
        why(Place.READY, node({}, function="other")),
        why(Place.READY, free, selectors=("spot",)),
        why(Place.READY, busy),
        why(Place.READY, busy, free),
    ]
    assert [waiting.reason for waiting in found] == [
        Reason.ENVIRONMENT_SUSPENDED,
        Reason.SCHEDULED,
        Reason.RETRY_BACKOFF,
        Reason.FUNCTION_PAUSED,
        Reason.CONCURRENCY_LIMIT,
        Reason.NO_NODE_CONNECTED,
        Reason.FUNCTION_NOT_SERVED,
        Reason.NO_NODE_MATCHES,
        Reason.NODES_BUSY,
        Reason.DISPATCHING,
    ]
    assert {waiting.reason for waiting in found} == set(Reason)
    assert all(waiting.detail for waiting in found)


def test_the_reason_says_what_a_person_needs() -> None:
    """The instant, the note and who, the key, the status."""
    assert "2026-11-21T10:00:00.000Z" in why(Place.DUE).detail
    assert "Attempt 2" in why(Place.DUE, number=2).detail
    paused = why(paused=True)
    assert paused.detail == "count was paused by ada: bad model"
    assert paused.since == SINCE + timedelta(minutes=1)
    assert "customer-42" in why(Place.HOLD).detail
    assert "suspended" in why(status="suspended").detail
    assert why().since == SINCE
    alone = why(Place.READY, node({}, function="other"))
    assert alone.detail == "No connected node has the function count (connected: 1)."
    assert "(matching: 1)" in why(Place.READY, node({}, in_flight=1)).detail


def test_the_selector_that_excludes_the_most_nodes_is_named() -> None:
    """And how many of those that serve the function it excludes."""
    nodes = [node({"gpu": ""}), node({"gpu": ""}), node({"mem_gb": "32"}), node({}, function="other")]
    waiting = why(Place.READY, *nodes, selectors=("gpu", "mem_gb>=16"))
    assert waiting.reason is Reason.NO_NODE_MATCHES
    assert "'mem_gb>=16' excludes 2 of the 3 nodes" in waiting.detail
    assert waiting.nodes == NodeCounts(connected=4, serving=3, matching=0, free=0)


def test_the_counts_narrow_down() -> None:
    """Connected, serving, matching, free: each a part of the one before."""
    nodes = [
        node({"gpu": ""}),
        node({"gpu": ""}, in_flight=1),
        node({}),
        node({"gpu": ""}, draining=True),
        node({"gpu": ""}, function="other"),
    ]
    assert why(Place.READY, *nodes, selectors=("gpu",)).nodes == NodeCounts(5, 3, 2, 1)
    assert why(Place.DUE, *nodes, selectors=("gpu",)).nodes == NodeCounts(5, 3, 2, 1)


def test_a_draining_node_does_not_serve() -> None:
    """The reason says that the only one is leaving."""
    waiting = why(Place.READY, node({}, draining=True))
    assert waiting.reason is Reason.FUNCTION_NOT_SERVED
    assert "draining" in waiting.detail


def test_what_holds_longest_is_told_first() -> None:
    """A suspended environment before anything; a job that is not due before the pause of its function."""
    assert why(Place.DUE, status="suspended", paused=True).reason is Reason.ENVIRONMENT_SUSPENDED
    assert why(Place.DUE, paused=True).reason is Reason.SCHEDULED
    assert why(Place.HOLD, paused=True).reason is Reason.FUNCTION_PAUSED


@pytest.mark.parametrize("place", [Place.LEASE, Place.END])
def test_a_job_that_does_not_wait_has_no_reason(place: Place) -> None:
    """Running and ended jobs are not waiting."""
    standing = Standing(place=place, since=SINCE, number=1)
    assert waiting_reason(standing, environment_status="ready", nodes=[], function="count", selectors=()) is None
