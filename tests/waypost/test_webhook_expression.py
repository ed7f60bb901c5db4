"""JMESPath over webhooks: what it finds, what it costs at most, and that numbers leave as they came."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.trigger.expression import (
    FULL_BUDGET,
    ExpensiveError,
    check_expression,
    compile_expression,
    is_true,
    read_document,
    write_document,
)

EVENT = read_document(
    b'{"body":{"action":"opened","amount":12.50,"big":1234567890123456789012345678901234567890,"huge":1E400,'
    b'"items":[{"id":2,"p":0.10},{"id":1,"p":3.0}]}}'
)


def mapped(text: str, document: object = EVENT) -> bytes:
    return write_document(compile_expression(text).search(document, FULL_BUDGET))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("body.amount", b"12.50"),
        ("body.big", b"1234567890123456789012345678901234567890"),
        ("{a: body.huge, b: body.items[*].p}", b'{"a":1E400,"b":[0.10,3.0]}'),
        ("body.items[?p > `1.5`].id", b"[1]"),
        ("sort_by(body.items, &id)[*].p", b"[3.0,0.10]"),
        ("sort_by(body.items, &p)[0]", b'{"id":2,"p":0.10}'),
        ("max(body.items[*].p)", b"3.0"),
        ("sum(body.items[*].id)", b"3"),
        ("join('-', ['a', body.action])", b'"a-opened"'),
        ("body.nothing", b"null"),
        ("body.action < `1`", b"null"),
    ],
)
def test_numbers_keep_their_text(text: str, expected: bytes) -> None:
    """What an expression only moves is what was sent; comparing and sorting see its value."""
    assert mapped(text) == expected


@pytest.mark.parametrize(("text", "true"), [("body.action == 'opened'", True), ("body.items[?id == `9`]", False)])
def test_a_filter_is_true_as_jmespath_has_it(text: str, true: bool) -> None:
    """Empty is false, zero is not."""
    assert is_true(compile_expression(text).search(EVENT, FULL_BUDGET)) is true
    assert is_true(0)
    assert not any(map(is_true, (None, False, "", [], {})))


BOMBS = {
    "doubling": "[@,@]" + "|[@,@]" * 60,
    "doubling and flattening": "[@,@]" + "|[@,@][]" * 60,
    "doubling into a text": "[@,@]" + "|[@,@]" * 17 + "|to_string(@)",
    "doubling in objects": "{a:@,b:@}" + "|{a:@,b:@}" * 60,
    "comparing what was doubled": "[@,@]" + "|[@,@]" * 30 + "|[0]==[1]",
    "nested projections": "*" + ".*" * 200,
    "joining with a long text": "join('" + "x" * 4_000 + "', keys(@))",
    "mapping in mapping": "map(&map(&map(&[@,@,@], [@,@,@]), [@,@,@]), [@,@,@])" + "|[@,@][]" * 40,
    "many literals": "[" + ",".join(["`[1,2,3,4,5,6,7,8,9]`"] * 150) + "]" + "|[@,@,@,@][]" * 20,
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_expression_that_explodes_is_stopped(name: str) -> None:
    """Whatever it asks for, in less than two seconds of a busy machine, and without the memory for it."""
    document = {f"k{n}": {"v": list(range(20))} for n in range(2_000)}
    expression = compile_expression(BOMBS[name])
    began = time.process_time()
    with contextlib.suppress(ExpensiveError):
        expression.search(document, FULL_BUDGET)
    assert time.process_time() - began < 2


def test_a_large_document_costs_what_is_looked_at() -> None:
    """A filter on a mebibyte is as cheap as on a line."""
    document = {"body": {"action": "opened", "rest": [{"n": n} for n in range(60_000)]}}
    assert compile_expression("body.action == 'opened'").search(document, 20) is True
    with pytest.raises(ExpensiveError):
        compile_expression("body.rest[?n > `5`].n").search(document, 2_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foo(", "Incomplete expression"),
        ("nope(@)", "no function 'nope'"),
        ("a[?b==]", "Invalid"),
        ("a" * 4_097, "at most 4096"),
        ("(" * 2_000 + "a" + ")" * 2_000, "nested too deep"),
        ("`" + "[" * 2_000 + "]" * 2_000 + "`", "nested too deep"),
        ("", "cannot be empty"),
    ],
)
def test_what_is_no_expression_is_refused_when_it_is_written(text: str, words: str) -> None:
    """422 with a pointer and what is wrong, long before a webhook comes."""
    with pytest.raises(WaypostError, match="invalid_expression") as caught:
        check_expression(text, "/filter")
    assert caught.value.problems[0].path == "/filter"
    assert words.lower() in caught.value.detail.lower()


@pytest.mark.parametrize("text", ["abs('x')", "sum(body.action)", "join(',', body.items)", "length(`1`)", "&a"])
def test_an_expression_that_fails_says_so(text: str) -> None:
    """A function that gets what it cannot use is 422 `expression_failed`, never a crash."""
    with pytest.raises(WaypostError, match="expression_failed"):
        mapped(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)
_TEXT = st.lists(
    st.sampled_from(
        ["a", "b", ".", "[*]", "[]", "[?", "]", "|", "@", "==", "`1`", "'x'", "&&", "||", "!", "(", ")", "length(", "&",
         "sort_by(", ",", "[0]", "[::2]", "{a:", "}", "*", "map(&", "to_string(", "merge(", "values("]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(_TEXT, _JSON)
@settings(max_examples=200)
def test_any_expression_on_any_document_has_one_of_four_ends(text: str, document: object) -> None:
    """Refused, failed, too expensive, or found: nothing else."""
    try:
        expression = compile_expression(text)
    except ValueError:
        return
    try:
        write_document(expression.search(document, FULL_BUDGET))
    except (ExpensiveError, WaypostError):
        return
