"""Reading job specifications: what is taken, what is refused, where and how it says so (native contract §3.1, §3.3)."""

import json
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost import clock
from waypost.errors import Category, WaypostError
from waypost.job.model import Backoff, Concurrency, JobSpec, Policy, RetryPolicy
from waypost.job.specification import (
    Overrides,
    parse_bulk,
    parse_overrides,
    parse_submission,
)

MEBIBYTE = 1 << 20
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


def error_of(text: bytes, parse: Any) -> WaypostError | None:
    try:
        parse(text)
    except WaypostError as error:
        return error
    return None


def places(error: WaypostError) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in error.problems]


# --- what is taken --------------------------------------------------------------------------------------------------


def test_only_the_function_is_required() -> None:
    """Everything else has the contract's default."""
    assert parse_submission(b'{"function": "text.count"}') == JobSpec("text.count")


def test_every_field_is_read() -> None:
    """A specification with all fields, selectors canonical."""
    spec = parse_submission(json.dumps(FULL).encode())
    assert spec == JobSpec(
        function="image.thumbnail",
        payload=b'{"url": "https://example.com/a.png"}',
        selectors=("!spot", "gpu", "mem_gb>=16", "region in (eu, us)"),
        priority=9,
        delay_seconds=1.5,
        policy=Policy(60, 3600, RetryPolicy(3, Backoff.FIXED, 1, 3, 10, 0), Concurrency("customer-42", 1)),
        labels={"order": "A-17"},
    )
    assert spec.rank == 0


def test_an_instant_is_kept_in_utc() -> None:
    """Whatever zone it was written in."""
    at = (clock.now() + timedelta(days=1)).replace(microsecond=0)
    written = at.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    spec = parse_submission(body(run_at=written))
    assert spec.run_at == at
    assert spec.run_at.tzinfo is UTC


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"true",
        b"12.50",
        b"1E400",
        b"-0",
        b"1234567890123456789012345678901234567890",
        b"9" * 5000,
        b"0.1000000000000000055511151231257827",
        b'{ "a" : [ 1 ,\n2 ] , "b":{} }',
        '"Grüße 👋"'.encode(),
        rb'"\ud83d\udc4b \u0000 \\ud800"',
        b'{"a":{"a":{"a":1}}}',
        b'["\\"", "{[", "\\\\"]',
    ],
)
def test_a_payload_is_carried_as_it_was_written(payload: bytes) -> None:
    """Byte for byte: digits, zeros, exponents, blanks, escapes."""
    assert parse_submission(b'{"payload": ' + payload + b' ,"function":"a"}').payload == payload


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


@given(JSON_VALUES, st.sampled_from([None, 1]), st.booleans())
def test_any_json_can_be_a_payload(value: Any, indent: int | None, escaped: bool) -> None:
    """Alone and in bulk it comes out as it went in."""
    text = json.dumps(value, indent=indent, ensure_ascii=escaped).encode()
    job = b'{"function":"a","payload":' + text + b"}"
    assert parse_submission(job).payload == text
    assert parse_bulk(b'{"jobs":[' + job + b"]}")[0][0].payload == text


def test_no_payload_is_not_the_payload_null() -> None:
    """Nothing is made up: none reads as empty, null as it was written."""
    assert parse_submission(body()).payload == b""
    assert parse_submission(body(payload=None)).payload == b"null"


# --- limits: at, below and above their edges ------------------------------------------------------------------------

INSIDE: list[tuple[str, Any]] = [
    ("function", "a"),
    ("function", "a" * 100),
    ("function", "a1_.b_2.c"),
    ("payload", "x" * (MEBIBYTE - 3)),
    ("payload", "x" * (MEBIBYTE - 2)),
    ("tags", []),
    ("tags", [f"t{i}" for i in range(15)]),
    ("tags", [f"t{i}" for i in range(16)]),
    ("priority", 0),
    ("priority", 1),
    ("priority", 8),
    ("priority", 9),
    ("delay_seconds", 0),
    ("delay_seconds", 0.001),
    ("delay_seconds", YEAR_SECONDS - 1),
    ("delay_seconds", YEAR_SECONDS),
    ("run_at", "1999-01-01T00:00:00Z"),  # the past means now
    ("timeout_seconds", 1),
    ("timeout_seconds", 2),
    ("timeout_seconds", 86_399),
    ("timeout_seconds", 86_400),
    ("expires_in_seconds", 1),
    ("expires_in_seconds", 2),
    ("expires_in_seconds", YEAR_SECONDS),
    ("expires_in_seconds", None),
    ("retry", {}),
    ("retry", None),
    ("retry", {"max_attempts": 1}),
    ("retry", {"max_attempts": 2}),
    ("retry", {"max_attempts": 99}),
    ("retry", {"max_attempts": 100}),
    ("retry", {"backoff": "exponential"}),
    ("retry", {"backoff": "fixed"}),
    ("retry", {"backoff": "none"}),
    ("retry", {"initial_seconds": 0}),
    ("retry", {"initial_seconds": 600}),
    ("retry", {"initial_seconds": 604_800, "max_seconds": 604_800}),
    ("retry", {"factor": 1}),
    ("retry", {"factor": 100}),
    ("retry", {"max_seconds": 0}),
    ("retry", {"max_seconds": 2}),  # the default of initial_seconds is cut to it
    ("retry", {"jitter": 0}),
    ("retry", {"jitter": 1}),
    ("concurrency", None),
    ("concurrency", {"key": "k", "limit": 1}),
    ("concurrency", {"key": "k" * 256, "limit": 10_000}),
    ("labels", {}),
    ("labels", {"k": ""}),
    ("labels", {"k" * 256: "v" * 256}),
    ("labels", {f"k{i}": "v" for i in range(31)}),
    ("labels", {f"k{i}": "v" for i in range(32)}),
]

OUTSIDE: list[tuple[str, Any, str, str]] = [
    ("function", "", "/function", "invalid_value"),
    ("function", "a" * 101, "/function", "invalid_value"),
    ("function", "A", "/function", "invalid_value"),
    ("function", "1a", "/function", "invalid_value"),
    ("function", "a..b", "/function", "invalid_value"),
    ("function", "a.", "/function", "invalid_value"),
    ("function", "a\n", "/function", "invalid_value"),
    ("function", "a-b", "/function", "invalid_value"),
    ("function", None, "/function", "wrong_type"),
    ("tags", [f"t{i}" for i in range(17)], "/tags", "too_many"),
    ("tags", "gpu", "/tags", "wrong_type"),
    ("tags", [1], "/tags", "wrong_type"),
    ("tags", None, "/tags", "wrong_type"),
    ("tags", ["gpu", "mem >> 5"], "/tags/1", "invalid_selector"),
    ("priority", -1, "/priority", "out_of_range"),
    ("priority", 10, "/priority", "out_of_range"),
    ("priority", 5.0, "/priority", "wrong_type"),
    ("priority", True, "/priority", "wrong_type"),
    ("priority", "5", "/priority", "wrong_type"),
    ("priority", None, "/priority", "wrong_type"),
    ("priority", 10**40, "/priority", "out_of_range"),
    ("delay_seconds", -0.001, "/delay_seconds", "out_of_range"),
    ("delay_seconds", YEAR_SECONDS + 1, "/delay_seconds", "out_of_range"),
    ("delay_seconds", "5", "/delay_seconds", "wrong_type"),
    ("run_at", "2026-11-21T09:00:00", "/run_at", "invalid_value"),  # no zone
    ("run_at", "tomorrow", "/run_at", "invalid_value"),
    ("run_at", 1_800_000_000, "/run_at", "wrong_type"),
    ("run_at", "9999-12-31T23:59:59-10:00", "/run_at", "out_of_range"),
    ("run_at", "0001-01-01T00:00:00+10:00", "/run_at", "out_of_range"),
    ("timeout_seconds", 0, "/timeout_seconds", "out_of_range"),
    ("timeout_seconds", 86_401, "/timeout_seconds", "out_of_range"),
    ("timeout_seconds", None, "/timeout_seconds", "wrong_type"),
    ("expires_in_seconds", 0, "/expires_in_seconds", "out_of_range"),
    ("expires_in_seconds", YEAR_SECONDS + 1, "/expires_in_seconds", "out_of_range"),
    ("expires_in_seconds", 1.5, "/expires_in_seconds", "wrong_type"),
    ("retry", [], "/retry", "wrong_type"),
    ("retry", {"max_attempts": 0}, "/retry/max_attempts", "out_of_range"),
    ("retry", {"max_attempts": 101}, "/retry/max_attempts", "out_of_range"),
    ("retry", {"max_attempts": "3"}, "/retry/max_attempts", "wrong_type"),
    ("retry", {"backoff": "linear"}, "/retry/backoff", "invalid_value"),
    ("retry", {"initial_seconds": -1}, "/retry/initial_seconds", "out_of_range"),
    ("retry", {"initial_seconds": 601}, "/retry/initial_seconds", "out_of_range"),
    ("retry", {"factor": 0.99}, "/retry/factor", "out_of_range"),
    ("retry", {"factor": 101}, "/retry/factor", "out_of_range"),
    ("retry", {"max_seconds": -1}, "/retry/max_seconds", "out_of_range"),
    ("retry", {"max_seconds": 604_801}, "/retry/max_seconds", "out_of_range"),
    ("retry", {"jitter": -0.1}, "/retry/jitter", "out_of_range"),
    ("retry", {"jitter": 1.1}, "/retry/jitter", "out_of_range"),
    ("retry", {"tries": 3}, "/retry/tries", "unknown_field"),
    ("concurrency", {"key": "k"}, "/concurrency/limit", "missing_field"),
    ("concurrency", {"limit": 1}, "/concurrency/key", "missing_field"),
    ("concurrency", {"key": "", "limit": 1}, "/concurrency/key", "invalid_value"),
    ("concurrency", {"key": "k" * 257, "limit": 1}, "/concurrency/key", "invalid_value"),
    ("concurrency", {"key": "a\0", "limit": 1}, "/concurrency/key", "invalid_value"),
    ("concurrency", {"key": "k", "limit": 0}, "/concurrency/limit", "out_of_range"),
    ("concurrency", {"key": "k", "limit": 10_001}, "/concurrency/limit", "out_of_range"),
    ("labels", {f"k{i}": "v" for i in range(33)}, "/labels", "too_many"),
    ("labels", {"k": "v" * 257}, "/labels/k", "too_long"),
    ("labels", {"a/b": "v" * 257}, "/labels/a~1b", "too_long"),
    ("labels", {"k" * 257: "v"}, "/labels/" + "k" * 257, "too_long"),
    ("labels", {"": "v"}, "/labels/", "invalid_value"),
    ("labels", {"k": "a\0b"}, "/labels/k", "invalid_value"),
    ("labels", {"k": 1}, "/labels", "wrong_type"),
    ("labels", [], "/labels", "wrong_type"),
    ("prefer", {"gpu": 2}, "/prefer", "not_available"),
    ("route_key", "a", "/route_key", "not_available"),
    ("ordering_key", "a", "/ordering_key", "not_available"),
    ("id", "x", "/id", "unknown_field"),
    ("a/b~c", 1, "/a~1b~0c", "unknown_field"),
    ("idempotency_key", "x", "/idempotency_key", "unknown_field"),
]


@pytest.mark.parametrize(("name", "value"), INSIDE, ids=lambda value: repr(value)[:40])
def test_inside_the_limits_a_field_is_taken(name: str, value: Any) -> None:
    """At the edge and next to it, alone and in bulk the same."""
    text = body(**{name: value})
    spec = parse_submission(text)
    assert parse_bulk(b'{"jobs":[' + text + b"]}") == [(spec, None)]


@pytest.mark.parametrize(("name", "value", "path", "code"), OUTSIDE, ids=lambda value: repr(value)[:40])
def test_outside_the_limits_a_field_is_refused_by_name(name: str, value: Any, path: str, code: str) -> None:
    """One problem, with its pointer, its code and a sentence; in bulk below `/jobs/<index>`."""
    error = refused(body(**{name: value}))
    assert (error.code, error.category) == (code, Category.INVALID)
    assert places(error) == [(path, code)]
    assert len(error.problems[0].message) > 15
    if name == "idempotency_key":
        return
    bulk = b'{"jobs":[' + body() + b"," + body(**{name: value}) + b"]}"
    assert places(refused(bulk, parse_bulk)) == [(f"/jobs/1{path}", code)]
    if name != "function":
        override = json.dumps({"overrides": {name: value}}).encode()
        assert places(refused(override, parse_overrides)) == [(f"/overrides{path}", code)]


@pytest.mark.parametrize(("days", "taken"), [(-1, True), (365, True), (366, True), (367, False)])
def test_an_instant_lies_at_most_a_year_ahead(days: int, taken: bool) -> None:
    """A minute inside the limit is taken, a day outside is not."""
    text = body(run_at=(clock.now() + timedelta(days=days, minutes=-1)).isoformat())
    if taken:
        assert parse_submission(text).run_at
    else:
        assert places(refused(text)) == [("/run_at", "out_of_range")]


def test_an_instant_and_a_delay_exclude_each_other() -> None:
    """Both given is a contradiction, not a choice."""
    error = refused(body(run_at="2026-01-01T00:00:00Z", delay_seconds=5))
    assert places(error) == [("/delay_seconds", "exclusive_fields")]


def test_a_payload_above_a_mebibyte_says_what_to_do() -> None:
    """413, at one byte too many; alone and in bulk."""
    text = body(payload="x" * (MEBIBYTE - 1))
    error = refused(text)
    assert (error.code, error.category) == ("payload_too_large", Category.TOO_LARGE)
    assert "artifact" in error.detail
    assert places(error) == [("/payload", "payload_too_large")]
    error = refused(b'{"jobs":[' + text + b"]}", parse_bulk)
    assert error.category is Category.TOO_LARGE
    assert places(error) == [("/jobs/0/payload", "payload_too_large")]


def test_numbers_in_limits_are_not_rounded_into_them() -> None:
    """One unit in the last place above the limit is above it."""
    above = Decimal(YEAR_SECONDS) + Decimal("0.0000001")
    text = f'{{"function":"a","delay_seconds":{above}}}'.encode()
    assert places(refused(text)) == [("/delay_seconds", "out_of_range")]


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"{",
        b'{"function": "a"',
        b'{"function": "a"}x',
        b'{"function": "a"}{}',
        b"{'function': 'a'}",
        b'{"function": "a",}',
        b'{"function": "a", "payload": 01}',
        b'{"function": "a", "payload": .5}',
        b'{"function": "a", "payload": "\x01"}',
        b'{"function": "a", "payload": "\\x"}',
        b'{"function": "a", "payload": "\xff"}',
        b'{"function": "a", "payload": "\xed\xa0\x80"}',  # a surrogate in UTF-8
        b'{"function": "a", "payload": "\\ud800"}',
        b'{"function": "a", "payload": "\\udc00\\ud800"}',
        b'{"function": "a", "payload": "\\ud83d\\\\\\ude00"}',
        b'{"function": "a", "labels": {"\\uD800": "x"}}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        '{"function": "a"}'.encode("utf-16"),
    ],
)
@pytest.mark.parametrize("parse", [parse_submission, parse_bulk, parse_overrides])
def test_what_is_not_json_is_malformed(text: bytes, parse: Any) -> None:
    """400, with a sentence; a replay without a body is one without overrides."""
    if parse is parse_overrides and not text.strip():
        assert parse(text) == Overrides(JobSpec(""))
        return
    error = refused(text, parse)
    assert (error.code, error.category) == ("malformed_json", Category.MALFORMED)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("template", ['{"function":"a","payload":%s}', '{"function":"a","priority":%s}', '{"a":[%s]}'])
def test_nan_and_infinity_are_refused(template: str, constant: str) -> None:
    """They are no JSON numbers, wherever they stand."""
    error = refused((template % constant).encode())
    assert (error.code, error.category) == ("invalid_number", Category.INVALID)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"function":"a","function":"b"}', "/function"),
        ('{"function":"a","payload":{"x":1,"x":1}}', "/payload/x"),
        ('{"function":"a","payload":[{},{"a":{"b/c":0,"b/c":1}}]}', "/payload/1/a/b~1c"),
        ('{"function":"a","payload":{"a":1,"\\u0061":2}}', "/payload/a"),
        ('{"function":"a","labels":{"k":"1","k":"2"}}', "/labels/k"),
    ],
)
def test_a_repeated_key_is_refused_where_it_is(text: str, path: str) -> None:
    """Anywhere in the body, within the payload too; escaped or not, a key is a key."""
    assert places(refused(text.encode())) == [(path, "duplicate_key")]
    bulk = f'{{"jobs":[{{"function":"a"}},{text}]}}'
    assert places(refused(bulk.encode(), parse_bulk)) == [(f"/jobs/1{path}", "duplicate_key")]


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return f'{{"function":"a","payload":{opening * (depth - 1)}1{closing * (depth - 1)}}}'


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_is_nested_64_deep_at_most(opening: str, closing: str) -> None:
    """The job's own object counts; a job in bulk may be as deep as one alone; brackets in strings do not count."""
    for depth in (63, 64):
        text = nested(depth, opening, closing)
        assert parse_submission(text.encode()).function == "a"
        assert parse_submission(text.replace('"payload"', '"tags":[],"labels":{},"payload"').encode()).function == "a"
        assert parse_bulk(f'{{"jobs":[{text}]}}'.encode())
    for depth in (65, 1_000, 100_000):
        text = nested(depth, opening, closing)
        for error in (refused(text.encode()), refused(f'{{"jobs":[{text}]}}'.encode(), parse_bulk)):
            assert (error.code, error.category) == ("json_too_deep", Category.INVALID)
    assert parse_submission(body(payload="[{" * 1000 + '"\\[')).function == "text.count"
    assert parse_submission(body(payload=[[] for _ in range(1000)])).function == "text.count"


def test_unbalanced_depth_is_refused_too() -> None:
    """A million opening brackets reach no recursive parser."""
    assert refused(b"[" * 1_000_000).code == "json_too_deep"
    assert refused(b"]" * 1_000_000).code == "malformed_json"


@pytest.mark.parametrize("text", [b"[]", b"null", b"1", b'"a"'])
def test_a_body_that_is_no_object_is_refused(text: bytes) -> None:
    """It is JSON, but no job."""
    for parse in (parse_submission, parse_bulk, parse_overrides):
        assert places(refused(text, parse)) == [("", "wrong_type")]


def test_all_faults_are_told_at_once() -> None:
    """Unknown fields, wrong types, ranges and what is missing, in one answer."""
    error = refused(b'{"functoin":"a","priority":10,"retry":{"max_attempts":0,"x":1},"labels":3,"prefer":1}')
    assert set(places(error)) == {
        ("/functoin", "unknown_field"),
        ("/function", "missing_field"),
        ("/priority", "out_of_range"),
        ("/retry/x", "unknown_field"),
        ("/labels", "wrong_type"),
        ("/prefer", "not_available"),
    }
    assert error.code == error.problems[0].code


def test_an_error_has_at_most_a_hundred_problems() -> None:
    """A hostile body makes no larger answer."""
    unknown = {f"f{i}": i for i in range(1000)}
    assert len(refused(body(**unknown)).problems) == 100
    assert len(refused(json.dumps({"jobs": [unknown] * 200}).encode(), parse_bulk).problems) == 100
    repeated = b'{"function":"a","payload":{' + b'"x":1,' * 1000 + b'"x":1}}'
    assert len(refused(repeated).problems) == 100


@given(st.binary(max_size=60))
def test_any_bytes_are_a_job_or_an_error_of_ours(text: bytes) -> None:
    """No other exception leaves the parsers."""
    for parse in (parse_submission, parse_bulk, parse_overrides):
        error = error_of(text, parse)
        assert error is None or error.category in (Category.MALFORMED, Category.INVALID)


@given(st.dictionaries(st.sampled_from([*FULL, "x"]), JSON_VALUES, max_size=6))
def test_any_document_is_a_job_or_has_problems(document: dict[str, Any]) -> None:
    """The fast path and the complaint agree: what is refused has at least one problem with a place."""
    for parse, wrap in (
        (parse_submission, document),
        (parse_bulk, {"jobs": [document]}),
        (parse_overrides, {"overrides": document}),
    ):
        error = error_of(json.dumps(wrap).encode(), parse)
        if error is not None:
            assert error.problems
            assert all(problem.path.startswith("/") for problem in error.problems)


# --- bulk -----------------------------------------------------------------------------------------------------------


def test_bulk_keeps_order_and_keys() -> None:
    """Each job with its idempotency key or none."""
    jobs = [{"function": "a", "idempotency_key": "k-1"}, {"function": "b"}, {"function": "a", "idempotency_key": None}]
    parsed = parse_bulk(json.dumps({"jobs": jobs}).encode())
    assert [(spec.function, key) for spec, key in parsed] == [("a", "k-1"), ("b", None), ("a", None)]
    assert parse_bulk(b'{"jobs": []}') == []


@pytest.mark.parametrize(("count", "taken"), [(999, True), (1000, True), (1001, False)])
def test_bulk_has_a_thousand_jobs_at_most(count: int, taken: bool) -> None:
    """At the edge it is taken whole, above it not at all."""
    text = json.dumps({"jobs": [{"function": "a"}] * count}).encode()
    if taken:
        assert len(parse_bulk(text)) == count
    else:
        assert places(refused(text, parse_bulk)) == [("/jobs", "too_many")]


@pytest.mark.parametrize(
    ("document", "path", "code"),
    [
        ({}, "/jobs", "missing_field"),
        ({"jobs": {}}, "/jobs", "wrong_type"),
        ({"jobs": None}, "/jobs", "wrong_type"),
        ({"jobs": [1]}, "/jobs/0", "wrong_type"),
        ({"jobs": [{"function": "a"}] * 17 + [{}]}, "/jobs/17/function", "missing_field"),
        ({"jobs": [], "x": 1}, "/x", "unknown_field"),
        ({"jobs": [{"function": "a", "idempotency_key": ""}]}, "/jobs/0/idempotency_key", "invalid_value"),
        ({"jobs": [{"function": "a", "idempotency_key": "k" * 256}]}, "/jobs/0/idempotency_key", "invalid_value"),
        ({"jobs": [{"function": "a", "idempotency_key": "a\nb"}]}, "/jobs/0/idempotency_key", "invalid_value"),
        ({"jobs": [{"function": "a", "idempotency_key": 1}]}, "/jobs/0/idempotency_key", "wrong_type"),
    ],
)
def test_a_bad_bulk_names_the_place(document: Any, path: str, code: str) -> None:
    """With the index of the job."""
    assert places(refused(json.dumps(document).encode(), parse_bulk)) == [(path, code)]


def test_an_idempotency_key_has_255_characters_at_most() -> None:
    """At the edge it is taken."""
    text = json.dumps({"jobs": [{"function": "a", "idempotency_key": "k" * 255}]}).encode()
    assert parse_bulk(text)[0][1] == "k" * 255
