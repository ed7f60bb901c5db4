"""Strict JSON for every other body: typed reading, and complaints with a place."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
import pytest

from waypost.document import pointer, read, verify
from waypost.errors import Category, Problem, WaypostError


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    tags: list[str] = []
    sizes: dict[str, int] = {}


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    count: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0
    inner: Inner | None = None
    colour: Colour | None = None
    shades: list[Literal["dark", "light"]] = []


def refused(text: bytes) -> WaypostError:
    with pytest.raises(WaypostError) as caught:
        read(text, Outer)
    return caught.value


def test_a_sound_body_becomes_its_type() -> None:
    """Nested types too."""
    assert read(b'{"name": "a", "inner": {"tags": ["b"]}}', Outer) == Outer("a", 0, Inner(["b"]))


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        (b"{}", "/name", "missing_field"),
        (b'{"name": 1}', "/name", "wrong_type"),
        (b'{"name": "a", "x": 1}', "/x", "unknown_field"),
        (b'{"name": "a", "inner": {"y/z": 1}}', "/inner/y~1z", "unknown_field"),
        (b'{"name": "a", "inner": {"tags": ["b", 2]}}', "/inner/tags/1", "wrong_type"),
        (b'{"name": "a", "inner": {"sizes": {"b": "c"}}}', "/inner/sizes", "wrong_type"),
        (b'{"name": "a", "count": 10}', "/count", "out_of_range"),
        (b'{"name": "a", "count": -1}', "/count", "out_of_range"),
        (b'{"name": "a", "count": ' + b"9" * 5000 + b"}", "/count", "out_of_range"),
        (b'{"name": "a", "name": "b"}', "/name", "duplicate_key"),
        (b'{"name": NaN}', "", "invalid_number"),
        (b"[]", "", "wrong_type"),
    ],
)
def test_a_bad_body_says_where(text: bytes, path: str, code: str) -> None:
    """A pointer, a stable code, a sentence."""
    error = refused(text)
    assert (error.category, error.code) == (Category.INVALID, code)
    assert [(problem.path, problem.code) for problem in error.problems] == [(path, code)]
    assert error.problems[0].message.endswith(".")


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (b'{"name": "a", "colour": "green"}', "/colour", "colour is one of red, blue."),
        (b'{"name": "a", "colour": 1}', "/colour", "colour is one of red, blue."),
        (b'{"name": "a", "shades": ["dark", "none"]}', "/shades/1", "shades is one of dark, light."),
    ],
)
def test_a_word_that_is_none_of_several_is_told_which_there_are(text: bytes, path: str, words: str) -> None:
    """Of an enum and of a literal, wherever it is."""
    problem = refused(text).problems[0]
    assert (problem.path, problem.message) == (path, words)


def test_bad_json_is_malformed() -> None:
    """400, with line and column."""
    error = refused(b'{"name":\n x}')
    assert (error.category, error.code) == (Category.MALFORMED, "malformed_json")
    assert "line 2, column 2" in error.detail


def test_a_pointer_escapes_its_parts() -> None:
    """RFC 6901 §3."""
    assert pointer("a/b", 0, "m~n") == "/a~1b/0/m~0n"
    assert pointer() == ""


MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"{}," * (MEBIBYTE // 3) + b"{}]",
        b"[" + b",".join([b"[" * 60 + b"]" * 60] * (MEBIBYTE // 121)) + b"]",
        b'["' + b"\\\\" * (MEBIBYTE // 2) + b'\\ud83d\\ude00"]',
        b'["' + b"\\ud83d\\ude00" * (MEBIBYTE // 12) + b'"]',
        b"9" * MEBIBYTE,
        b"[" * MEBIBYTE,
        b'"' * (MEBIBYTE + 1),
        b"{" + b'"a":1,' * (MEBIBYTE // 6) + b'"a":1}',
        b'{"' + b"k" * (MEBIBYTE // 2) + b'":[' + b'{"a":1,"a":1},' * (MEBIBYTE // 28) + b"1]}",
    ],
    ids=["objects", "depth", "backslashes", "escapes", "digits", "unclosed", "quotes", "repeated", "repeated-deep"],
)
def test_a_hostile_mebibyte_gets_an_ordinary_answer(text: bytes) -> None:
    """No recursion error, no digits limit, and a complaint that does not grow with the text."""
    problems: Sequence[Problem] = ()
    try:
        verify(text)
    except WaypostError as error:
        problems = error.problems
    assert sum(len(problem.path) for problem in problems) < 100_000
