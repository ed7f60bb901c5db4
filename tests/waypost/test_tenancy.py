"""Names and slugs."""

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.ids import parse_id
from waypost.tenancy.decision import (
    checked_description,
    checked_name,
    checked_settings,
    checked_slug,
    is_slug,
    slug_from_name,
)


@pytest.mark.parametrize(("name", "slug"), [("Größe & Co.", "grosse-co"), ("42 things", "x-42-things"), ("日本", "x")])
def test_a_slug_resembles_its_name(name: str, slug: str) -> None:
    """Folded to ASCII, words joined by hyphens, beginning with a letter."""
    assert slug_from_name(name) == slug


@given(st.text(max_size=120))
def test_every_name_gives_a_valid_slug(name: str) -> None:
    """Whatever is typed."""
    assert is_slug(slug_from_name(name))


@pytest.mark.parametrize(
    "slug", ["", "A", "1a", "a" * 23, "a_b", "a\n", "-a", "ä", "0191e3a4-0000-7000-8000-000000000000"]
)
def test_what_is_no_slug_is_refused(slug: str) -> None:
    """422 at /slug; an id is never a slug."""
    assert not is_slug(slug)
    with pytest.raises(WaypostError) as caught:
        checked_slug(slug, "name")
    assert caught.value.problems[0].path == "/slug"


def test_a_slug_has_up_to_22_characters() -> None:
    """At the edge."""
    assert is_slug("a")
    assert is_slug("a" * 22)


@pytest.mark.parametrize(
    "name",
    ["", "  ", "x" * 101, "a\x00b", "a\nb", "a\u202eb", "a\u2066b", "a\u200bb", "\ufeffa", "a\u00adb", "a\u034fb",
     "\u3164", "a\u2028b", "\ud800", "\ue000", "\u0301a", "a\U000e0101", "a\x7f", "\u115f"],
)  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    """422 `invalid_name`."""
    with pytest.raises(WaypostError) as caught:
        checked_name(name)
    assert caught.value.code == "invalid_name"


@pytest.mark.parametrize(
    "name",
    [
        "'; drop table control.project; --",
        "%_\\",
        "Zoë",
        "аdmin",
        "admin",
        "日本",
        "مرحبا",
        "a\u00a0b",
        "❤\ufe0f",
        "{}",
        "x" * 100,
    ],
)
def test_a_name_is_kept_as_it_was_given(name: str) -> None:
    """SQL, look-alikes, any script: it is text, and what tells things apart is the id."""
    assert checked_name(f"  {name} ") == name


def test_a_name_is_kept_in_one_normal_form() -> None:
    """What reads the same is the same text: NFC."""
    assert checked_name("Zoe\u0308") == "Zo\u00eb"


@given(st.text(max_size=120))
def test_a_name_is_refused_or_can_be_seen_and_is_stable(name: str) -> None:
    """What was taken once is taken again as it is."""
    try:
        kept = checked_name(name)
    except WaypostError:
        return
    assert checked_name(kept) == kept
    assert 1 <= len(kept) <= 100
    assert kept.isprintable() or any(unicodedata.category(c) == "Zs" for c in kept)
    assert unicodedata.is_normalized("NFC", kept)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,21}", fullmatch=True))
def test_every_slug_of_the_pattern_is_taken_and_none_is_an_id(slug: str) -> None:
    """Also with a trailing dash: the pattern is the contract's."""
    assert checked_slug(slug, "") == slug
    assert parse_id(slug) is None


@given(st.text(max_size=30).filter(lambda text: re.fullmatch("[a-z][a-z0-9-]{0,21}", text) is None))
def test_no_other_text_is_a_slug(slug: str) -> None:
    """Digits of other scripts, look-alikes and line ends included."""
    assert not is_slug(slug)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"A": 1}, "/settings/A"),
        ({"a": "x" * 1001}, "/settings/a"),
        ({"a": "b\x00"}, "/settings/a"),
        ({"a": 2**60}, "/settings/a"),
        ({f"a{n}": n for n in range(65)}, "/settings"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(settings: dict[str, Any], path: str) -> None:
    """422 `invalid_setting` at the first one."""
    with pytest.raises(WaypostError) as caught:
        checked_settings(settings)
    assert (caught.value.code, caught.value.problems[0].path) == ("invalid_setting", path)


def test_a_description_may_be_empty_and_have_lines() -> None:
    """Normalised as names are; controls are refused."""
    assert checked_description(" a\n\tb ") == "a\n\tb"
    assert checked_description("") == ""
    for bad in ("x" * 2001, "a\x00", "a\u202e"):
        with pytest.raises(WaypostError):
            checked_description(bad)
