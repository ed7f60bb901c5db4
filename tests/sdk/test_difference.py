"""Two runs compared: exactly, by what was asked and what came of it, never by what every run has of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from waypost_sdk import exact
from waypost_sdk.difference import compare, differences
from waypost_sdk.model import Attempt, Failure, Job

AT = datetime(2026, 11, 21, 9, tzinfo=UTC)


def changes(a: str, b: str) -> list[tuple[str, str]]:
    return [(one.kind, one.path) for one in differences(exact.decode(a), exact.decode(b), "/payload")]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("12.50", "12.5"),
        ("1", "1.0"),
        ("1E2", "100"),
        ('{"a": 1, "b": [2]}', '{"b": [2], "a": 1}'),
        ("9007199254740993", "9007199254740993"),
        ("null", "null"),
    ],
)
def test_the_same_value_written_otherwise_is_the_same(a, b):
    """Order of members and the way a number is written make no difference."""
    assert changes(a, b) == []


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ("9007199254740993", "9007199254740992", [("changed", "/payload")]),
        ("0.1000000000000000000000000000001", "0.1", [("changed", "/payload")]),
        ("true", "1", [("changed", "/payload")]),
        ("false", "0", [("changed", "/payload")]),
        ("null", "0", [("changed", "/payload")]),
        ('"1"', "1", [("changed", "/payload")]),
        ("[]", "{}", [("changed", "/payload")]),
        ('{"a": 1}', '{"b": 1}', [("removed", "/payload/a"), ("added", "/payload/b")]),
        ("[1, 2, 3]", "[1, 4]", [("changed", "/payload/1"), ("removed", "/payload/2")]),
        ('{"a/b": {"~": 1}}', '{"a/b": {"~": 2}}', [("changed", "/payload/a~1b/~0")]),
        ('{"a": null}', "{}", [("removed", "/payload/a")]),
    ],
)
def test_each_difference_is_told_where_it_is(a, b, found):
    """Numbers exactly, truth values as no numbers, JSON Pointers with their escapes."""
    assert changes(a, b) == found


def run(identifier: str, seconds: float, **fields: Any) -> tuple[Job, list[Attempt]]:
    started = AT + timedelta(seconds=1)
    finished = started + timedelta(seconds=seconds)
    job = Job(identifier, "completed", "f", created_at=AT, started_at=started, finished_at=finished, **fields)
    return job, [Attempt(1, started_at=started, finished_at=finished, outcome="completed")]


def test_times_are_told_and_make_no_difference():
    """Two runs that took different times, on different nodes, are the same run."""
    (a, attempts), (b, others) = run("a", 2, payload={"n": 1}), run("b", 3.5, payload={"n": 1}, replay_of="a")
    found = compare(a, b, attempts, others)
    assert (found.same, found.differences) == (True, [])
    assert (found.timing["a"].queue_seconds, found.timing["a"].run_seconds) == (1, 2)
    assert (found.timing["b"].total_seconds, found.timing["b"].attempts) == (4.5, 1)


def test_state_error_and_result_make_differences():
    """In the order in which a reader asks: what was asked, what came of it."""
    (a, attempts), (b, others) = run("a", 1, payload=1, result={"n": 1}), run("b", 1, payload=2)
    b.state, b.error = "failed", Failure("boom", "It broke.")
    found = compare(a, b, attempts, others)
    assert not found.same
    assert [one.path for one in found.differences] == ["/payload", "/state", "/result", "/error"]
