"""Who may run what: matching, serving, free slots, and what a credential allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.ids import new_id
from waypost.route.decision import (
    SelectorError,
    allowed,
    compile_selectors,
    first_excluding,
    first_refused,
    free_slots,
    matches,
    most_excluding,
    parse_allowance,
    serves,
)
from waypost.route.model import NodeView

GPU_NODE = {"gpu": "", "mem_gb": "24", "region": "eu", "version": "1.2.3"}


def node(
    *, tags: dict[str, str] | None = None, in_flight: int = 0, limit: int = 8, draining: bool = False, **functions: int
) -> NodeView:
    return NodeView(new_id(), tags or {}, functions, in_flight, limit, draining)


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("gpu", True),
        ("spot", False),
        ("mem_gb", True),
        ("!gpu", False),
        ("!spot", True),
        ("region=eu", True),
        ("region=EU", False),
        ("region=us", False),
        ("spot=yes", False),
        ("region!=us", True),
        ("region!=eu", False),
        ("spot!=yes", True),  # an absent tag has not that value
        ("mem_gb>23.9", True),
        ("mem_gb>24", False),
        ("mem_gb>=24.0", True),
        ("mem_gb<24", False),
        ("mem_gb<24.000001", True),
        ("mem_gb<=24", True),
        ("mem_gb>9", True),  # as numbers; as texts "24" < "9"
        ("gpu>0", False),  # a bare tag is no number
        ("region<5", False),
        ("version>=1", False),
        ("spot<5", False),
        ("region in (eu, us)", True),
        ("region in (us, ap)", False),
        ("spot in (a, b)", False),
    ],
)
def test_a_selector_holds_as_the_contract_says(selector: str, holds: bool) -> None:
    """Each operator against present, absent and non-numeric tags."""
    assert matches([selector], GPU_NODE) is holds


def test_all_selectors_must_hold() -> None:
    """And none asks for nothing."""
    assert matches(["gpu", "mem_gb>=16", "region in (eu, us)", "!spot"], GPU_NODE)
    assert not matches(["gpu", "spot"], GPU_NODE)
    assert matches([], {})


def test_comparisons_are_exact() -> None:
    """Decimals, not floats: 2**53 + 1 and forty digits are told apart."""
    assert not matches(["n>9007199254740992"], {"n": "9007199254740992"})
    assert matches(["n>9007199254740992"], {"n": "9007199254740993"})
    assert matches([f"n<{'9' * 40}"], {"n": "9" * 39 + "8"})
    assert matches(["n>=0.3"], {"n": "0.30"})


@given(st.decimals(-1000, 1000, places=3), st.decimals(-1000, 1000, places=3))
def test_a_comparison_is_that_of_the_numbers(left: object, right: object) -> None:
    """For any two decimals, the four operators agree with arithmetic."""
    tags = {"n": str(left)}
    assert matches([f"n>{right}"], tags) is (left > right)  # type: ignore[operator]
    assert matches([f"n>={right}"], tags) is (left >= right)  # type: ignore[operator]
    assert matches([f"n<{right}"], tags) is (left < right)  # type: ignore[operator]
    assert matches([f"n<={right}"], tags) is (left <= right)  # type: ignore[operator]


def test_a_set_is_compiled_once() -> None:
    """The relay asks for the same predicate for every node class."""
    assert compile_selectors(("gpu", "mem_gb>=16")) is compile_selectors(("gpu", "mem_gb>=16"))


def test_the_selector_that_excludes_is_named() -> None:
    """For one node the first; over nodes the one that the most fail, the first of equals; none when all hold."""
    assert first_excluding(["gpu", "region=us", "spot"], GPU_NODE) == "region=us"
    assert first_excluding(["gpu"], GPU_NODE) is None
    sets: list[dict[str, str]] = [{"a": ""}, {"a": ""}, {"b": ""}]
    assert most_excluding(["a", "b"], sets) == ("b", 2)
    assert most_excluding(["a", "b"], [{}]) == ("a", 1)
    assert most_excluding(["a"], [{"a": ""}]) is None
    assert most_excluding([], sets) is None


def test_a_node_serves_what_it_declares_until_it_drains() -> None:
    """Function, selectors, and not draining."""
    worker = node(tags=GPU_NODE, thumbnail=1)
    assert serves(worker, "thumbnail", ["gpu"])
    assert not serves(worker, "thumbnail", ["spot"])
    assert not serves(worker, "other", [])
    assert not serves(node(tags=GPU_NODE, draining=True, thumbnail=1), "thumbnail", [])
    assert serves(node(in_flight=8, thumbnail=1), "thumbnail", [])  # busy is not unable


def test_free_slots_are_bounded_by_the_node_and_by_the_function() -> None:
    """The smaller of what the node and the function have left; never negative; none while draining."""
    assert free_slots(node(in_flight=2, limit=8, count=4), "count") == 2
    assert free_slots(node(in_flight=2, limit=3, count=4), "count") == 1
    assert free_slots(node(in_flight=9, limit=8, count=4), "count") == 0
    assert free_slots(node(limit=8, count=4), "other") == 0
    assert free_slots(node(limit=8, draining=True, count=4), "count") == 0
    shared = NodeView(new_id(), {}, {"count": 4, "resize": 2}, 3, 8, busy={"resize": 2, "count": 1})
    assert free_slots(shared, "count") == 3
    assert free_slots(shared, "resize") == 0


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (["gpu"], "gpu", True),
        (["gpu"], "gpu=a100", False),
        (["gpu*"], "gpu=a100", True),
        (["region=*"], "region=eu", True),
        (["region=*"], "region", False),
        (["region=*"], "regions=eu", False),
        (["image.*"], "image.thumbnail", True),
        (["image.*"], "image.ocr.fast", True),
        (["image.*"], "image", False),
        (["image.*"], "imagexthumbnail", False),
        (["*"], "anything=at-all", True),
        (["a*b*c"], "a-b-c", True),
        (["a*b*c"], "abc", True),
        (["a*b*c"], "acb", False),
        (["ab*ba"], "aba", False),  # beginning and end may not overlap
        ([], "gpu", False),
        (["x", "y.*"], "y.z", True),
    ],
)
def test_a_credential_allows_what_its_patterns_say(patterns: list[str], name: str, fits: bool) -> None:
    """`*` stands for any characters; everything else for itself."""
    assert allowed(patterns, [name]) is fits


def test_the_first_refused_name_is_told() -> None:
    """So that the relay can name it; without a list everything is allowed."""
    assert first_refused(["gpu", "region=*"], ["gpu", "region=eu", "spot", "x"]) == "spot"
    assert first_refused(["gpu"], []) is None
    assert first_refused(None, ["anything"]) is None


def test_a_hostile_pattern_is_not_slow() -> None:
    """Many stars against a long name take time in proportion, not in powers."""
    assert not allowed(["*a" * 100 + "b"], ["a" * 10_000])


@pytest.mark.parametrize("pattern", ["", "a b", "a,b", "ü", "x" * 201])
def test_a_pattern_is_a_word_with_stars(pattern: str) -> None:
    """Anything else is refused when the credential is made."""
    with pytest.raises(SelectorError):
        parse_allowance([pattern])


def test_patterns_are_kept_once_and_bounded() -> None:
    """Repeats go; more than 64 are refused."""
    assert parse_allowance(["gpu", "gpu", "region=*"]) == ("gpu", "region=*")
    assert len(parse_allowance([f"p{i}" for i in range(64)])) == 64
    with pytest.raises(SelectorError, match="at most 64"):
        parse_allowance([f"p{i}" for i in range(65)])
