"""What a replay may change of a specification, and what is kept and shown of one."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.job.model import Backoff, Concurrency, Policy, RetryPolicy
from waypost.job.specification import (
    parse_overrides,
    parse_policy,
    parse_submission,
    policy_text,
    replayed,
    specification_fields,
)

YEAR_SECONDS = 366 * 86_400
FULL = {
    "function": "image.thumbnail",
    "payload": {"url": "https://example.com/a.png"},
    "tags": ["gpu", "mem_gb >= 16.0", "region in (us, eu)", "!spot"],
    "priority": 9,
    "run_at": None,
    "delay_seconds": 1.5,
    "timeout_seconds": 60,
    "expires_in_seconds": 3600,
    "retry": {
        "max_attempts": 3,
        "backoff": "fixed",
        "initial_seconds": 1,
        "factor": 3,
        "max_seconds": 10,
        "jitter": 0,
    },
    "concurrency": {"key": "customer-42", "limit": 1},
    "labels": {"order": "A-17"},
}


def body(**fields: Any) -> bytes:
    return json.dumps({"function": "text.count", **fields}).encode()


def refused(text: bytes, parse: Any = parse_submission) -> WaypostError:
    with pytest.raises(WaypostError) as caught:
        parse(text)
    return caught.value


def places(error: WaypostError) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in error.problems]


# --- replay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"{}", b'{"overrides": {}}', b" \n"])
def test_a_replay_without_overrides_changes_nothing_but_the_time(text: bytes) -> None:
    """Same function, payload, tags and policy; it runs at once."""
    spec = parse_submission(json.dumps(FULL).encode())
    again = replayed(spec, parse_overrides(text))
    assert again == msgspec.structs.replace(spec, delay_seconds=None)


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("payload", 12.5, {"payload": b"12.5"}),
        ("payload", None, {"payload": b"null"}),
        ("tags", ["cpu"], {"selectors": ("cpu",)}),
        ("tags", [], {"selectors": ()}),
        ("priority", 5, {"priority": 5}),
        ("labels", {}, {"labels": {}}),
        ("delay_seconds", 9, {"delay_seconds": 9.0}),
    ],
)
def test_an_override_changes_its_field_only(name: str, value: Any, changed: dict[str, Any]) -> None:
    """Also where the new value is the default."""
    spec = msgspec.structs.replace(parse_submission(json.dumps(FULL).encode()), delay_seconds=None)
    overrides = parse_overrides(json.dumps({"overrides": {name: value}}).encode())
    assert replayed(spec, overrides) == msgspec.structs.replace(spec, **changed)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("timeout_seconds", 300, 300),
        ("expires_in_seconds", None, None),
        ("retry", {}, RetryPolicy()),
        ("retry", None, RetryPolicy()),
        ("concurrency", None, None),
        ("concurrency", {"key": "b", "limit": 2}, Concurrency("b", 2)),
    ],
)
def test_an_override_of_the_policy_changes_its_part_only(name: str, value: Any, kept: Any) -> None:
    """A part is replaced whole; null takes it back to the default."""
    spec = parse_submission(json.dumps(FULL).encode())
    policy = replayed(spec, parse_overrides(json.dumps({"overrides": {name: value}}).encode())).policy
    assert policy == msgspec.structs.replace(spec.policy, **{name: kept})


def test_the_function_cannot_be_overridden() -> None:
    """A replay runs the same function; other members are unknown."""
    error = refused(b'{"overrides": {"function": "b"}}', parse_overrides)
    assert places(error) == [("/overrides/function", "unknown_field")]
    assert places(refused(b'{"override": {}}', parse_overrides)) == [("/override", "unknown_field")]
    assert places(refused(b'{"overrides": 1}', parse_overrides)) == [("/overrides", "wrong_type")]
    error = refused(b'{"overrides": {"run_at": "2026-01-01T00:00:00Z", "delay_seconds": 1}}', parse_overrides)
    assert places(error) == [("/overrides/delay_seconds", "exclusive_fields")]


# --- what is kept and shown -----------------------------------------------------------------------------------------


def test_a_default_policy_is_not_kept() -> None:
    """Also one that was spelled out."""
    assert policy_text(Policy()) is None
    assert policy_text(parse_submission(body(timeout_seconds=300, retry={"max_attempts": 5})).policy) is None
    assert parse_policy(None) == Policy()


@given(
    st.builds(
        Policy,
        timeout_seconds=st.integers(1, 86_400),
        expires_in_seconds=st.none() | st.integers(1, YEAR_SECONDS),
        retry=st.builds(RetryPolicy, max_attempts=st.integers(1, 100), backoff=st.sampled_from(Backoff)),
        concurrency=st.none() | st.builds(Concurrency, key=st.text(min_size=1, max_size=9), limit=st.integers(1, 9)),
    )
)
def test_a_policy_goes_round(policy: Policy) -> None:
    """What the ledger keeps reads back as it was."""
    assert parse_policy(policy_text(policy)) == policy


def test_the_read_shape_shows_every_field() -> None:
    """Defaults too, so that a reader need not know them."""
    shown = specification_fields(function="a", selectors=("gpu",), rank=4, policy=None, labels={}, run_at=None)
    assert shown == {
        "function": "a",
        "tags": ["gpu"],
        "priority": 5,
        "run_at": None,
        "timeout_seconds": 300,
        "expires_in_seconds": None,
        "retry": {
            "max_attempts": 5,
            "backoff": "exponential",
            "initial_seconds": 5.0,
            "factor": 2.0,
            "max_seconds": 600.0,
            "jitter": 0.2,
        },
        "concurrency": None,
        "labels": {},
    }


def test_what_is_shown_can_be_submitted_again() -> None:
    """The read shape of a specification is a specification."""
    spec = parse_submission(json.dumps(FULL).encode())
    shown = specification_fields(
        function=spec.function,
        selectors=spec.selectors,
        rank=spec.rank,
        policy=policy_text(spec.policy),
        labels=spec.labels,
        run_at=None,
    )
    again = parse_submission(msgspec.json.encode({**shown, "payload": msgspec.Raw(spec.payload)}))
    assert again == msgspec.structs.replace(spec, delay_seconds=None)
