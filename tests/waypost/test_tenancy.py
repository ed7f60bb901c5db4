"""Names and slugs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.tenancy.decision import checked_name, checked_slug, is_slug, slug_from_name


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


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x00b", "a\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """422 `invalid_name`."""
    with pytest.raises(WaypostError) as caught:
        checked_name(name)
    assert caught.value.code == "invalid_name"
