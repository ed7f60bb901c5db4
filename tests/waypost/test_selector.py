"""The selector grammar: what parses, what does not and where, and the one canonical text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.route.decision import Operator, Selector, SelectorError, canonical, matches, parse_selector, parse_tags
from waypost.route.selector import (
    COMPARISONS,
    MAX_IN_VALUES,
    MAX_KEY_CHARACTERS,
    MAX_SELECTOR_CHARACTERS,
    MAX_TAGS,
    MAX_VALUE_CHARACTERS,
    number,
    tag_text,
)

KEYS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.:/-]{0,6}[A-Za-z0-9_])?", fullmatch=True)
WORDS = st.from_regex(r"[A-Za-z0-9_.:/@+~%#$&;-]{1,8}", fullmatch=True)
NUMBERS = st.from_regex(r"[+-]?[0-9]{1,6}(\.[0-9]{1,6})?", fullmatch=True)
BLANKS = st.text(" \t", max_size=3)
COMPARISON_WORDS = sorted(operator.value for operator in COMPARISONS)


@st.composite
def selector_texts(draw: st.DrawFn, keys: st.SearchStrategy[str] = KEYS) -> str:
    """A selector with blanks wherever the grammar allows them."""
    key, kind = draw(keys), draw(st.sampled_from(["has", "lacks", "equality", "comparison", "in"]))
    if kind == "has":
        parts = [key]
    elif kind == "lacks":
        parts = ["!", key]
    elif kind == "equality":
        parts = [key, draw(st.sampled_from(["=", "!="])), draw(WORDS)]
    elif kind == "comparison":
        parts = [key, draw(st.sampled_from(COMPARISON_WORDS)), draw(NUMBERS)]
    else:
        values = draw(st.lists(WORDS, min_size=1, max_size=4))
        listed = [part for value in values for part in (value, ",")][:-1]
        parts = [f"{key} in", "(", *listed, ")"]
    return "".join(draw(BLANKS) + part for part in parts) + draw(BLANKS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu", Selector("gpu", Operator.HAS)),
        ("  gpu\t", Selector("gpu", Operator.HAS)),
        ("! gpu", Selector("gpu", Operator.NOT_HAS)),
        ("region = eu", Selector("region", Operator.EQUAL, ("eu",))),
        ("region!=eu", Selector("region", Operator.NOT_EQUAL, ("eu",))),
        ("mem_gb>16", Selector("mem_gb", Operator.GREATER, ("16",))),
        ("mem_gb >= 016.50", Selector("mem_gb", Operator.GREATER_EQUAL, ("16.5",))),
        ("t<-0.0", Selector("t", Operator.LESS, ("0",))),
        ("t<=+5", Selector("t", Operator.LESS_EQUAL, ("5",))),
        ("region in (us,eu, us)", Selector("region", Operator.IN, ("eu", "us"))),
        ("region in(eu)", Selector("region", Operator.EQUAL, ("eu",))),
        ("in", Selector("in", Operator.HAS)),
        ("in in (in, out)", Selector("in", Operator.IN, ("in", "out"))),
        ("node.kubernetes.io/zone=eu-1a", Selector("node.kubernetes.io/zone", Operator.EQUAL, ("eu-1a",))),
    ],
)
def test_a_selector_reads_as_the_contract_says(text: str, expected: Selector) -> None:
    """Every form of native contract §3.1, with blanks that carry no meaning."""
    assert parse_selector(text) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("   ", 3),
        ("!", 1),
        ("!!gpu", 1),
        ("!gpu=1", 4),
        ("=5", 0),
        ("gpu x", 4),
        ("gpu inside", 4),
        ("k=", 2),
        ("k==v", 2),
        ("k=!v", 2),
        ("k = a b", 6),
        ("k>", 2),
        ("k>x", 2),
        ("k>1e3", 2),
        ("k>0x10", 2),
        ("k>NaN", 2),
        ("k>1.", 2),
        ("k > > 5", 4),
        ("k> =5", 3),
        ("k=>5", 2),
        ("k in", 4),
        ("k in a", 5),
        ("k in ()", 6),
        ("k in (a", 7),
        ("k in (a,)", 8),
        ("k in (a b)", 8),
        ("k in (a) b", 9),
        ("kin(a)", 3),
        ("mem.", 3),
        ("naïve", 2),
        ("k=ü", 2),
        ("gpu\n", 3),
        ("gpu,ssd", 3),
        ("k='v'", 2),
    ],
)
def test_a_selector_that_does_not_parse_says_where(text: str, position: int) -> None:
    """The position is that of the first character that does not fit."""
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.position == position
    assert caught.value.message


@pytest.mark.parametrize(
    ("fits", "exceeds"),
    [
        ("k" * MAX_KEY_CHARACTERS, "k" * (MAX_KEY_CHARACTERS + 1)),
        ("k=" + "v" * MAX_VALUE_CHARACTERS, "k=" + "v" * (MAX_VALUE_CHARACTERS + 1)),
        (
            f"k in ({','.join(map(str, range(MAX_IN_VALUES)))})",
            f"k in ({','.join(map(str, range(MAX_IN_VALUES + 1)))})",
        ),
        ("k" + " " * (MAX_SELECTOR_CHARACTERS - 1), "k" + " " * MAX_SELECTOR_CHARACTERS),
        ("k>" + "9" * 40, "k>" + "9" * 41),
    ],
)
def test_each_length_has_an_edge(fits: str, exceeds: str) -> None:
    """At its limit a selector parses, one above it does not."""
    assert parse_selector(fits)
    with pytest.raises(SelectorError):
        parse_selector(exceeds)


@pytest.mark.parametrize(
    "spellings",
    [
        ["mem_gb>=16", "mem_gb >= 16.0", " mem_gb>= 016 ", "mem_gb>=+16.00"],
        ["region in (eu, us)", "region in (us,eu)", "region  in(us , eu,us)"],
        ["region=eu", "region in (eu)", "region in (eu, eu)", "region = eu"],
        ["!spot", "! spot"],
    ],
)
def test_texts_that_mean_the_same_have_one_canonical_text(spellings: list[str]) -> None:
    """So that equal sets of selectors share one route."""
    assert len({canonical([text]) for text in spellings}) == 1


def test_a_set_has_no_order_and_no_repeats() -> None:
    """Order and repeats carry no meaning."""
    assert canonical(["gpu", "mem>=2", "mem >= 2.0", "!spot"]) == canonical(["!spot", "gpu", "mem>=2"])
    assert canonical([]) == ()


def test_equality_is_of_text_and_not_of_number() -> None:
    """`k=16` and `k=16.0` differ, for a tag may be a version or a zip code."""
    assert canonical(["v=16"]) != canonical(["v=16.0"])
    assert not matches(["v=16"], {"v": "16.0"})


@given(st.lists(selector_texts(), max_size=5))
def test_canonical_is_idempotent(texts: list[str]) -> None:
    """The canonical texts are their own canonical texts."""
    once = canonical(texts)
    assert canonical(once) == once


@given(selector_texts())
def test_the_canonical_text_parses_to_the_same_selector(text: str) -> None:
    """Text and structure go round."""
    parsed = parse_selector(text)
    assert parse_selector(parsed.text) == parsed


@given(st.lists(selector_texts(st.sampled_from("ab")), max_size=4), st.data())
def test_canonical_selectors_match_the_same_nodes(texts: list[str], data: st.DataObject) -> None:
    """Whatever a node has, the canonical set says of it what the original set says."""
    mentioned = {value for text in texts for value in parse_selector(text).values}
    values = st.sampled_from(sorted(mentioned | {"", "0", "x", "16.0"})) | NUMBERS
    tags = data.draw(st.dictionaries(st.sampled_from("abc"), values, max_size=3))
    assert matches(texts, tags) is matches(canonical(texts), tags)


@given(st.text(max_size=40))
def test_any_text_parses_or_says_where_it_fails(text: str) -> None:
    """No other error, and the position lies within the text."""
    position = 0
    try:
        parse_selector(text)
    except SelectorError as error:
        position = error.position
    assert 0 <= position <= len(text)


@given(st.dictionaries(KEYS, st.just("") | WORDS, max_size=6))
def test_tags_go_round(tags: dict[str, str]) -> None:
    """What a node has can be written and read again."""
    assert parse_tags([tag_text(key, value) for key, value in tags.items()]) == tags


@pytest.mark.parametrize("tag", ["", "=", "k=", "k=a b", "k>=5", "!gpu", "k in (a)", "k=a,b", "k=a=b"])
def test_a_tag_is_a_key_or_a_key_with_a_value(tag: str) -> None:
    """A selector is no tag."""
    with pytest.raises(SelectorError):
        parse_tags([tag])


def test_a_tag_given_twice_has_one_value() -> None:
    """The same again is harmless; two values for one key cannot both be matched."""
    assert parse_tags(["gpu", "gpu", "mem = 2", "mem=2"]) == {"gpu": "", "mem": "2"}
    with pytest.raises(SelectorError, match="twice"):
        parse_tags(["region=eu", "region=us"])


def test_a_node_has_a_bounded_number_of_tags() -> None:
    """At the limit they are read, one above it they are refused."""
    assert len(parse_tags([f"t{i}" for i in range(MAX_TAGS)])) == MAX_TAGS
    with pytest.raises(SelectorError, match="at most"):
        parse_tags([f"t{i}" for i in range(MAX_TAGS + 1)])


@pytest.mark.parametrize("text", ["", "nan", "Infinity", "1e3", "1_000", "0x10", "٣", " 1", "1.", ".5", "--1"])
def test_only_plain_decimals_are_numbers(text: str) -> None:
    """What Python would take for a number is not one here."""
    assert number(text) is None
